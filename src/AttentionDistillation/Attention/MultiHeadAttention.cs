using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Multi-head scaled dot-product attention. The weights of query, key and value lie in one parameter [3C, C] (in cross attention those of key and
/// value, [2C, context width]), so that one product serves all; <see cref="Separate"/> shows them apart, as checkpoints name them. The forward pass
/// uses libtorch's fused kernel and never builds an L x S map; what a trace wants is recorded as an <see cref="AttentionState"/>.
/// </summary>
/// <remarks>Vaswani et al., "Attention Is All You Need", 2017, section 3.2. d_model is C, h is H, d_k and d_v are D here.</remarks>
public sealed class MultiHeadAttention : nn.Module<Tensor, Tensor?, Tensor?, ForwardTrace?, Tensor>
{
    private static readonly string[] QueryKeyValueNames = ["query", "key", "value"];
    private static readonly string[] KeyValueNames = ["key", "value"];

    private readonly Linear? queryKeyValue;
    private readonly Linear? query;
    private readonly Linear? keyValue;
    private readonly Linear output;
    private readonly double dropout;
    private IAttentionForm? form;

    /// <summary>Builds the projections.</summary>
    /// <param name="width">C, the width of the input and of the output.</param>
    /// <param name="heads">H, which must divide <paramref name="width"/> unless a width of heads is given.</param>
    /// <param name="layers">Makes the projections' weights.</param>
    /// <param name="layer">The layer's number from 0, under which a trace records the call.</param>
    /// <param name="dropout">Probability with which an attention weight is dropped in training.</param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L.</param>
    /// <param name="contextWidth">
    /// Width of the keys' source in cross attention, which then has a query projection of its own; null for self-attention.
    /// </param>
    /// <param name="hasBias">Whether the projections have biases.</param>
    /// <param name="headWidth">D, where H x D is not the width, as in pruned models; null means width / heads.</param>
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
        long? headWidth = null,
        bool? outputHasBias = null
    )
        : base(nameof(MultiHeadAttention))
    {
        ArgumentNullException.ThrowIfNull(layers);
        if (heads < 1 || width < 1 || headWidth < 1 || (headWidth is null && width % heads != 0))
            throw new ArgumentException(
                $"The number of heads must divide the width, but there are {heads} heads and the width is {width}. Choose a width of {heads} x head width, or give a width of heads (at least 1)."
            );
        if (!(dropout is >= 0 and < 1))
            throw new ArgumentException($"Attention dropout must be from 0 to below 1, but is {dropout}.", nameof(dropout));
        HeadWidth = headWidth ?? width / heads;
        long inner = heads * HeadWidth;
        if (contextWidth is { } source)
        {
            query = layers.Linear(width, inner, hasBias);
            keyValue = layers.Linear(source, KeyValueNames.Length * inner, hasBias);
        }
        else
            queryKeyValue = layers.Linear(width, QueryKeyValueNames.Length * inner, hasBias);
        output = layers.Linear(inner, width, outputHasBias ?? hasBias);
        this.dropout = dropout;
        (Heads, Width, Layer, IsCausal) = (heads, width, layer, isCausal);
        RegisterComponents();
    }

    /// <summary>H.</summary>
    public long Heads { get; }

    /// <summary>C.</summary>
    public long Width { get; }

    /// <summary>D.</summary>
    public long HeadWidth { get; }

    /// <summary>The layer's number from 0.</summary>
    public int Layer { get; }

    /// <summary>True when query i sees only keys up to i + S - L.</summary>
    public bool IsCausal { get; }

    /// <summary>
    /// How values are mixed, where it is not by softmax attention over all keys; null for that. A form with weights is registered with the layer and
    /// moves to its device. A trace records the queries, keys and values, whatever the form makes of them.
    /// </summary>
    public IAttentionForm? Form
    {
        get => form;
        set
        {
            if (ReferenceEquals(form, value))
                return;
            if (form is nn.Module)
                register_module(nameof(form), null!);
            if (value is nn.Module module)
            {
                module.to(parameters().First().device);
                module.train(training);
                register_module(nameof(form), module);
            }
            form = value;
        }
    }

    /// <summary>
    /// A parameter under the names it would have if every projection had its own: <c>attention.queryKeyValue.weight</c> becomes
    /// <c>attention.query.weight</c>, <c>attention.key.weight</c> and <c>attention.value.weight</c>; any other parameter stays as it is.
    /// </summary>
    /// <param name="name">The parameter's name in the model that holds the attention.</param>
    /// <param name="parameter">The parameter.</param>
    /// <returns>Names and views that share the parameter's memory and are cut off from the graph of gradients.</returns>
    public static IEnumerable<(string Name, Tensor Value)> Separate(string name, Tensor parameter)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(parameter);
        string[] path = name.Split('.');
        string[]? parts =
            path.Length < 2
                ? null
                : path[^2] switch
                {
                    nameof(queryKeyValue) => QueryKeyValueNames,
                    nameof(keyValue) => KeyValueNames,
                    _ => null,
                };
        if (parts is null)
            return [(name, parameter)];
        using var scope = NewDisposeScope();
        long rows = parameter.size(0) / parts.Length;
        return
        [
            .. parts.Select(
                (part, number) =>
                    (
                        string.Join('.', [.. path[..^2], part, path[^1]]),
                        parameter.detach().narrow(0, number * rows, rows).MoveToOuterDisposeScope()
                    )
            ),
        ];
    }

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
        var (queries, keys, values) = Project(hidden, context);
        var state = new AttentionState(queries, keys, values, mask, IsCausal);
        if (trace?.WantsAttention(Layer) == true)
        {
            trace.RecordAttention(Layer, state);
            state.MoveToOuterDisposeScope();
        }
        if (trace?.StopsAfterAttentionInputs(Layer) == true)
            return empty(0, dtype: hidden.dtype, device: hidden.device).MoveToOuterDisposeScope();
        var mixed = (form is null ? Mix(state) : form.Mix(CallOf(state, hidden)))
            .transpose(1, 2)
            .reshape(hidden.size(0), hidden.size(1), Heads * HeadWidth);
        return output.Project(mixed).MoveToOuterDisposeScope();
    }

    private AttentionCall CallOf(AttentionState state, Tensor hidden) =>
        new(state, Layer) { Hidden = hidden, Dropout = training ? dropout : 0.0 };

    private (Tensor Query, Tensor Key, Tensor Value) Project(Tensor hidden, Tensor? context)
    {
        if (queryKeyValue is null)
        {
            var pair = Split(keyValue!.Project(context ?? hidden), KeyValueNames.Length);
            return (Split(query!.Project(hidden), 1)[0], pair[0], pair[1]);
        }
        if (context is null && FastPaths.FusedProjections)
        {
            var three = Split(queryKeyValue.Project(hidden), QueryKeyValueNames.Length);
            return (three[0], three[1], three[2]);
        }
        // Each from a source of its own: the rows of the one weight apart.
        var weights = queryKeyValue.weight!.view(QueryKeyValueNames.Length, Heads * HeadWidth, Width).unbind(0);
        var biases = queryKeyValue.bias?.view(QueryKeyValueNames.Length, Heads * HeadWidth).unbind(0);
        Tensor Part(Tensor source, int number) => Split(LinearProduct.Of(source, weights[number], biases?[number]), 1)[0];
        return (Part(hidden, 0), Part(context ?? hidden, 1), Part(context ?? hidden, 2));
    }

    // [B, L, parts x C] to as many views [B, H, L, D]. Their gradients are stacked in the order the product wants, in one copy.
    private Tensor[] Split(Tensor projected, int parts)
    {
        var grid = projected.view(projected.size(0), projected.size(1), parts, Heads, HeadWidth);
        return [.. grid.unbind(2).Select(part => part.transpose(1, 2))];
    }

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
