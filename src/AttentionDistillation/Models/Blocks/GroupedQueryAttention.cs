using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>What a decoder's attention layer is built from.</summary>
/// <param name="Width">C.</param>
/// <param name="Heads">H.</param>
/// <param name="KeyValueHeads">Key and value heads; divides <paramref name="Heads"/>.</param>
/// <param name="HeadWidth">D.</param>
/// <param name="Scale">Factor on the scores.</param>
/// <param name="Window">Keys a query sees at most; null for all.</param>
/// <param name="Dropout">Probability with which an attention weight is dropped in training.</param>
internal sealed record AttentionShape(
    long Width,
    long Heads,
    long KeyValueHeads,
    long HeadWidth,
    double Scale,
    long? Window,
    double Dropout
);

/// <summary>
/// Causal self-attention of a decoder: queries, keys and values in one product, key and value heads shared by groups of query heads, rotary
/// positions, padding, sliding window, cache. How values are mixed is exchangeable (<see cref="Form"/>).
/// </summary>
/// <remarks>Ainslie et al., "GQA", 2023, section 2.2; with one group per head it is multi-head, with one group multi-query attention.</remarks>
public sealed class GroupedQueryAttention : nn.Module<Tensor, DecoderPass, Tensor>
{
    private const string FormName = "form";

    private readonly JointLinear input;
    private readonly JointLinear output;
    private readonly AttentionShape shape;
    private IAttentionForm form = FullAttention.Instance;

    internal GroupedQueryAttention(
        AttentionShape shape,
        int layer,
        IReadOnlyList<string> inputNames,
        string outputName,
        (bool Input, bool Output) hasBias,
        SeededLayers layers
    )
        : base(nameof(GroupedQueryAttention))
    {
        this.shape = shape;
        Layer = layer;
        long query = shape.Heads * shape.HeadWidth,
            key = shape.KeyValueHeads * shape.HeadWidth;
        (string, long)[] projections =
            inputNames.Count == 1
                ? [(inputNames[0], query + 2 * key)]
                : [(inputNames[0], query), (inputNames[1], key), (inputNames[2], key)];
        input = new JointLinear(shape.Width, projections, hasBias.Input, layers);
        output = new JointLinear(query, [(outputName, shape.Width)], hasBias.Output, layers);
        RegisterComponents();
    }

    /// <summary>The layer's number from 0.</summary>
    public int Layer { get; }

    /// <summary>H.</summary>
    public long Heads => shape.Heads;

    /// <summary>Key and value heads.</summary>
    public long KeyValueHeads => shape.KeyValueHeads;

    /// <summary>D.</summary>
    public long HeadWidth => shape.HeadWidth;

    /// <summary>Factor on the scores.</summary>
    public double Scale => shape.Scale;

    /// <summary>Keys a query sees at most; null for all.</summary>
    public long? Window => shape.Window;

    /// <summary>Queries, keys and values, in this order.</summary>
    public JointLinear Input => input;

    /// <summary>The output projection.</summary>
    public JointLinear Output => output;

    /// <summary>How values are mixed; softmax attention unless it was exchanged. A form with weights is registered with the layer.</summary>
    public IAttentionForm Form
    {
        get => form;
        set
        {
            ArgumentNullException.ThrowIfNull(value);
            if (ReferenceEquals(form, value))
                return;
            if (form is nn.Module)
                register_module(FormName, null!);
            if (value is nn.Module module)
            {
                module.train(training);
                register_module(FormName, module);
            }
            form = value;
        }
    }

    /// <summary>[B, L, C] to [B, L, C]; empty ([0]) when the trace stops after the attention inputs.</summary>
    public override Tensor forward(Tensor hidden, DecoderPass pass)
    {
        ArgumentNullException.ThrowIfNull(pass);
        using var scope = NewDisposeScope();
        var call = Project(hidden, pass);
        var state = call.State;
        if (pass.Trace?.WantsAttention(Layer) == true)
            pass.Record(Layer, state);
        if (pass.Trace?.StopsAfterAttentionInputs(Layer) == true)
            return empty(0, dtype: hidden.dtype, device: hidden.device).MoveToOuterDisposeScope();
        var mixed = form.Mix(call);
        if (pass.Heads is not null)
            mixed = pass.Heads.Scale(mixed, Layer);
        if (pass.Wants(DecoderFeatures.HeadOutputs(Layer)))
            pass.Record(DecoderFeatures.HeadOutputs(Layer), mixed);
        if (pass.Wants(DecoderFeatures.HeadWrites(Layer)))
            pass.Record(DecoderFeatures.HeadWrites(Layer), Writes(mixed));
        var written = output.call(mixed.transpose(1, 2).reshape(hidden.size(0), hidden.size(1), Heads * HeadWidth));
        if (pass.Heads?.Added(Layer, written.dtype) is { } added)
            written = written + added;
        return written.MoveToOuterDisposeScope();
    }

    /// <summary>What each head writes into the residual stream: its part of the output projection, without bias.</summary>
    /// <param name="mixed">[B, H, L, D].</param>
    /// <returns>[B, H, L, C]; their sum over the heads, plus the bias, is the layer's output.</returns>
    public Tensor Writes(Tensor mixed)
    {
        using var scope = NewDisposeScope();
        var weight = output.Weight.view(shape.Width, Heads, HeadWidth).permute(1, 2, 0);
        if (output.Adapters.TryGetValue(output.Names[0], out var adapter))
            weight = weight + adapter.WeightChange().to(weight.dtype).view(shape.Width, Heads, HeadWidth).permute(1, 2, 0);
        return matmul(mixed, weight).MoveToOuterDisposeScope();
    }

    private AttentionCall Project(Tensor hidden, DecoderPass pass)
    {
        long batch = hidden.size(0),
            length = hidden.size(1),
            turning = Heads + KeyValueHeads;
        var projected = input.call(hidden).view(batch, length, turning + KeyValueHeads, HeadWidth);
        var parts = projected.split([turning, KeyValueHeads], 2);
        var plain = parts[0].split([Heads, KeyValueHeads], 2);
        var turned = pass.Rotation is null ? plain : pass.Rotation.Apply(parts[0]).split([Heads, KeyValueHeads], 2);
        var query = turned[0].transpose(1, 2);
        var key = turned[1].transpose(1, 2);
        var value = parts[1].transpose(1, 2);
        var (plainQuery, plainKey) = (plain[0].transpose(1, 2), plain[1].transpose(1, 2));
        if (pass.Wants(DecoderFeatures.PlainQuery(Layer)))
            pass.Record(DecoderFeatures.PlainQuery(Layer), plainQuery.alias());
        if (pass.Wants(DecoderFeatures.PlainKey(Layer)))
            pass.Record(DecoderFeatures.PlainKey(Layer), plainKey.alias());
        if (pass.Cache is not null)
            (key, value) = pass.Cache.Append(Layer, key, value, Window);
        long keys = key.size(2);
        var state = new AttentionState(query, key, value, pass.MaskOf(keys), true, Scale, null, Window);
        return new AttentionCall(state, Layer)
        {
            Hidden = hidden,
            PlainQuery = plainQuery,
            PlainKey = plainKey,
            Dropout = training ? shape.Dropout : 0.0,
            Visibility = pass.Visibility(length, keys, Window, hidden.device),
        };
    }
}
