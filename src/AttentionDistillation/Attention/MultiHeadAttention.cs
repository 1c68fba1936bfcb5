using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Multi-head scaled dot-product attention with separate query, key, value and output projections. The forward pass uses libtorch's fused kernel
/// and never builds an L x S map; what a trace wants is recorded as an <see cref="AttentionState"/>.
/// </summary>
/// <remarks>Vaswani et al., "Attention Is All You Need", 2017, section 3.2. d_model is C, h is H, d_k and d_v are D here.</remarks>
public sealed class MultiHeadAttention : nn.Module<Tensor, Tensor?, Tensor?, ForwardTrace?, Tensor>
{
    private readonly Linear query;
    private readonly Linear key;
    private readonly Linear value;
    private readonly Linear output;
    private readonly double dropout;

    /// <summary>Builds the projections.</summary>
    /// <param name="width">C, the width of the input and of the output.</param>
    /// <param name="heads">H, which must divide <paramref name="width"/>.</param>
    /// <param name="layers">Makes the projections' weights.</param>
    /// <param name="layer">The layer's number from 0, under which a trace records the call.</param>
    /// <param name="dropout">Probability with which an attention weight is dropped in training.</param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L.</param>
    /// <param name="contextWidth">Width of the keys' source in cross attention; null means <paramref name="width"/>.</param>
    /// <param name="hasBias">Whether the projections have biases.</param>
    /// <param name="outputHasBias">Whether the output projection has one; null means <paramref name="hasBias"/>.</param>
    /// <exception cref="ArgumentException">The heads do not divide the width, or a number is out of its range.</exception>
    public MultiHeadAttention(
        long width,
        long heads,
        SeededLayers layers,
        int layer,
        double dropout = 0.0,
        bool isCausal = false,
        long? contextWidth = null,
        bool hasBias = true,
        bool? outputHasBias = null
    )
        : base(nameof(MultiHeadAttention))
    {
        ArgumentNullException.ThrowIfNull(layers);
        if (heads < 1 || width < 1 || width % heads != 0)
            throw new ArgumentException(
                $"The number of heads must divide the width, but there are {heads} heads and the width is {width}. Choose a width of {heads} x head width."
            );
        if (!(dropout is >= 0 and < 1))
            throw new ArgumentException($"Attention dropout must be from 0 to below 1, but is {dropout}.", nameof(dropout));
        long source = contextWidth ?? width;
        query = layers.Linear(width, width, hasBias);
        key = layers.Linear(source, width, hasBias);
        value = layers.Linear(source, width, hasBias);
        output = layers.Linear(width, width, outputHasBias ?? hasBias);
        this.dropout = dropout;
        (Heads, Width, Layer, IsCausal) = (heads, width, layer, isCausal);
        RegisterComponents();
    }

    /// <summary>H.</summary>
    public long Heads { get; }

    /// <summary>C.</summary>
    public long Width { get; }

    /// <summary>The layer's number from 0.</summary>
    public int Layer { get; }

    /// <summary>True when query i sees only keys up to i + S - L.</summary>
    public bool IsCausal { get; }

    /// <summary>Attends.</summary>
    /// <param name="hidden">[B, L, C], where the queries come from.</param>
    /// <param name="context">[B, S, context width], where keys and values come from; null for self-attention.</param>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded. A row without any real key gives zeros before the output projection.</param>
    /// <param name="trace">Records the call if it wants it; null for none.</param>
    /// <returns>[B, L, C]; empty ([0]) when the trace stops after the attention inputs, because nobody wants more.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the mask is not bool.</exception>
    public override Tensor forward(Tensor hidden, Tensor? context, Tensor? mask, ForwardTrace? trace)
    {
        Shapes.Require(hidden, "[B, L, C]");
        using var scope = NewDisposeScope();
        var state = Project(hidden, context ?? hidden, mask);
        if (trace?.WantsAttention(Layer) == true)
        {
            trace.RecordAttention(Layer, state);
            state.MoveToOuterDisposeScope();
        }
        if (trace?.StopsAfterAttentionInputs(Layer) == true)
            return empty(0, dtype: hidden.dtype, device: hidden.device).MoveToOuterDisposeScope();
        var mixed = Mix(state).transpose(1, 2).reshape(hidden.size(0), hidden.size(1), Width);
        return output.call(mixed).MoveToOuterDisposeScope();
    }

    private AttentionState Project(Tensor hidden, Tensor context, Tensor? mask) =>
        new(Split(query.call(hidden)), Split(key.call(context)), Split(value.call(context)), mask, IsCausal);

    private Tensor Split(Tensor projected) =>
        projected.view(projected.size(0), projected.size(1), Heads, Width / Heads).transpose(1, 2);

    private Tensor Mix(AttentionState state)
    {
        double probability = training ? dropout : 0.0;
        long queries = state.Query.size(2);
        long keys = state.Key.size(2);
        // The kernel's causal flag aligns the first query with the first key; it means the same as ours only for a square map.
        bool causalFlag = IsCausal && state.Mask is null && queries == keys;
        var allowed = causalFlag ? null : AttentionMask.Allowed(state.Mask, IsCausal, queries, keys, state.Query.device);
        if (allowed is null || (state.Mask is null && queries <= keys))
            return nn.functional.scaled_dot_product_attention(
                state.Query,
                state.Key,
                state.Value,
                allowed,
                probability,
                causalFlag
            );
        // Kernels disagree about rows that may see nothing (in bfloat16 on CUDA they gave numbers, and gradients that were not finite), so such rows
        // see everything and are set to zero afterwards, which also stops their gradient.
        var sees = allowed.any(-1, keepdim: true);
        var mixed = nn.functional.scaled_dot_product_attention(
            state.Query,
            state.Key,
            state.Value,
            allowed.logical_or(sees.logical_not()),
            probability
        );
        return mixed.masked_fill(sees.logical_not(), 0.0);
    }
}
