using System.Text.Json.Nodes;

namespace AttentionDistillation.Models.Hub;

/// <summary>How diffusers names the parameters and options of <c>UNet2DConditionModel</c>.</summary>
internal static class LatentDiffusionFormat
{
    /// <summary>The class name under <c>_class_name</c>.</summary>
    public const string ClassName = "UNet2DConditionModel";

    private const string WithAttention = "CrossAttn";

    private static readonly IReadOnlyDictionary<string, string> Segments = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["inputConvolution"] = "conv_in",
        ["timeEmbedding"] = "time_embedding",
        ["classEmbedding"] = "class_embedding",
        ["addedEmbedding"] = "add_embedding",
        ["inner"] = "linear_1",
        ["outer"] = "linear_2",
        ["downStages"] = "down_blocks",
        ["middleStage"] = "mid_block",
        ["upStages"] = "up_blocks",
        ["residuals"] = "resnets",
        ["transformers"] = "attentions",
        ["downsample"] = "downsamplers.0",
        ["upsample"] = "upsamplers.0",
        ["convolution"] = "conv",
        ["outputNorm"] = "conv_norm_out",
        ["outputConvolution"] = "conv_out",
        ["firstNorm"] = "norm1",
        ["firstConvolution"] = "conv1",
        ["timeProjection"] = "time_emb_proj",
        ["secondNorm"] = "norm2",
        ["secondConvolution"] = "conv2",
        ["shortcut"] = "conv_shortcut",
        ["projectIn"] = "proj_in",
        ["projectOut"] = "proj_out",
        ["blocks"] = "transformer_blocks",
        ["selfNorm"] = "norm1",
        ["selfAttention"] = "attn1",
        ["crossNorm"] = "norm2",
        ["crossAttention"] = "attn2",
        ["feedForwardNorm"] = "norm3",
        ["feedForward"] = "ff",
        ["gated"] = "net.0.proj",
        ["reduce"] = "net.2",
        ["query"] = "to_q",
        ["key"] = "to_k",
        ["value"] = "to_v",
        ["output"] = "to_out.0",
    };

    /// <summary>The checkpoint's name of one of our parameters.</summary>
    public static string ToHub(string own) =>
        string.Join('.', own.Split('.').Select(segment => Segments.GetValueOrDefault(segment, segment)));

    /// <summary>Reads a configuration; options that change the computation in a way that is not built are refused by name.</summary>
    public static LatentDiffusionUNetConfig Read(ConfigReader reader)
    {
        RefuseUnsupported(reader);
        var start = new LatentDiffusionUNetConfig();
        long[] channels = List(reader, "block_out_channels", [320, 640, 1280, 1280]);
        long[] heads = PerLevel(reader, "attention_head_dim", 8, channels.Length);
        long[] depths = PerLevel(reader, "transformer_layers_per_block", 1, channels.Length);
        long[] blocks = PerLevel(reader, "layers_per_block", 2, channels.Length);
        string[] down = Kinds(reader, "down_block_types", channels.Length, ["CrossAttnDownBlock2D", "DownBlock2D"]);
        string[] up = Kinds(reader, "up_block_types", channels.Length, ["CrossAttnUpBlock2D", "UpBlock2D"]);
        for (int level = 0; level < channels.Length; level++)
            if (HasAttention(down[level]) != HasAttention(up[^(level + 1)]))
                throw new NotSupportedException(
                    $"A level must have attention both ways or neither, but down_block_types[{level}] is {down[level]} and up_block_types[{up.Length - 1 - level}] is {up[^(level + 1)]}."
                );
        string? middle = reader.Json.ContainsKey("mid_block_type") ? reader.Text("mid_block_type") : "UNetMidBlock2DCrossAttn";
        bool hasAdded = reader.Text("addition_embed_type") is not null;
        long width = reader.Integer("addition_time_embed_dim", 0),
            added = reader.Integer("projection_class_embeddings_input_dim", 0);
        return start with
        {
            SampleSize = reader.Integer("sample_size", start.SampleSize),
            InputChannels = reader.Integer("in_channels", start.InputChannels),
            OutputChannels = reader.Integer("out_channels", start.OutputChannels),
            Levels =
            [
                .. channels.Select(
                    (count, level) =>
                        new UNetLevel(
                            count,
                            HasAttention(down[level]) ? checked((int)depths[level]) : 0,
                            heads[level],
                            checked((int)blocks[level])
                        )
                ),
            ],
            MiddleDepth = middle switch
            {
                null => null,
                "UNetMidBlock2DCrossAttn" => checked((int)depths[^1]),
                "UNetMidBlock2D" => 0,
                _ => throw new NotSupportedException(
                    $"mid_block_type '{middle}' is not supported. Supported are: UNetMidBlock2DCrossAttn, UNetMidBlock2D, null."
                ),
            },
            ContextWidth = reader.OptionalInteger("cross_attention_dim", 1280),
            LinearProjections = reader.Flag("use_linear_projection", false),
            NormGroups = reader.Integer("norm_num_groups", start.NormGroups),
            NormEpsilon = reader.Number("norm_eps", start.NormEpsilon),
            ActivationName = reader.Text("act_fn") ?? start.ActivationName,
            Dropout = reader.Number("dropout", 0.0),
            TimeScalesAndShifts = reader.Text("resnet_time_scale_shift") == "scale_shift",
            FlipSineToCosine = reader.Flag("flip_sin_to_cos", true),
            FrequencyShift = reader.Number("freq_shift", 0.0),
            Classes = reader.OptionalInteger("num_class_embeds", null) ?? 0,
            PooledTextWidth = hasAdded ? added - SdxlTimeIds * width : 0,
            TimeIdCount = hasAdded ? SdxlTimeIds : 0,
            TimeIdWidth = hasAdded ? width : 0,
        };
    }

    /// <summary>The configuration as diffusers writes it.</summary>
    public static JsonObject Write(LatentDiffusionUNetConfig config)
    {
        var levels = config.Levels;
        var json = new JsonObject
        {
            ["_class_name"] = ClassName,
            ["sample_size"] = config.SampleSize,
            ["in_channels"] = config.InputChannels,
            ["out_channels"] = config.OutputChannels,
            ["block_out_channels"] = Array(levels.Select(level => level.Channels)),
            ["layers_per_block"] = Array(levels.Select(level => (long)level.ResidualBlocks)),
            ["attention_head_dim"] = Array(levels.Select(level => level.Heads)),
            ["transformer_layers_per_block"] = Array(Depths(config)),
            ["down_block_types"] = Names(levels.Select(level => Kind(level, "Down"))),
            ["up_block_types"] = Names(levels.Reverse().Select(level => Kind(level, "Up"))),
            ["mid_block_type"] = config.MiddleDepth switch
            {
                null => null,
                0 => "UNetMidBlock2D",
                _ => "UNetMidBlock2DCrossAttn",
            },
            ["cross_attention_dim"] = config.ContextWidth,
            ["use_linear_projection"] = config.LinearProjections,
            ["norm_num_groups"] = config.NormGroups,
            ["norm_eps"] = config.NormEpsilon,
            ["act_fn"] = config.ActivationName,
            ["dropout"] = config.Dropout,
            ["resnet_time_scale_shift"] = config.TimeScalesAndShifts ? "scale_shift" : "default",
            ["flip_sin_to_cos"] = config.FlipSineToCosine,
            ["freq_shift"] = config.FrequencyShift,
            ["num_class_embeds"] = config.Classes > 0 ? config.Classes : null,
        };
        if (config.PooledTextWidth > 0)
        {
            json["addition_embed_type"] = "text_time";
            json["addition_time_embed_dim"] = config.TimeIdWidth;
            json["projection_class_embeddings_input_dim"] = config.PooledTextWidth + config.TimeIdCount * config.TimeIdWidth;
        }
        return json;
    }

    /// <summary>Original height and width, crop top and left, target height and width.</summary>
    private const int SdxlTimeIds = 6;

    // A level without attention still has a depth in the file; the middle's is that of the last level.
    private static IEnumerable<long> Depths(LatentDiffusionUNetConfig config)
    {
        for (int level = 0; level < config.Levels.Count; level++)
        {
            int depth = config.Levels[level].TransformerDepth;
            bool isLast = level == config.Levels.Count - 1;
            if (isLast && config.MiddleDepth is > 0 and var middle)
            {
                if (depth > 0 && depth != middle)
                    throw new NotSupportedException(
                        $"The middle has {middle} transformer blocks and the last level {depth}: diffusers' configuration cannot say that."
                    );
                depth = middle;
            }
            yield return Math.Max(depth, 1);
        }
    }

    private static void RefuseUnsupported(ConfigReader reader)
    {
        foreach (
            string name in new[]
            {
                "num_attention_heads",
                "encoder_hid_dim_type",
                "class_embed_type",
                "time_embedding_dim",
                "time_embedding_act_fn",
                "timestep_post_act",
                "time_cond_proj_dim",
                "mid_block_only_cross_attention",
                "cross_attention_norm",
                "reverse_transformer_layers_per_block",
            }
        )
            reader.Only(name, "null");
        foreach (
            string name in new[]
            {
                "center_input_sample",
                "dual_cross_attention",
                "resnet_skip_time_act",
                "class_embeddings_concat",
                "only_cross_attention",
            }
        )
            reader.Only(name, "false");
        reader.Only("time_embedding_type", "\"positional\"");
        reader.Only("addition_embed_type", "\"text_time\"");
        reader.Only("attention_type", "\"default\"");
        foreach (string name in new[] { "downsample_padding", "mid_block_scale_factor", "resnet_out_scale_factor" })
            if (reader.Number(name, 1.0) != 1.0)
                throw new NotSupportedException($"{name} is {reader.Number(name, 1.0)}, of which only 1 is supported.");
        foreach (string name in new[] { "conv_in_kernel", "conv_out_kernel" })
            reader.Only(name, "3");
        if (reader.Text("resnet_time_scale_shift") is { } kind && kind is not ("default" or "scale_shift"))
            throw new NotSupportedException(
                $"resnet_time_scale_shift '{kind}' is not supported. Supported are: default, scale_shift."
            );
    }

    private static bool HasAttention(string kind) => kind.StartsWith(WithAttention, StringComparison.Ordinal);

    private static string Kind(UNetLevel level, string way) => $"{(level.TransformerDepth > 0 ? WithAttention : "")}{way}Block2D";

    private static string[] Kinds(ConfigReader reader, string name, int levels, string[] known)
    {
        string[] kinds =
            reader.Json[name] is JsonArray array ? [.. array.Select(node => node?.ToString() ?? "")]
            : name.StartsWith("down", StringComparison.Ordinal) ? [.. Enumerable.Repeat(known[0], 3), known[1]]
            : [known[1], .. Enumerable.Repeat(known[0], 3)];
        if (kinds.FirstOrDefault(kind => !known.Contains(kind)) is { } other)
            throw new NotSupportedException($"{name} holds '{other}'. Supported are: {string.Join(", ", known)}.");
        return kinds.Length == levels
            ? kinds
            : throw new ArgumentException($"{name} has {kinds.Length} entries for {levels} block_out_channels.");
    }

    private static long[] List(ConfigReader reader, string name, long[] fallback) =>
        reader.Json[name] is null ? fallback
        : reader.Json[name] is JsonArray array && array.All(node => node is JsonValue value && value.TryGetValue(out long _))
            ? [.. array.Select(node => node!.GetValue<long>())]
        : throw new ArgumentException($"{name} must be a list of whole numbers, but is {reader.Json[name]!.ToJsonString()}.");

    private static long[] PerLevel(ConfigReader reader, string name, long fallback, int levels)
    {
        if (reader.Json[name] is not JsonArray)
            return [.. Enumerable.Repeat(reader.Integer(name, fallback), levels)];
        long[] list = List(reader, name, []);
        return list.Length == levels
            ? list
            : throw new ArgumentException($"{name} has {list.Length} entries for {levels} block_out_channels.");
    }

    private static JsonArray Array(IEnumerable<long> numbers) => new([.. numbers.Select(number => (JsonNode)number)]);

    private static JsonArray Names(IEnumerable<string> names) => new([.. names.Select(name => (JsonNode)name)]);
}
