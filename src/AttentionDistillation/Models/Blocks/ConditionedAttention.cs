using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>The four projections of an attention layer.</summary>
public enum AttentionProjection
{
    /// <summary>Hidden states to queries.</summary>
    Query,

    /// <summary>Context to keys.</summary>
    Key,

    /// <summary>Context to values.</summary>
    Value,

    /// <summary>Mixed values to the layer's output.</summary>
    Output,
}

/// <summary>
/// Computes what happens between the input and output projections of a <see cref="ConditionedAttention"/>: replace it to inject keys and values,
/// to subtract a negative prompt's attention, to attend sparsely or through a cache. One object may serve many layers.
/// </summary>
public interface IAttentionProcessor
{
    /// <summary>Attends.</summary>
    /// <param name="attention">The layer, with its projections.</param>
    /// <param name="hidden">[B, L, C], where queries come from.</param>
    /// <param name="context">[B, S, context width], where keys and values come from; the same tensor in self-attention.</param>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded.</param>
    /// <param name="trace">Records what it wants (see <see cref="ConditionedAttention.Record"/>); null for none.</param>
    /// <returns>[B, L, inner width], before the output projection.</returns>
    Tensor Attend(ConditionedAttention attention, Tensor hidden, Tensor context, Tensor? mask, ForwardTrace? trace);
}

/// <summary>
/// The attention layer of denoisers: self-attention over the tokens of an image, or cross-attention from them to a prompt, with projections that
/// can be adapted and a computation between them that can be replaced, both without touching the layer's weights or their names.
/// </summary>
/// <remarks>Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022, section 3.3 and appendix E.2.1.</remarks>
public sealed class ConditionedAttention : nn.Module<Tensor, Tensor?, Tensor?, ForwardTrace?, Tensor>
{
    private readonly Linear query;
    private readonly Linear key;
    private readonly Linear value;
    private readonly Linear output;
    private readonly double dropout;
    private readonly Dictionary<AttentionProjection, nn.Module<Tensor, Tensor>> adapters = [];

    /// <summary>Builds the projections.</summary>
    /// <param name="width">C, the width of input and output.</param>
    /// <param name="heads">H.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="layer">The layer's number from 0, under which a trace records the call.</param>
    /// <param name="contextWidth">Width of the context in cross-attention; null for self-attention.</param>
    /// <param name="headWidth">D; null means C / H.</param>
    /// <param name="hasBias">Whether query, key and value projections have biases.</param>
    /// <param name="dropout">Probability with which an attention weight is dropped in training.</param>
    /// <exception cref="ArgumentException">The heads do not divide the width and no head width is given.</exception>
    public ConditionedAttention(
        long width,
        long heads,
        SeededLayers layers,
        int layer,
        long? contextWidth = null,
        long? headWidth = null,
        bool hasBias = false,
        double dropout = 0.0
    )
        : base(nameof(ConditionedAttention))
    {
        ArgumentNullException.ThrowIfNull(layers);
        if (width < 1 || heads < 1 || (headWidth is null && width % heads != 0))
            throw new ArgumentException(
                $"The number of heads must divide the width, but there are {heads} heads and the width is {width}. Choose a width of {heads} x head width, or give the head width."
            );
        (Width, Heads, HeadWidth, Layer, IsCross) = (width, heads, headWidth ?? width / heads, layer, contextWidth is not null);
        long inner = Heads * HeadWidth,
            source = contextWidth ?? width;
        query = layers.Linear(width, inner, hasBias);
        key = layers.Linear(source, inner, hasBias);
        value = layers.Linear(source, inner, hasBias);
        output = layers.Linear(inner, width);
        this.dropout = dropout;
        RegisterComponents();
    }

    /// <summary>C.</summary>
    public long Width { get; }

    /// <summary>H.</summary>
    public long Heads { get; }

    /// <summary>D.</summary>
    public long HeadWidth { get; }

    /// <summary>The layer's number from 0, under which a trace records its call.</summary>
    public int Layer { get; }

    /// <summary>True for attention to a prompt, false for self-attention.</summary>
    public bool IsCross { get; }

    /// <summary>What runs between the projections; null for plain attention. It is not part of the model: train and save it apart.</summary>
    public IAttentionProcessor? Processor { get; set; }

    /// <summary>How values are mixed, given queries, keys and values; null for softmax attention. Not part of the model either.</summary>
    public IAttentionForm? Form { get; set; }

    /// <summary>
    /// In self-attention, where keys and values come from: gets the block's input before its norm, [B, L, C], and returns [B, S, C] that the block
    /// norms and projects; null for the input itself. A blend with another frame's features injects that frame (EG4D, arXiv 2405.18132).
    /// </summary>
    public Func<Tensor, Tensor>? ContextSource { get; set; }

    /// <summary>Rotates queries and keys [B, H, L, D] of self-attention by their positions; null for none.</summary>
    public AxialRotary? Rotary { get; init; }

    /// <summary>
    /// Adds a module's output to a projection's, for example a low-rank adapter; null takes it off again. The module stays the caller's: it is
    /// neither trained nor saved with the model.
    /// </summary>
    public void Adapt(AttentionProjection projection, nn.Module<Tensor, Tensor>? adapter)
    {
        if (adapter is null)
            adapters.Remove(projection);
        else
            adapters[projection] = adapter;
    }

    /// <summary>Attends.</summary>
    /// <param name="hidden">[B, L, C].</param>
    /// <param name="context">[B, S, context width]; null for self-attention.</param>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded. A row without any real key gives the output's bias alone.</param>
    /// <param name="trace">Records the call if it wants it; null for none.</param>
    /// <returns>[B, L, C].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, the mask is not bool, or the context is missing.</exception>
    public override Tensor forward(Tensor hidden, Tensor? context, Tensor? mask, ForwardTrace? trace)
    {
        Shapes.Require(hidden, "[B, L, C]");
        if (IsCross && context is null)
            throw new ArgumentException(
                $"Attention layer {Layer} attends to a prompt: give its states [B, S, context width].",
                nameof(context)
            );
        using var scope = NewDisposeScope();
        var source = context ?? hidden;
        Tensor mixed;
        if (Processor is { } processor)
            mixed = processor.Attend(this, hidden, source, mask, trace);
        else
        {
            var state = Project(hidden, source, mask);
            Record(state, trace);
            double probability = training ? dropout : 0.0;
            mixed = Merge(
                Form is { } form
                    ? form.Mix(new AttentionCall(state, Layer) { Hidden = hidden, Dropout = probability })
                    : AttentionMixing.Mix(state, probability)
            );
        }
        trace?.MoveOut(scope);
        return Through(AttentionProjection.Output, mixed).MoveToOuterDisposeScope();
    }

    /// <summary>One of the projections with its adapter, [B, L, ...] to [B, L, ...], heads not yet apart.</summary>
    public Tensor Through(AttentionProjection projection, Tensor input)
    {
        using var scope = NewDisposeScope();
        var linear = projection switch
        {
            AttentionProjection.Query => query,
            AttentionProjection.Key => key,
            AttentionProjection.Value => value,
            _ => output,
        };
        var projected = linear.Project(input);
        return (
            adapters.TryGetValue(projection, out var adapter) ? projected + adapter.call(input) : projected
        ).MoveToOuterDisposeScope();
    }

    /// <summary>Queries [B, H, L, D] of hidden states [B, L, C], not rotated.</summary>
    public Tensor ProjectQuery(Tensor hidden) => Split(Through(AttentionProjection.Query, hidden));

    /// <summary>Keys [B, H, S, D] of a context [B, S, context width], not rotated.</summary>
    public Tensor ProjectKey(Tensor context) => Split(Through(AttentionProjection.Key, context));

    /// <summary>Values [B, H, S, D] of a context [B, S, context width].</summary>
    public Tensor ProjectValue(Tensor context) => Split(Through(AttentionProjection.Value, context));

    /// <summary>The call as plain attention makes it: projected and, where the layer has positions, rotated.</summary>
    public AttentionState Project(Tensor hidden, Tensor context, Tensor? mask)
    {
        var (queries, keys) = (ProjectQuery(hidden), ProjectKey(context));
        if (Rotary is { } rotary)
            (queries, keys) = (rotary.Rotate(queries), rotary.Rotate(keys));
        return new AttentionState(queries, keys, ProjectValue(context), mask);
    }

    /// <summary>Heads apart: [B, L, H D] to [B, H, L, D].</summary>
    public Tensor Split(Tensor projected) =>
        projected.view(projected.size(0), projected.size(1), Heads, HeadWidth).transpose(1, 2);

    /// <summary>Heads together: [B, H, L, D] to [B, L, H D].</summary>
    public Tensor Merge(Tensor mixed) => mixed.transpose(1, 2).reshape(mixed.size(0), mixed.size(2), Heads * HeadWidth);

    /// <summary>Records a call under this layer's number, if the trace wants it.</summary>
    public void Record(AttentionState state, ForwardTrace? trace) => trace?.RecordAttention(Layer, state);
}

/// <summary>Where an attention layer of a denoiser lies.</summary>
/// <param name="Layer">Its number in traces, from 0.</param>
/// <param name="Name">Its path in diffusers' names, for example <c>down_blocks.0.attentions.1.transformer_blocks.0.attn2</c>.</param>
/// <param name="Reduction">Its token grid is the input's height and width divided by this (rounded up).</param>
/// <param name="Attention">The layer.</param>
public sealed record AttentionPlace(int Layer, string Name, int Reduction, ConditionedAttention Attention);
