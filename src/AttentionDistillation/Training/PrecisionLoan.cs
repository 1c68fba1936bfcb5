using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>A module in bfloat16 for as long as a training lasts; its float32 values come back at the end, to the bit.</summary>
internal sealed class PrecisionLoan : IDisposable
{
    private readonly nn.Module module;
    private readonly bool trains;
    private readonly Dictionary<string, Tensor> originals;

    /// <param name="module">What to convert.</param>
    /// <param name="trains">True when its buffers may change meanwhile (running statistics); they then come back as they are at the end.</param>
    public PrecisionLoan(nn.Module module, bool trains)
    {
        (this.module, this.trains) = (module, trains);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        originals = Floating(module)
            .Where(item => item.Value.dtype == ScalarType.Float32)
            .ToDictionary(item => item.Name, item => item.Value.detach().clone().DetachFromDisposeScope());
        if (originals.Count > 0)
            module.to(ScalarType.BFloat16);
    }

    /// <summary>Values that shall come back instead of those lent: trained weights in full precision.</summary>
    public void Replace(IEnumerable<(string Name, Tensor Value)> weights)
    {
        using var guard = no_grad();
        foreach (var (name, value) in weights)
            if (originals.TryGetValue(name, out var original))
                original.copy_(value);
    }

    public void Dispose()
    {
        if (originals.Count == 0)
            return;
        using var scope = NewDisposeScope();
        var parameters = module.named_parameters().Select(item => item.name).ToHashSet(StringComparer.Ordinal);
        module.to(ScalarType.Float32);
        var targets = Floating(module)
            .Where(item => originals.ContainsKey(item.Name) && (!trains || parameters.Contains(item.Name)));
        var pairs = targets.Select(item => (item.Value, Original: originals[item.Name])).ToArray();
        if (pairs.Length > 0)
            TorchScriptOperators.CopyAll([.. pairs.Select(pair => pair.Value)], [.. pairs.Select(pair => pair.Original)]);
        foreach (var original in originals.Values)
            original.Dispose();
    }

    private static IEnumerable<(string Name, Tensor Value)> Floating(nn.Module module) =>
        module
            .named_parameters()
            .Select(item => (item.name, (Tensor)item.parameter))
            .Concat(module.named_buffers().Select(item => (item.name, item.buffer)))
            .Where(item => item.Item2.is_floating_point());
}
