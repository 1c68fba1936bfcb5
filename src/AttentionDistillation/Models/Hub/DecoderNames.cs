using System.Text.RegularExpressions;
using AttentionDistillation.Models.Blocks;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>How the tensors of a family of decoders are named in Hugging Face checkpoints.</summary>
/// <param name="Prefix">What precedes the body's names, for example <c>model.</c>; empty for a bare model.</param>
/// <param name="Words">The word table's module.</param>
/// <param name="Positions">The position table's module; null for rotary models.</param>
/// <param name="Layers">The layers' module.</param>
/// <param name="AttentionNorm">The normalisation before attention.</param>
/// <param name="Attention">The attention layer.</param>
/// <param name="FeedForwardNorm">The normalisation before the feed-forward block.</param>
/// <param name="FeedForward">The feed-forward block.</param>
/// <param name="Norm">The final normalisation.</param>
/// <param name="IsTransposed">True where checkpoints store weights as [input, output] (GPT-2's Conv1D).</param>
internal sealed partial record DecoderNames(
    string Prefix,
    string Words,
    string? Positions,
    string Layers,
    string AttentionNorm,
    string Attention,
    string FeedForwardNorm,
    string FeedForward,
    string Norm,
    bool IsTransposed
)
{
    /// <summary>Llama, Qwen2 and Mistral.</summary>
    public static DecoderNames Rotary { get; } =
        new("", "embed_tokens", null, "layers", "input_layernorm", "self_attn", "post_attention_layernorm", "mlp", "norm", false);

    /// <summary>GPT-2.</summary>
    public static DecoderNames Gpt2 { get; } = new("", "wte", "wpe", "h", "ln_1", "attn", "ln_2", "mlp", "ln_f", true);

    /// <summary>The word table's name.</summary>
    public string WordTable => Words + ".weight";

    /// <summary>The tensors of a decoder's body by their names, without the prefix; parts of joint layers are views.</summary>
    public IEnumerable<(string Name, Tensor Tensor)> BodyOf(TextDecoder model)
    {
        yield return (WordTable, model.WordTable);
        if (model.PositionTable is not null)
            yield return ($"{Positions}.weight", model.PositionTable);
        foreach (var (name, layer, projection) in ProjectionsOf(model))
        {
            var weight = layer.WeightOf(projection);
            yield return ($"{name}.weight", IsTransposed ? weight.t() : weight);
            if (layer.BiasOf(projection) is { } bias)
                yield return ($"{name}.bias", bias);
        }
        foreach (var (norm, name) in NormsOf(model))
        foreach (var (parameterName, parameter) in norm.named_parameters())
            yield return ($"{name}.{parameterName}", parameter);
    }

    /// <summary>The projections of a decoder's layers by their names, without the prefix.</summary>
    public IEnumerable<(string Name, JointLinear Layer, string Projection)> ProjectionsOf(TextDecoder model)
    {
        foreach (var layer in model.DecoderLayers)
        {
            string place = $"{Layers}.{layer.Attention.Layer}";
            var (inner, outer) = layer.FeedForward switch
            {
                GatedFeedForward gated => (gated.Inner, gated.Outer),
                PlainFeedForward plain => (plain.Inner, plain.Outer),
                var other => throw new NotSupportedException($"{other.GetName()} has no names in checkpoints."),
            };
            (string Block, JointLinear Linear)[] blocks =
            [
                (Attention, layer.Attention.Input),
                (Attention, layer.Attention.Output),
                (FeedForward, inner),
                (FeedForward, outer),
            ];
            foreach (var (block, linear) in blocks)
            foreach (string projection in linear.Names)
                yield return ($"{place}.{block}.{projection}", linear, projection);
        }
    }

    /// <summary>The name in this architecture: checkpoints of the bare model lack the prefix, those of other heads have theirs.</summary>
    public string Canonical(string name)
    {
        var body = Body().Match(name);
        return body.Success && (body.Groups["place"].Value is "wte" or "wpe" or "h" or "ln_f") == (Positions is not null)
            ? Prefix + name[body.Groups["prefix"].Length..]
            : name;
    }

    /// <summary>True for a tensor that may lie in a checkpoint without being used: buffers of old versions, and heads beside a bare model.</summary>
    public bool IsHarmlessExtra(string name) => Buffers().IsMatch(name) || (Prefix.Length == 0 && Heads().IsMatch(name));

    private IEnumerable<(nn.Module Norm, string Name)> NormsOf(TextDecoder model)
    {
        foreach (var layer in model.DecoderLayers)
        {
            yield return (layer.AttentionNorm, $"{Layers}.{layer.Attention.Layer}.{AttentionNorm}");
            yield return (layer.FeedForwardNorm, $"{Layers}.{layer.Attention.Layer}.{FeedForwardNorm}");
        }
        yield return (model.FinalNorm, Norm);
    }

    [GeneratedRegex(@"^(?<prefix>(model|transformer)\.)?(?<place>embed_tokens|layers|norm|wte|wpe|h|ln_f)\.")]
    private static partial Regex Body();

    [GeneratedRegex(@"(^|\.)(rotary_emb\.inv_freq|attn\.bias|attn\.masked_bias)$")]
    private static partial Regex Buffers();

    [GeneratedRegex(@"^(lm_head|score|classifier|qa_outputs)\.")]
    private static partial Regex Heads();
}
