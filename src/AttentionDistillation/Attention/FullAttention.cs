using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>Softmax attention over all keys that the call allows (padding, causality, window), by libtorch's fused kernels.</summary>
/// <remarks>Vaswani et al., "Attention Is All You Need", 2017, section 3.2.1.</remarks>
public sealed class FullAttention : IAttentionForm
{
    /// <summary>The form has no state: one serves every layer.</summary>
    public static FullAttention Instance { get; } = new();

    /// <summary>Mixes the values; a padded query gets some finite mixture.</summary>
    /// <param name="call">The call.</param>
    /// <returns>[B, H, L, D].</returns>
    public Tensor Mix(AttentionCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var state = call.State;
        using var scope = NewDisposeScope();
        var visibility = call.Visibility ?? KernelVisibility.Of(state);
        var allowed = visibility.Allowed;
        bool isCausal = visibility.IsCausal;
        if (state.Bias is not null)
        {
            var bias = state.Bias.to(state.Query.dtype);
            if (isCausal)
                allowed = AttentionMask.Allowed(null, true, state.Query.size(2), state.Key.size(2), state.Query.device);
            allowed = allowed is null ? bias : bias.masked_fill(allowed.logical_not(), double.NegativeInfinity);
            isCausal = false;
        }
        return FusedOperators
            .Attention(state.Query, state.Key, state.Value, allowed, call.Dropout, isCausal, state.Scale)
            .MoveToOuterDisposeScope();
    }
}

/// <summary>Softmax attention over each query's own key and those just before it, whatever window the model has.</summary>
/// <param name="window">Keys a query sees at most, its own included.</param>
public sealed class SlidingWindowAttention(long window) : IAttentionForm
{
    /// <summary>Keys a query sees at most, its own included.</summary>
    public long Window { get; } =
        window >= 1 ? window : throw new ArgumentOutOfRangeException(nameof(window), window, "A window is 1 or more keys.");

    /// <summary>Mixes the values of the window.</summary>
    /// <param name="call">A causal call.</param>
    /// <returns>[B, H, L, D].</returns>
    public Tensor Mix(AttentionCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var state = call.State;
        long narrower = Math.Min(Window, state.Window ?? Window);
        var windowed = new AttentionState(
            state.Query,
            state.Key,
            state.Value,
            state.Mask,
            state.IsCausal,
            state.Scale,
            state.Bias,
            narrower
        );
        bool same = state.Window == narrower || narrower >= state.Key.size(2);
        return FullAttention.Instance.Mix(call with { State = windowed, Visibility = same ? call.Visibility : null });
    }
}
