using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods.Circuits;

/// <summary>
/// The smallest decoder that has every kind of node: weights as tensors, no positions, no biases, root-mean-square norms without gain, causal attention at
/// scale 1 / sqrt(D), exact GELU. For checks by hand.
/// </summary>
public sealed class PlainDecoder : ICircuitModel
{
    /// <summary>Added to the mean square under the root.</summary>
    private const double NormEpsilon = 1e-5;

    private readonly Tensor query;
    private readonly Tensor key;
    private readonly Tensor value;
    private readonly Tensor output;
    private readonly Tensor inner;
    private readonly Tensor outer;
    private readonly Tensor unembedding;

    /// <summary>A decoder.</summary>
    /// <param name="query">[layers, H, C, D].</param>
    /// <param name="key">[layers, H, C, D].</param>
    /// <param name="value">[layers, H, C, D].</param>
    /// <param name="output">[layers, H, D, C].</param>
    /// <param name="inner">[layers, C, inner width].</param>
    /// <param name="outer">[layers, inner width, C].</param>
    /// <param name="unembedding">[C, V].</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public PlainDecoder(Tensor query, Tensor key, Tensor value, Tensor output, Tensor inner, Tensor outer, Tensor unembedding)
    {
        Shapes.Require(query, "[layers, H, C, D]");
        Shapes.RequireExact(key, query.shape);
        Shapes.RequireExact(value, [query.size(0), query.size(1), query.size(2), -1]);
        Shapes.RequireExact(output, [query.size(0), query.size(1), value.size(3), query.size(2)]);
        Shapes.RequireExact(inner, [query.size(0), query.size(2), -1]);
        Shapes.RequireExact(outer, [query.size(0), inner.size(2), query.size(2)]);
        Shapes.RequireExact(unembedding, [query.size(2), -1]);
        (this.query, this.key, this.value, this.output) = (query, key, value, output);
        (this.inner, this.outer, this.unembedding) = (inner, outer, unembedding);
        Graph = new CircuitGraph((int)query.size(0), (int)query.size(1));
    }

    /// <inheritdoc/>
    public CircuitGraph Graph { get; }

    /// <inheritdoc/>
    public Tensor Heads(int layer, Tensor queryInput, Tensor keyInput, Tensor valueInput)
    {
        ArgumentNullException.ThrowIfNull(queryInput);
        using var scope = NewDisposeScope();
        var q = matmul(Normalised(queryInput), query[layer]);
        var k = matmul(Normalised(keyInput), key[layer]);
        var v = matmul(Normalised(valueInput), value[layer]);
        var state = new Attention.AttentionState(q, k, v, null, isCausal: true);
        return matmul(matmul(state.Probabilities(), v), output[layer]).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor? HeadBias(int layer) => null;

    /// <inheritdoc/>
    public Tensor FeedForward(int layer, Tensor input)
    {
        using var scope = NewDisposeScope();
        return matmul(nn.functional.gelu(matmul(Normalised(input), inner[layer])), outer[layer]).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor Logits(Tensor residual)
    {
        using var scope = NewDisposeScope();
        return matmul(Normalised(residual), unembedding).MoveToOuterDisposeScope();
    }

    private static Tensor Normalised(Tensor residual) =>
        residual * (residual.square().mean([-1], keepdim: true) + NormEpsilon).rsqrt();
}
