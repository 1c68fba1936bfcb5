using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods.Circuits;

/// <summary>
/// A pre-norm decoder taken apart into the nodes of its <see cref="CircuitGraph"/>: each part reads residual sums before normalisation and gives what it writes into
/// the residual stream. Every head has an input of its own for its queries, keys and values.
/// </summary>
public interface ICircuitModel
{
    /// <summary>Layers and heads.</summary>
    CircuitGraph Graph { get; }

    /// <summary>What the heads of a layer write.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="queryInput">[B, H, L, C].</param>
    /// <param name="keyInput">[B, H, L, C].</param>
    /// <param name="valueInput">[B, H, L, C].</param>
    /// <returns>[B, H, L, C], without the output projection's bias.</returns>
    Tensor Heads(int layer, Tensor queryInput, Tensor keyInput, Tensor valueInput);

    /// <summary>What belongs to no head of a layer but is added with them, [C]: the output projection's bias. Null for none.</summary>
    Tensor? HeadBias(int layer);

    /// <summary>What a layer's feed-forward block writes.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="input">[B, L, C].</param>
    /// <returns>[B, L, C].</returns>
    Tensor FeedForward(int layer, Tensor input);

    /// <summary>Logits of the next token at one position.</summary>
    /// <param name="residual">[B, C], the whole residual sum at the position.</param>
    /// <returns>[B, V].</returns>
    Tensor Logits(Tensor residual);
}
