using System.Text.Json.Nodes;

namespace AttentionDistillation.Models.Hub;

/// <summary>How diffusers names the parameters and options of <c>SD3Transformer2DModel</c>.</summary>
internal static class JointDiffusionTransformerFormat
{
    /// <summary>The class name under <c>_class_name</c>.</summary>
    public const string ClassName = "SD3Transformer2DModel";

    private static readonly IReadOnlyDictionary<string, string> Parts = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["patches"] = "pos_embed.proj",
        ["places"] = "pos_embed.pos_embed",
        ["timeEmbedding"] = "time_text_embed.timestep_embedder",
        ["textEmbedding"] = "time_text_embed.text_embedder",
        ["contextEmbedding"] = "context_embedder",
        ["inner"] = "linear_1",
        ["outer"] = "linear_2",
        ["blocks"] = "transformer_blocks",
        ["imageQuery"] = "attn.to_q",
        ["imageKey"] = "attn.to_k",
        ["imageValue"] = "attn.to_v",
        ["imageOutput"] = "attn.to_out.0",
        ["textQuery"] = "attn.add_q_proj",
        ["textKey"] = "attn.add_k_proj",
        ["textValue"] = "attn.add_v_proj",
        ["textOutput"] = "attn.to_add_out",
        ["output"] = "proj_out",
    };

    private static readonly (string Own, string Theirs)[] Runs =
    [
        ("image.modulation", "norm1"),
        ("text.modulation", "norm1_context"),
        ("image.feedForward.inner", "ff.net.0.proj"),
        ("image.feedForward.outer", "ff.net.2"),
        ("text.feedForward.inner", "ff_context.net.0.proj"),
        ("text.feedForward.outer", "ff_context.net.2"),
        ("outputNorm.modulation", "norm_out"),
    ];

    /// <summary>The checkpoint's name of one of our tensors.</summary>
    public static string ToHub(string own)
    {
        string name = Runs.Aggregate(own, (text, run) => text.Replace(run.Own, run.Theirs, StringComparison.Ordinal));
        return string.Join('.', name.Split('.').Select(part => Parts.GetValueOrDefault(part, part)));
    }

    /// <summary>Reads a configuration; options that change the computation in a way that is not built are refused by name.</summary>
    public static JointDiffusionTransformerConfig Read(ConfigReader reader)
    {
        reader.Only("qk_norm", "null");
        reader.Only("dual_attention_layers", "[]");
        long heads = reader.Integer("num_attention_heads", 18),
            width = heads * reader.Integer("attention_head_dim", 64),
            input = reader.Integer("in_channels", 16);
        if (reader.Integer("caption_projection_dim", width) is var caption && caption != width)
            throw new NotSupportedException(
                $"caption_projection_dim is {caption}, of which only the width {width} is supported."
            );
        return new()
        {
            SampleSize = reader.Integer("sample_size", 128),
            PatchSize = reader.Integer("patch_size", 2),
            InputChannels = input,
            OutputChannels = reader.OptionalInteger("out_channels", null) ?? input,
            HiddenSize = width,
            Heads = heads,
            Layers = checked((int)reader.Integer("num_layers", 18)),
            ContextWidth = reader.Integer("joint_attention_dim", 4096),
            PooledWidth = reader.Integer("pooled_projection_dim", 2048),
            PositionGrid = reader.Integer("pos_embed_max_size", 96),
        };
    }

    /// <summary>The configuration as diffusers writes it.</summary>
    public static JsonObject Write(JointDiffusionTransformerConfig config) =>
        new()
        {
            ["_class_name"] = ClassName,
            ["sample_size"] = config.SampleSize,
            ["patch_size"] = config.PatchSize,
            ["in_channels"] = config.InputChannels,
            ["out_channels"] = config.OutputChannels,
            ["num_layers"] = config.Layers,
            ["num_attention_heads"] = config.Heads,
            ["attention_head_dim"] = config.HiddenSize / config.Heads,
            ["joint_attention_dim"] = config.ContextWidth,
            ["caption_projection_dim"] = config.HiddenSize,
            ["pooled_projection_dim"] = config.PooledWidth,
            ["pos_embed_max_size"] = config.PositionGrid,
        };
}
