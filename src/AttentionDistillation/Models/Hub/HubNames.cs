using System.Text.RegularExpressions;

namespace AttentionDistillation.Models.Hub;

/// <summary>How the parameters of one architecture are named in Hugging Face checkpoints.</summary>
/// <param name="Architecture">The class name in transformers, for example <c>BertForMaskedLM</c>.</param>
/// <param name="Prefix">What precedes the encoder's names, for example <c>bert.</c>; empty for a bare encoder.</param>
/// <param name="Encoder">Module or parameter names of the encoder, ours to theirs; <c>{n}</c> stands for a layer's number.</param>
/// <param name="Head">Module or parameter names of the head, ours to theirs.</param>
/// <param name="Extras">Names of tensors that checkpoints may hold and this architecture has no use for (regular expressions).</param>
/// <param name="Tied">Names under which a tied decoder may lie in a checkpoint besides, and the tensors that they must then equal.</param>
internal sealed partial record HubNames(
    string Architecture,
    string Prefix,
    IReadOnlyDictionary<string, string> Encoder,
    IReadOnlyDictionary<string, string> Head,
    IReadOnlyList<string> Extras,
    IReadOnlyDictionary<string, string> Tied
)
{
    /// <summary>Extras of every family: buffers that older versions saved.</summary>
    private static readonly string[] CommonExtras = [@"(^|\.)embeddings\.(position_ids|token_type_ids)$"];

    /// <summary>The checkpoint's name of one of our parameters.</summary>
    public string ToHub(string own)
    {
        if (Head.TryGetValue(own, out string? whole))
            return whole;
        if (Encoder.TryGetValue(own, out string? parameterOfEncoder))
            return Prefix + parameterOfEncoder;
        int dot = own.LastIndexOf('.');
        string module = own[..dot];
        string parameter = own[dot..];
        if (Head.TryGetValue(module, out string? head))
            return head + parameter;
        var number = LayerNumber().Match(module);
        string pattern = number.Success ? LayerNumber().Replace(module, "layers.{n}.", 1) : module;
        return Encoder.TryGetValue(pattern, out string? theirs)
            ? Prefix + theirs.Replace("{n}", number.Groups[1].Value, StringComparison.Ordinal) + parameter
            : throw new InvalidOperationException($"{Architecture} has no checkpoint name for '{own}'.");
    }

    /// <summary>The present-day form of a name: layer norms were once saved as gamma and beta.</summary>
    public string Canonical(string name) =>
        name.EndsWith("LayerNorm.gamma", StringComparison.Ordinal) ? name[..^"gamma".Length] + "weight"
        : name.EndsWith("LayerNorm.beta", StringComparison.Ordinal) ? name[..^"beta".Length] + "bias"
        : name;

    /// <summary>True for a tensor that may lie in a checkpoint without being used.</summary>
    public bool IsHarmlessExtra(string name) => CommonExtras.Concat(Extras).Any(pattern => Regex.IsMatch(name, pattern));

    /// <summary>Nothing is tied.</summary>
    public static IReadOnlyDictionary<string, string> NothingTied { get; } = new Dictionary<string, string>();

    [GeneratedRegex(@"layers\.(\d+)\.")]
    private static partial Regex LayerNumber();
}
