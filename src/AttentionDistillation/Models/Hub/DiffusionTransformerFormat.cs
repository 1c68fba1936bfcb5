using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>How diffusers names the parameters and options of <c>DiTTransformer2DModel</c>: class-conditional images.</summary>
internal static class DiffusionTransformerFormat
{
    /// <summary>The class name under <c>_class_name</c>; <c>Transformer2DModel</c> in older files.</summary>
    public const string ClassName = "DiTTransformer2DModel";

    /// <summary>Fixed positions, which some files hold.</summary>
    public const string PositionBuffer = "pos_embed.pos_embed";

    // diffusers' Timesteps(256, downscale_freq_shift=1), where the paper's code has 0.
    private static readonly SinusoidalTime Time = new(256, DownscaleShift: 1);

    private static readonly IReadOnlyDictionary<string, string> Segments = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["patches"] = "pos_embed.proj",
        ["blocks"] = "transformer_blocks",
        ["modulation"] = "norm1",
        ["selfAttention"] = "attn1",
        ["query"] = "to_q",
        ["key"] = "to_k",
        ["value"] = "to_v",
        ["output"] = "to_out.0",
    };

    /// <summary>
    /// The parameters by their names there. diffusers gives every block a copy of the embeddings of time and class, so these appear once a block.
    /// </summary>
    public static IReadOnlyDictionary<string, Tensor> Parameters(
        DiffusionTransformerConfig config,
        IEnumerable<(string name, Parameter parameter)> own
    )
    {
        RequireExpressible(config);
        var names = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (name, parameter) in own)
            if (Shared(name) is { } shared)
                for (int block = 0; block < config.Layers; block++)
                    names[$"{Embeddings(block)}{shared}"] = parameter;
            else
                names[ToHub(name)] = parameter;
        return names;
    }

    /// <summary>The copies in later blocks, which must equal the first block's.</summary>
    public static IReadOnlyDictionary<string, string> Tied(DiffusionTransformerConfig config) =>
        Enumerable
            .Range(1, config.Layers - 1)
            .SelectMany(block =>
                SharedNames.Values.Select(name => (Copy: Embeddings(block) + name, Source: Embeddings(0) + name))
            )
            .ToDictionary(pair => pair.Copy, pair => pair.Source, StringComparer.Ordinal);

    /// <summary>Reads a configuration; options that change the computation in a way that is not built are refused by name.</summary>
    public static DiffusionTransformerConfig Read(ConfigReader reader)
    {
        reader.Only("norm_type", "\"ada_norm_zero\"");
        reader.Only("attention_bias", "true");
        reader.Only("norm_elementwise_affine", "false");
        reader.Only("double_self_attention", "false");
        reader.Only("only_cross_attention", "false");
        reader.Only("cross_attention_dim", "null");
        reader.Only("activation_fn", "\"gelu-approximate\"");
        if (reader.Number("dropout", 0.0) != 0.0)
            throw new NotSupportedException("dropout is not 0, of which only 0 is supported.");
        long heads = reader.Integer("num_attention_heads", 16),
            input = reader.Integer("in_channels", 4);
        return new()
        {
            SampleSize = reader.Integer("sample_size", 32),
            PatchSize = reader.Integer("patch_size", 2),
            InputChannels = input,
            OutputChannels = reader.OptionalInteger("out_channels", null) ?? input,
            Heads = heads,
            HiddenSize = heads * reader.Integer("attention_head_dim", 72),
            Layers = checked((int)reader.Integer("num_layers", 28)),
            Classes = reader.Integer("num_embeds_ada_norm", 1000),
            FeedForwardNormEpsilon = reader.Number("norm_eps", 1e-5),
            Time = Time,
        };
    }

    /// <summary>The configuration as diffusers writes it.</summary>
    public static JsonObject Write(DiffusionTransformerConfig config)
    {
        RequireExpressible(config);
        return new()
        {
            ["_class_name"] = ClassName,
            ["sample_size"] = config.SampleSize,
            ["patch_size"] = config.PatchSize,
            ["in_channels"] = config.InputChannels,
            ["out_channels"] = config.OutputChannels,
            ["num_attention_heads"] = config.Heads,
            ["attention_head_dim"] = config.HiddenSize / config.Heads,
            ["num_layers"] = config.Layers,
            ["num_embeds_ada_norm"] = config.Classes,
            ["norm_eps"] = config.FeedForwardNormEpsilon,
            ["norm_type"] = "ada_norm_zero",
            ["norm_elementwise_affine"] = false,
            ["attention_bias"] = true,
            ["activation_fn"] = "gelu-approximate",
            ["dropout"] = 0.0,
        };
    }

    private static readonly IReadOnlyDictionary<string, string> SharedNames = new Dictionary<string, string>(
        StringComparer.Ordinal
    )
    {
        ["timeEmbedding.inner.weight"] = "timestep_embedder.linear_1.weight",
        ["timeEmbedding.inner.bias"] = "timestep_embedder.linear_1.bias",
        ["timeEmbedding.outer.weight"] = "timestep_embedder.linear_2.weight",
        ["timeEmbedding.outer.bias"] = "timestep_embedder.linear_2.bias",
        ["classEmbedding.weight"] = "class_embedder.embedding_table.weight",
    };

    private static string? Shared(string own) => SharedNames.GetValueOrDefault(own);

    private static string Embeddings(int block) => $"transformer_blocks.{block}.norm1.emb.";

    private static string ToHub(string own)
    {
        if (own.StartsWith("output.", StringComparison.Ordinal))
            return "proj_out_2" + own["output".Length..];
        string name = own.Replace("adaptiveOutputNorm.modulation.linear", "proj_out_1", StringComparison.Ordinal)
            .Replace("feedForward.inner", "ff.net.0.proj", StringComparison.Ordinal)
            .Replace("feedForward.outer", "ff.net.2", StringComparison.Ordinal);
        return string.Join('.', name.Split('.').Select(segment => Segments.GetValueOrDefault(segment, segment)));
    }

    private static void RequireExpressible(DiffusionTransformerConfig config)
    {
        string? what =
            config.Frames > 1 ? "several frames"
            : config.ContextWidth is not null ? "cross-attention to a prompt"
            : config.Classes == 0 ? "no classes"
            : config.Positions != TokenPositions.SineCosine ? $"{config.Positions} positions"
            : config.GateOffset != 0 ? "a gate offset"
            : !config.ModulatesOutput ? "an output norm of its own"
            : config.FeedForwardRatio != 4 ? "a feed-forward ratio other than 4"
            : config.FeedForwardActivation != "gelu_pytorch_tanh" ? $"the activation {config.FeedForwardActivation}"
            : config.Time != Time ? "a time embedding other than diffusers' (width 256, shift 1)"
            : null;
        if (what is not null)
            throw new NotSupportedException(
                $"{ClassName} of diffusers has no name for {what}. Keep such a model's weights with named_parameters and SafeTensorsWriter."
            );
    }
}
