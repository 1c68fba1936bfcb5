using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// A run of blocks of a <see cref="ModularVit"/>, with the embeddings if it is the first and the head if it is the last, and with stitches (layer norm and
/// linear) before its first and after its last block if the configuration names a stitch width. The first has no stitch before it, the last none after it.
/// </summary>
public sealed class VitModule : nn.Module<Tensor, ForwardTrace?, Tensor>
{
    private readonly VisionEmbeddings? embeddings;
    private readonly LayerNorm? entryNorm;
    private readonly Linear? entry;
    private readonly ModuleList<PreNormLayer> blocks;
    private readonly LayerNorm? exitNorm;
    private readonly Linear? exit;
    private readonly LayerNorm? norm;
    private readonly Linear? classifier;

    internal VitModule(ModularVitConfig config, SeededLayers make, int index)
        : base(nameof(VitModule))
    {
        (IsFirst, IsLast) = (index == 0, index == config.Split.Count - 1);
        FirstLayer = config.Split.Take(index).Sum();
        if (IsFirst)
            embeddings = new VisionEmbeddings(
                config.ImageSize,
                config.Channels,
                config.PatchSize,
                config.HiddenSize,
                make,
                config.InitializerRange,
                config.InterpolatesPositions,
                dropout: config.HiddenDropout
            );
        else if (config.StitchWidth is { } outside)
        {
            entryNorm = make.LayerNorm(outside, config.NormEpsilon);
            entry = make.Linear(outside, config.HiddenSize);
        }
        blocks = new ModuleList<PreNormLayer>([
            .. Enumerable
                .Range(FirstLayer, config.Split[index])
                .Select(number => new PreNormLayer(config.BlockOptions, make, number)),
        ]);
        if (IsLast)
        {
            norm = make.LayerNorm(config.HiddenSize, config.NormEpsilon);
            classifier = make.Linear(config.HiddenSize, config.Labels.Count);
        }
        else if (config.StitchWidth is { } outside)
        {
            exitNorm = make.LayerNorm(config.HiddenSize, config.NormEpsilon);
            exit = make.Linear(config.HiddenSize, outside);
        }
        RegisterComponents();
    }

    /// <summary>Whether it takes images.</summary>
    public bool IsFirst { get; }

    /// <summary>Whether it has the head.</summary>
    public bool IsLast { get; }

    /// <summary>The number of its first block in the model.</summary>
    public int FirstLayer { get; }

    /// <summary>Its blocks.</summary>
    public IReadOnlyList<PreNormLayer> Blocks => [.. blocks];

    /// <summary>Without stitches and head: images (of the first) or [B, L, C] to [B, L, C], or empty ([0]) where the trace stops.</summary>
    /// <param name="entering">What enters.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    public override Tensor forward(Tensor entering, ForwardTrace? trace)
    {
        var hidden = embeddings is null ? entering : embeddings.call(entering);
        if (embeddings is not null)
            trace?.RecordHidden(0, hidden);
        int last = trace?.LastLayerNeeded ?? int.MaxValue;
        for (int number = FirstLayer; number < FirstLayer + blocks.Count && number <= last; number++)
        {
            hidden = blocks[number - FirstLayer].call(hidden, null, trace);
            if (trace?.StopsAfterAttentionInputs(number) == true)
                break;
            trace?.RecordHidden(number + 1, hidden);
        }
        return hidden;
    }

    /// <summary>With stitches, without head: images (of the first) or [B, L, stitch width] to [B, L, stitch width] (of the last [B, L, C]).</summary>
    /// <param name="entering">What enters.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    public Tensor Stitched(Tensor entering, ForwardTrace? trace)
    {
        if (entry is not null)
            entering = entry.Project(entryNorm!.call(entering));
        var hidden = call(entering, trace);
        bool stops = trace is not null && !trace.RunsToTheEnd && trace.LastLayerNeeded < FirstLayer + blocks.Count;
        return exit is null || stops ? hidden : exit.Project(exitNorm!.call(hidden));
    }

    /// <summary>In a hybrid: with stitches, the last also with its own head.</summary>
    /// <param name="entering">What enters.</param>
    /// <returns>[B, L, stitch width], or logits [B, classes].</returns>
    public Tensor InHybrid(Tensor entering)
    {
        using var scope = NewDisposeScope();
        var hidden = Stitched(entering, null);
        return (IsLast ? Head(hidden) : hidden).MoveToOuterDisposeScope();
    }

    /// <summary>Final norm and classifier on the class token, of the last module.</summary>
    /// <param name="hidden">[B, L, C].</param>
    /// <returns>[B, classes].</returns>
    /// <exception cref="InvalidOperationException">It is not the last module.</exception>
    public Tensor Head(Tensor hidden)
    {
        if (norm is null || classifier is null)
            throw new InvalidOperationException("Only the last module has a head. Ask the model's last module.");
        using var scope = NewDisposeScope();
        return classifier.call(norm.call(hidden.select(1, 0))).MoveToOuterDisposeScope();
    }

    internal static bool IsOfHead(string name) =>
        name.StartsWith(nameof(norm) + ".", StringComparison.Ordinal)
        || name.StartsWith(nameof(classifier) + ".", StringComparison.Ordinal);
}
