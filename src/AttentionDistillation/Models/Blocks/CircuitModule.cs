using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// A layer of a <see cref="NeuralAttentiveCircuit"/>: modular attention (see <see cref="ModularAttention"/>), then a GEGLU feed-forward part of code-modulated
/// linear layers, each branch pre-normed and with layer scale. With a stitch width it has one linear stitch before, shared by receivers and senders, and one
/// behind. The first has the embeddings and no stitch before, the last the read-out and no stitch behind.
/// </summary>
public sealed class CircuitModule : nn.Module
{
    private const double Epsilon = 1e-5;

    private readonly VisionEmbeddings? embeddings;
    private readonly Linear? entry;
    private readonly Linear? exit;
    private readonly LayerNorm norm;
    private readonly Linear queryScale;
    private readonly Linear query;
    private readonly Linear keyScale;
    private readonly Linear key;
    private readonly Linear valueScale;
    private readonly Linear value;
    private readonly Linear outputScale;
    private readonly Linear output;
    private readonly Parameter attentionScale;
    private readonly Parameter gain;
    private readonly LayerNorm feedForwardNorm;
    private readonly Linear innerScale;
    private readonly Linear inner;
    private readonly Linear outerScale;
    private readonly Linear outer;
    private readonly Parameter feedForwardScale;
    private readonly Linear? confidence;
    private readonly Linear? classifier;
    private readonly long heads;

    internal CircuitModule(CircuitConfig config, SeededLayers make, bool isFirst, bool isLast)
        : base(nameof(CircuitModule))
    {
        (long width, long codes) = (config.Width, config.CodeWidth);
        long hidden = (long)Math.Round(width * config.FeedForwardRatio);
        heads = config.Heads;
        if (isFirst)
            embeddings = new VisionEmbeddings(
                config.ImageSize,
                config.Channels,
                config.PatchSize,
                width,
                make,
                config.InitializerRange,
                interpolates: false
            );
        if (config.StitchWidth is { } outside)
        {
            entry = isFirst ? null : make.Linear(outside, width);
            exit = isLast ? null : make.Linear(width, outside);
        }
        norm = make.LayerNorm(width, Epsilon);
        (queryScale, query) = (make.Linear(codes, width, hasBias: false), make.Linear(width, width, hasBias: false));
        (keyScale, key) = (make.Linear(codes, width, hasBias: false), make.Linear(width, width, hasBias: false));
        (valueScale, value) = (make.Linear(codes, width, hasBias: false), make.Linear(width, width, hasBias: false));
        (outputScale, output) = (make.Linear(codes, width, hasBias: false), make.Linear(width, width));
        feedForwardNorm = make.LayerNorm(width, Epsilon);
        (innerScale, inner) = (make.Linear(codes, width, hasBias: false), make.Linear(width, 2 * hidden));
        (outerScale, outer) = (make.Linear(codes, hidden, hasBias: false), make.Linear(hidden, width));
        (attentionScale, feedForwardScale, gain) = (make.ZeroParameter(width), make.ZeroParameter(width), make.ZeroParameter());
        using (no_grad())
            foreach (var scale in new[] { attentionScale, feedForwardScale, gain })
                scale.fill_(config.LayerScale);
        if (isLast)
            (confidence, classifier) = (make.Linear(width, 1), make.Linear(width, config.Classes));
        RegisterComponents();
    }

    /// <summary>Images as tokens [B, L, C], of the first module.</summary>
    internal Tensor Tokens(Tensor images) => embeddings!.call(images);

    /// <summary>The stitch before, if there is one.</summary>
    internal Tensor Enter(Tensor hidden) => entry is null ? hidden : entry.Project(hidden);

    /// <summary>The stitch behind, if there is one.</summary>
    internal Tensor Leave(Tensor states) => exit is null ? states : exit.Project(states);

    /// <summary>Attention and feed-forward part.</summary>
    /// <param name="receivers">[B, n, C].</param>
    /// <param name="receiverCodes">[n, K].</param>
    /// <param name="senders">[B, m, C].</param>
    /// <param name="senderCodes">[m, K].</param>
    /// <param name="logKernel">[n, m], or null.</param>
    /// <returns>[B, n, C], and the attention call.</returns>
    public (Tensor States, AttentionState State) Exchange(
        Tensor receivers,
        Tensor receiverCodes,
        Tensor senders,
        Tensor senderCodes,
        Tensor? logKernel
    )
    {
        using var scope = NewDisposeScope();
        var weights = new ModularAttentionWeights
        {
            Norm = (norm.weight!, norm.bias!),
            Query = (queryScale.weight!, query.weight!),
            Key = (keyScale.weight!, key.weight!),
            Value = (valueScale.weight!, value.weight!),
            Exit = (outputScale.weight!, output.weight!, output.bias!),
            LayerScale = attentionScale,
            Gain = gain,
        };
        var (states, state) = ModularAttention.Attend(receivers, receiverCodes, senders, senderCodes, weights, heads, logKernel);
        Tensor Modulated(Tensor x, Linear scale, Linear layer) =>
            ModularAttention.CodeModulatedLinear(x, receiverCodes, scale.weight!, layer.weight!, layer.bias, gain);
        var parts = Modulated(feedForwardNorm.call(states), innerScale, inner).chunk(2, -1);
        var branch = Modulated(parts[0] * nn.functional.gelu(parts[1]), outerScale, outer);
        var next = states + branch * feedForwardScale;
        BiasedAttention.MoveOut(state);
        return (next.MoveToOuterDisposeScope(), state);
    }

    /// <summary>The read-out, of the last module: see <see cref="ModularAttention.PoolLatents"/>.</summary>
    internal (Tensor Weights, Tensor Logits) Pool(Tensor states, double temperature, Tensor? gumbel) =>
        ModularAttention.PoolLatents(
            states,
            (confidence!.weight!, confidence.bias!),
            (classifier!.weight!, classifier.bias!),
            temperature,
            gumbel
        );
}
