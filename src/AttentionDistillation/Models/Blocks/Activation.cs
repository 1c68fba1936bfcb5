using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Activation functions by the names that <c>hidden_act</c> has in a checkpoint's configuration.</summary>
public static class Activation
{
    /// <summary>Slope of the sigmoid approximation of GELU (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, section 2).</summary>
    private const double QuickGeluSlope = 1.702;

    private static readonly Dictionary<string, Func<Tensor, Tensor>> Known = new(StringComparer.Ordinal)
    {
        ["gelu"] = tensor => nn.functional.gelu(tensor),
        ["gelu_python"] = tensor => nn.functional.gelu(tensor),
        ["gelu_new"] = TanhGelu,
        ["gelu_fast"] = TanhGelu,
        ["gelu_pytorch_tanh"] = TanhGelu,
        ["quick_gelu"] = tensor => tensor * (tensor * QuickGeluSlope).sigmoid(),
        ["relu"] = tensor => nn.functional.relu(tensor),
        ["relu6"] = tensor => nn.functional.relu6(tensor),
        ["silu"] = tensor => nn.functional.silu(tensor),
        ["swish"] = tensor => nn.functional.silu(tensor),
        ["mish"] = tensor => nn.functional.mish(tensor),
        ["tanh"] = tensor => tensor.tanh(),
        ["sigmoid"] = tensor => tensor.sigmoid(),
        ["linear"] = tensor => tensor.alias(),
    };

    /// <summary>The names that <see cref="Find"/> knows.</summary>
    public static IReadOnlyCollection<string> Names => Known.Keys;

    /// <summary>The function of a name.</summary>
    /// <exception cref="ArgumentException">The name is unknown; the message lists the known ones.</exception>
    public static Func<Tensor, Tensor> Find(string name) =>
        Known.TryGetValue(name, out var function)
            ? function
            : throw new ArgumentException($"The activation '{name}' is unknown. Known are: {string.Join(", ", Known.Keys)}.");

    /// <summary>Which form of GELU a name means; null for other activations.</summary>
    internal static GeluForm? Gelu(string name) =>
        name switch
        {
            "gelu" or "gelu_python" => GeluForm.Exact,
            "gelu_new" or "gelu_fast" or "gelu_pytorch_tanh" => GeluForm.Tanh,
            _ => null,
        };

    private static Tensor TanhGelu(Tensor tensor) => nn.functional.gelu(tensor, GELU.Approximate.tanh);
}

/// <summary>The two forms of GELU that models use.</summary>
internal enum GeluForm
{
    /// <summary>x Φ(x), with the normal distribution's own Φ.</summary>
    Exact,

    /// <summary>With Φ approximated by tanh (Hendrycks and Gimpel, 2016, section 2).</summary>
    Tanh,
}
