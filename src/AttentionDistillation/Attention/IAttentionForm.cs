using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// How an attention layer mixes values, given its queries, keys and values: the exchangeable part of a decoder's layer. A form with weights is a
/// module; the layer that takes it registers it, so that it moves, trains and saves with the model.
/// </summary>
public interface IAttentionForm
{
    /// <summary>Mixes the values.</summary>
    /// <param name="call">Queries, keys, values and what they came from.</param>
    /// <returns>[B, H, L, D], before the output projection.</returns>
    Tensor Mix(AttentionCall call);
}

/// <summary>One attention call on its way to its mixed values, with what forms other than softmax attention read besides.</summary>
/// <param name="State">Queries and keys as they meet (after rotary positions), values, padding, causality, window and scale.</param>
/// <param name="Layer">The layer's number from 0.</param>
public sealed record AttentionCall(AttentionState State, int Layer)
{
    /// <summary>[B, L, C]: what queries, keys and values were projected from. Null where the caller has none.</summary>
    public Tensor? Hidden { get; init; }

    /// <summary>[B, H, L, D]: the queries before positions; null where they are the state's.</summary>
    public Tensor? PlainQuery { get; init; }

    /// <summary>[B, H or fewer, L, D]: the keys of this pass's tokens before positions; null where they are the state's.</summary>
    public Tensor? PlainKey { get; init; }

    /// <summary>Probability with which an attention weight is dropped in this pass.</summary>
    public double Dropout { get; init; }

    /// <summary>The state's visibility as a kernel wants it, shared by all layers of a pass; null: find it from the state.</summary>
    public KernelVisibility? Visibility { get; init; }
}
