using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>
/// Reads TinyViT checkpoints as timm saves them, for example <c>timm/tiny_vit_5m_224.dist_in22k_ft_in1k</c> on the hub: the paper's models, distilled on
/// ImageNet-22k or fine-tuned.
/// </summary>
/// <remarks>
/// Sizes are those of the tensors themselves, so that 5M, 11M, 21M and their versions for larger images need no table. timm's projections of queries, keys and
/// values lie head by head; ours lie all queries, all keys, all values, and are sorted while they are read.
/// </remarks>
public static partial class TinyVitCheckpoint
{
    private const string Architecture = "TinyViT";
    private const int Parts = 3; // queries, keys, values
    private const long DefaultSize = 224;

    private static readonly (string Own, string Theirs)[] Names =
    [
        (@"^stem\.first\.", "patch_embed.conv1."),
        (@"^stem\.second\.", "patch_embed.conv2."),
        (@"\.convolution\.", ".conv."),
        (@"\.normalization\.", ".bn."),
        (@"\.(expand|widen)\.", ".conv1."),
        (@"\.(spatial|halve)\.", ".conv2."),
        (@"\.(project|mix)\.", ".conv3."),
        (@"\.attentionNorm\.", ".attn.norm."),
        (@"\.attention\.qkv\.", ".attn.qkv."),
        (@"\.attention\.output\.", ".attn.proj."),
        (@"\.attention\.biases$", ".attn.attention_biases"),
        (@"\.local\.", ".local_conv."),
        (@"\.feedForwardNorm\.", ".mlp.norm."),
        (@"\.feedForward\.inner\.", ".mlp.fc1."),
        (@"\.feedForward\.outer\.", ".mlp.fc2."),
        (@"^norm\.", "head.norm."),
        (@"^classifier\.", "head.fc."),
    ];

    /// <summary>Loads a checkpoint, in evaluation mode, in float32.</summary>
    /// <param name="folder">Holds <c>model.safetensors</c> and, if it lies there, timm's <c>config.json</c>, which says the images' size.</param>
    /// <param name="device">Where the weights go; null means the CPU.</param>
    /// <param name="dropPathRate">Stochastic depth of the last block, for training it further.</param>
    /// <exception cref="FileNotFoundException">The weights are missing.</exception>
    /// <exception cref="NotSupportedException">The folder holds another model; the message says what of.</exception>
    /// <exception cref="CheckpointMismatchException">Tensors are missing, unexpected or of the wrong shape; the message lists all of them.</exception>
    /// <exception cref="SafeTensorsException">A file is broken, or is a pickle.</exception>
    public static HierarchicalVisionTransformer Load(string folder, Device? device = null, double dropPathRate = 0.0)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        using var checkpoint = Checkpoint.Open(folder);
        var config = Describe(checkpoint, ImageSizeOf(folder)) with { DropPathRate = dropPathRate };
        var model = new HierarchicalVisionTransformer(config, SeededLayers.BlankOn(device, ScalarType.Float32));
        try
        {
            model.to(device ?? CPU);
            Fill(model, checkpoint);
            model.eval();
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>timm's name of one of our parameters or buffers.</summary>
    internal static string ToTimm(string own)
    {
        // What lies between two stages is the beginning of the second one there.
        var between = Downsampling().Match(own);
        string name = between.Success
            ? $"stages.{int.Parse(between.Groups[1].ValueSpan, CultureInfo.InvariantCulture) + 1}.downsample.{own[between.Length..]}"
            : own;
        foreach (var (pattern, theirs) in Names)
            name = Regex.Replace(name, pattern, theirs);
        return name;
    }

    /// <summary>True for a buffer that follows from the sizes and lies in no checkpoint: which bias belongs to which pair of places.</summary>
    internal static bool IsComputed(string name) => name.EndsWith(".attention.index", StringComparison.Ordinal);

    private static void Fill(HierarchicalVisionTransformer model, ICheckpoint checkpoint)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var wanted = HubTensors
            .Of(model, ToTimm)
            .Where(pair => !IsComputed(pair.Key))
            .ToDictionary(pair => pair.Key, pair => pair.Value, StringComparer.Ordinal);
        CheckpointFit
            .Of(Architecture, wanted, checkpoint, name => name, _ => false)
            .Fill(
                (name, tensor) =>
                {
                    if (Projection().Match(name) is not { Success: true } projection)
                        return false;
                    tensor.copy_(ByPart(checkpoint.Read(name), HeadsOf(checkpoint, projection.Groups[1].Value)));
                    return true;
                }
            );
    }

    // [H x 3 x d, ...] to [3 x H x d, ...].
    private static Tensor ByPart(Tensor rows, long heads)
    {
        long width = rows.size(0) / (Parts * heads);
        long[] rest = rows.shape[1..];
        return rows.reshape([heads, Parts, width, .. rest]).transpose(0, 1).reshape(rows.shape);
    }

    private static HierarchicalConfig Describe(ICheckpoint checkpoint, ImageSize imageSize)
    {
        int stages = CountOf(checkpoint, "stages.{0}.blocks.0.");
        if (stages < 2)
            throw new NotSupportedException(
                $"'{checkpoint.Path}' holds no TinyViT as timm saves it: there are no stages.0.blocks.0... and stages.1.blocks.0... among its {checkpoint.Entries.Count} tensors. "
                    + "Take the model.safetensors of a hub repository timm/tiny_vit_..., or load other families with Hub.Load."
            );
        long first = ShapeOf(checkpoint, "stages.0.blocks.0.conv3.bn.weight")[0];
        var all = new List<HierarchicalStage>
        {
            new()
            {
                Block = HierarchicalBlock.MobileConvolution,
                Depth = CountOf(checkpoint, "stages.0.blocks.{0}."),
                Width = first,
                Ratio = (double)ShapeOf(checkpoint, "stages.0.blocks.0.conv1.bn.weight")[0] / first,
            },
        };
        for (int number = 1; number < stages; number++)
        {
            string block = $"stages.{number}.blocks.0.";
            long width = ShapeOf(checkpoint, block + "attn.norm.weight")[0],
                places = ShapeOf(checkpoint, block + "attn.attention_biases")[^1];
            all.Add(
                new()
                {
                    Depth = CountOf(checkpoint, $"stages.{number}.blocks.{{0}}."),
                    Width = width,
                    Heads = HeadsOf(checkpoint, block),
                    Window = (long)Math.Round(Math.Sqrt(places)), // as many distances as places
                    LocalKernel = ShapeOf(checkpoint, block + "local_conv.conv.weight")[^1],
                    Ratio = (double)ShapeOf(checkpoint, block + "mlp.fc1.weight")[0] / width,
                }
            );
        }
        return new()
        {
            Stages = all,
            Channels = ShapeOf(checkpoint, "patch_embed.conv1.conv.weight")[1],
            ImageSize = imageSize,
            Labels = TextEncoderConfig.DefaultLabels((int)ShapeOf(checkpoint, "head.fc.weight")[0]),
        };
    }

    private static long HeadsOf(ICheckpoint checkpoint, string block) => ShapeOf(checkpoint, block + "attn.attention_biases")[0];

    private static int CountOf(ICheckpoint checkpoint, string pattern)
    {
        int count = 0;
        while (
            checkpoint.Entries.Keys.Any(name =>
                name.StartsWith(string.Format(CultureInfo.InvariantCulture, pattern, count), StringComparison.Ordinal)
            )
        )
            count++;
        return count;
    }

    private static IReadOnlyList<long> ShapeOf(ICheckpoint checkpoint, string name) =>
        checkpoint.Entries.TryGetValue(name, out var entry) && entry.Shape.Count > 0
            ? entry.Shape
            : throw new NotSupportedException(
                $"'{checkpoint.Path}' holds no whole TinyViT with a classifier: '{name}' is missing. Take the model.safetensors of a hub repository timm/tiny_vit_..."
            );

    // timm's configuration names the architecture and, for its preprocessing, the images' size.
    private static ImageSize ImageSizeOf(string folder)
    {
        string path = Path.Combine(folder, Hub.ConfigFile);
        if (!File.Exists(path))
            return DefaultSize;
        JsonNode? config;
        try
        {
            config = JsonNode.Parse(File.ReadAllText(path));
        }
        catch (JsonException error)
        {
            throw new NotSupportedException($"'{path}' is no JSON: {error.Message} Get the file again, or take it away.", error);
        }
        if (
            (string?)config?["architecture"] is { } architecture
            && !architecture.StartsWith("tiny_vit", StringComparison.Ordinal)
        )
            throw new NotSupportedException(
                $"'{path}' describes a {architecture}, not a TinyViT. Load other families with Hub.Load."
            );
        return config?["pretrained_cfg"]?["input_size"] is JsonArray { Count: 3 } size
            ? new ImageSize((long)size[1]!, (long)size[2]!)
            : DefaultSize;
    }

    [GeneratedRegex(@"^downsamplings\.(\d+)\.")]
    private static partial Regex Downsampling();

    [GeneratedRegex(@"^(.*\.)attn\.qkv\.(weight|bias)$")]
    private static partial Regex Projection();
}
