using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>Bidirectional attention to the keys within a window around each query and, if some are global, to the global ones.</summary>
/// <remarks>Beltagy et al., "Longformer", 2020, section 3.1. Without global tokens it is the control that has no path across the document.</remarks>
/// <param name="window">Total width: query i sees keys j with |i - j| at most window / 2.</param>
public sealed class WindowedAttention(long window) : IAttentionForm
{
    /// <summary>Total width of the window.</summary>
    public long Window { get; } = Checked(window);

    /// <summary>Mixes the values of the window; padded queries get zeros.</summary>
    /// <param name="call">A bidirectional call.</param>
    /// <returns>[B, H, L, D].</returns>
    /// <exception cref="NotSupportedException">The call is causal, or has a bias.</exception>
    public Tensor Mix(AttentionCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var state = call.State;
        AttentionSupport.RequireEncoderCall(state, nameof(WindowedAttention));
        return Mix(state.Query, state.Key, state.Value, null, state.Mask, Window, state.Scale, call.Dropout);
    }

    /// <summary>The window and the global keys of every query, gathered.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, L, D].</param>
    /// <param name="value">[B, H, L, D].</param>
    /// <param name="globals">bool [B, L]: keys that every query sees, each counted once; null for none.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="window">Total width, even.</param>
    /// <param name="scale">Factor on the scores; null means 1 / sqrt(D).</param>
    /// <param name="dropout">Probability with which an attention weight is dropped.</param>
    /// <returns>[B, H, L, D]; padded queries are 0.</returns>
    public static Tensor Mix(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? globals,
        Tensor? mask,
        long window,
        double? scale = null,
        double dropout = 0.0
    )
    {
        ArgumentNullException.ThrowIfNull(query);
        AttentionSupport.RequireWindow(window);
        using var scope = NewDisposeScope();
        long length = query.size(2),
            half = window / 2;
        double factor = scale ?? 1.0 / Math.Sqrt(query.size(3));
        Tensor mixed;
        // Where global tokens stand differs between sequences, and a window of the sequence's length saves nothing: then the map is cheaper.
        if (globals is not null || 3 * half >= length)
        {
            var allowed = AttentionSupport.Window(length, Math.Min(window, 2 * length), query.device).view(1, 1, length, length);
            if (globals is not null)
                allowed = allowed.logical_or(globals.view(-1, 1, 1, length));
            if (mask is not null)
                allowed = allowed.logical_and(mask.view(-1, 1, 1, length));
            mixed = AttentionMixing.Mix(new AttentionState(query, key, value, null, scale: factor), dropout, allowed);
        }
        else
            mixed = Gathered(query, key, value, null, mask, half, factor, dropout);
        if (mask is not null)
            mixed = mixed.masked_fill(mask.logical_not().view(-1, 1, length, 1), 0.0);
        return mixed.MoveToOuterDisposeScope();
    }

    /// <summary>The window of every query and the first tokens, gathered: three blocks of half a window, of which each query sees its part.</summary>
    internal static Tensor Gathered(
        Tensor query,
        Tensor key,
        Tensor value,
        long? firstTokens,
        Tensor? mask,
        long half,
        double scale,
        double dropout
    )
    {
        using var scope = NewDisposeScope();
        var device = query.device;
        long length = query.size(2),
            blocks = AttentionSupport.BlockCount(length, half),
            global = firstTokens ?? 0;
        var starts = (arange(blocks, dtype: ScalarType.Int64, device: device) - 1) * half;
        var near = starts.unsqueeze(1) + arange(3 * half, dtype: ScalarType.Int64, device: device);
        near = near.masked_fill(near.lt(global), -1); // the global tokens are listed once, in front
        // Query a of a block lies half + a after the list's start and sees half keys on either side.
        var own = arange(half, dtype: ScalarType.Int64, device: device).unsqueeze(1);
        var other = arange(3 * half, dtype: ScalarType.Int64, device: device).unsqueeze(0);
        var within = other.ge(own).logical_and(other.le(own + 2 * half));
        if (global > 0)
        {
            near = cat([arange(global, dtype: ScalarType.Int64, device: device).expand(blocks, global), near], 1);
            within = cat([ones(half, global, dtype: ScalarType.Bool, device: device), within], 1);
        }
        return GatheredAttention
            .Mix(
                query,
                key,
                value,
                near,
                mask?.view(mask.size(0), 1, length),
                within.unsqueeze(0).expand(blocks, half, within.size(1)),
                scale,
                dropout
            )
            .MoveToOuterDisposeScope();
    }

    private static long Checked(long window)
    {
        AttentionSupport.RequireWindow(window);
        return window;
    }
}
