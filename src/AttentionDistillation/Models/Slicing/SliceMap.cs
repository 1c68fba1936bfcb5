using System.Globalization;
using System.Text.RegularExpressions;

namespace AttentionDistillation.Models.Slicing;

/// <summary>What an axis of a weight counts.</summary>
internal enum SliceAxis
{
    /// <summary>Tokens, positions, classes: stays.</summary>
    Whole,

    /// <summary>Channels of the residual stream.</summary>
    Channels,

    /// <summary>Query heads, D entries each.</summary>
    QueryHeads,

    /// <summary>Key or value heads, D entries each.</summary>
    KeyHeads,

    /// <summary>Query, key and value heads in three equal parts.</summary>
    FusedHeads,

    /// <summary>Neurons of the feed-forward block.</summary>
    Neurons,
}

/// <summary>
/// The axes of every weight of a family of models, by its name in a checkpoint, and the names of the sizes in the configuration.
/// </summary>
/// <param name="Families">The <c>model_type</c> values.</param>
/// <param name="Layers">The configuration's name of the number of layers.</param>
/// <param name="Channels">Its name of the width.</param>
/// <param name="Heads">Its name of the number of heads.</param>
/// <param name="KeyHeads">Its name of the number of key heads; null where there are as many as heads.</param>
/// <param name="Neurons">Its name of the inner width.</param>
/// <param name="HasHeadWidth">Whether the configuration has <c>head_dim</c>, so that heads x D need not be the width.</param>
/// <param name="Weights">Patterns of names, and the axes of what they name.</param>
internal sealed partial record SliceMap(
    IReadOnlyList<string> Families,
    string Layers,
    string Channels,
    string Heads,
    string? KeyHeads,
    string Neurons,
    bool HasHeadWidth,
    IReadOnlyList<(string Pattern, SliceAxis[] Axes)> Weights
)
{
    private static readonly SliceAxis[] C = [SliceAxis.Channels];
    private static readonly SliceAxis[] CC = [SliceAxis.Channels, SliceAxis.Channels];
    private static readonly SliceAxis[] V = [SliceAxis.Whole];
    private static readonly SliceAxis[] VC = [SliceAxis.Whole, SliceAxis.Channels];
    private static readonly SliceAxis[] H = [SliceAxis.QueryHeads];
    private static readonly SliceAxis[] HC = [SliceAxis.QueryHeads, SliceAxis.Channels];
    private static readonly SliceAxis[] CH = [SliceAxis.Channels, SliceAxis.QueryHeads];
    private static readonly SliceAxis[] K = [SliceAxis.KeyHeads];
    private static readonly SliceAxis[] KC = [SliceAxis.KeyHeads, SliceAxis.Channels];
    private static readonly SliceAxis[] N = [SliceAxis.Neurons];
    private static readonly SliceAxis[] NC = [SliceAxis.Neurons, SliceAxis.Channels];
    private static readonly SliceAxis[] CN = [SliceAxis.Channels, SliceAxis.Neurons];

    private static readonly SliceMap Bert = new(
        ["bert", "roberta"],
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        null,
        "intermediate_size",
        true,
        [
            (@"embeddings\.(word|position|token_type)_embeddings\.weight$", VC),
            (@"LayerNorm\.(weight|bias)$|lm_head\.layer_norm\.(weight|bias)$", C),
            (@"attention\.self\.(query|key|value)(_global)?\.weight$", HC),
            (@"attention\.self\.(query|key|value)(_global)?\.bias$", H),
            (@"attention\.self\.form\.convolution$", [SliceAxis.Whole, SliceAxis.Whole]),
            (@"attention\.output\.dense\.weight$", CH),
            (@"attention\.output\.dense\.bias$", C),
            (@"intermediate\.dense\.weight$", NC),
            (@"intermediate\.dense\.bias$", N),
            (@"layer\.\d+\.output\.dense\.weight$", CN),
            (@"layer\.\d+\.output\.dense\.bias$", C),
            (@"(pooler\.dense|transform\.dense|lm_head\.dense|classifier\.dense)\.weight$", CC),
            (@"(pooler\.dense|transform\.dense|lm_head\.dense|classifier\.dense)\.bias$", C),
            (@"(classifier|classifier\.out_proj|qa_outputs|predictions\.decoder|lm_head\.decoder)\.weight$", VC),
            (@"(classifier|classifier\.out_proj|qa_outputs|predictions|predictions\.decoder|lm_head|lm_head\.decoder)\.bias$", V),
        ]
    );

    private static readonly SliceMap DistilBert = new(
        ["distilbert"],
        "n_layers",
        "dim",
        "n_heads",
        null,
        "hidden_dim",
        true,
        [
            (@"embeddings\.(word|position)_embeddings\.weight$", VC),
            (@"(LayerNorm|layer_norm)\.(weight|bias)$", C),
            (@"attention\.[qkv]_lin(_global)?\.weight$", HC),
            (@"attention\.[qkv]_lin(_global)?\.bias$", H),
            (@"attention\.form\.convolution$", [SliceAxis.Whole, SliceAxis.Whole]),
            (@"attention\.out_lin\.weight$", CH),
            (@"attention\.out_lin\.bias$", C),
            (@"ffn\.lin1\.weight$", NC),
            (@"ffn\.lin1\.bias$", N),
            (@"ffn\.lin2\.weight$", CN),
            (@"ffn\.lin2\.bias$", C),
            (@"(vocab_transform|pre_classifier)\.weight$", CC),
            (@"(vocab_transform|pre_classifier)\.bias$", C),
            (@"(vocab_projector|classifier|qa_outputs)\.weight$", VC),
            (@"(vocab_projector|classifier|qa_outputs)\.bias$", V),
        ]
    );

    private static readonly SliceMap Gpt2 = new(
        ["gpt2"],
        "n_layer",
        "n_embd",
        "n_head",
        null,
        "n_inner",
        false,
        [
            (@"(wte|wpe|lm_head|score)\.weight$", VC),
            (@"ln_(1|2|f)\.(weight|bias)$", C),
            // Its matrices are stored [input, output].
            (@"attn\.c_attn\.weight$", [SliceAxis.Channels, SliceAxis.FusedHeads]),
            (@"attn\.c_attn\.bias$", [SliceAxis.FusedHeads]),
            (@"attn\.c_proj\.weight$", HC),
            (@"attn\.c_proj\.bias$", C),
            (@"mlp\.c_fc\.weight$", CN),
            (@"mlp\.c_fc\.bias$", N),
            (@"mlp\.c_proj\.weight$", NC),
            (@"mlp\.c_proj\.bias$", C),
        ]
    );

    private static readonly SliceMap Llama = new(
        ["llama", "mistral", "qwen2", "qwen3"],
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        true,
        [
            (@"(embed_tokens|lm_head|score)\.weight$", VC),
            (@"(input_layernorm|post_attention_layernorm|model\.norm|^norm)\.weight$", C),
            (@"self_attn\.q_proj\.weight$", HC),
            (@"self_attn\.q_proj\.bias$", H),
            (@"self_attn\.[kv]_proj\.weight$", KC),
            (@"self_attn\.[kv]_proj\.bias$", K),
            (@"self_attn\.o_proj\.weight$", CH),
            (@"self_attn\.o_proj\.bias$", C),
            (@"self_attn\.[qk]_norm\.weight$", V),
            (@"mlp\.(gate|up)_proj\.weight$", NC),
            (@"mlp\.(gate|up)_proj\.bias$", N),
            (@"mlp\.down_proj\.weight$", CN),
            (@"mlp\.down_proj\.bias$", C),
        ]
    );

    private static readonly SliceMap[] All = [Bert, DistilBert, Gpt2, Llama];

    /// <summary>The map of a family.</summary>
    /// <exception cref="NotSupportedException">There is none; the message lists those there are.</exception>
    internal static SliceMap Of(string? family) =>
        All.FirstOrDefault(map => map.Families.Contains(family))
        ?? throw new NotSupportedException(
            $"Models of the family '{family}' cannot be sliced. Those that can: {string.Join(", ", All.SelectMany(map => map.Families))}."
        );

    /// <summary>The axes of a weight.</summary>
    /// <exception cref="NotSupportedException">The weight is unknown.</exception>
    internal SliceAxis[] AxesOf(string name)
    {
        foreach (var (pattern, axes) in Weights)
            if (Regex.IsMatch(name, pattern))
                return axes;
        throw new NotSupportedException($"It is not known what the axes of '{name}' count, so it cannot be sliced.");
    }

    /// <summary>The number of the layer that a weight belongs to; null for those outside the layers.</summary>
    internal static int? LayerOf(string name) =>
        LayerNumber().Match(name) is { Success: true } match
            ? int.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture)
            : null;

    /// <summary>The name of the same weight in another layer.</summary>
    internal static string InLayer(string name, int layer) =>
        LayerNumber().Replace(name, match => $"{match.Groups[1].Value}{layer.ToString(CultureInfo.InvariantCulture)}.", 1);

    [GeneratedRegex(@"((?:^|\.)(?:layer|layers|h)\.)(\d+)\.")]
    private static partial Regex LayerNumber();
}
