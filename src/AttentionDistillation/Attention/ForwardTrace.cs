using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// What one forward pass recorded: only what was asked for. The model asks <see cref="WantsAttention"/> and its kin before it keeps anything,
/// and may stop early (<see cref="LastLayerNeeded"/>) when nobody wants its output.
/// </summary>
public sealed class ForwardTrace
{
    private readonly TraceCapabilities capabilities;
    private readonly SortedSet<int> attentionWanted;
    private readonly SortedSet<int> hiddenWanted;
    private readonly HashSet<string> featuresWanted;
    private readonly Dictionary<int, AttentionState> attention = [];
    private readonly Dictionary<int, Tensor> hidden = [];
    private readonly Dictionary<string, Tensor> features = new(StringComparer.Ordinal);
    private Tensor? output;

    /// <summary>Prepares a trace for a model.</summary>
    /// <param name="request">What to record.</param>
    /// <param name="capabilities">What the model can record.</param>
    /// <param name="wantsOutput">False lets the model stop after the last thing recorded.</param>
    /// <exception cref="ArgumentException">The model cannot serve the request; the message names what exists.</exception>
    public ForwardTrace(TraceRequest request, TraceCapabilities capabilities, bool wantsOutput = true)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(capabilities);
        this.capabilities = capabilities;
        WantsOutput = wantsOutput;
        int layers = capabilities.Layers;
        attentionWanted = Resolve(request.AttentionLayers, request.EveryAttention, 0, layers - 1, "attention layer");
        hiddenWanted = Resolve(request.HiddenLayers, request.EveryHidden, 0, LastHiddenState, "hidden state");
        featuresWanted = new HashSet<string>(request.FeatureNames, StringComparer.Ordinal);
        foreach (string name in featuresWanted)
            if (!capabilities.Features.Contains(name))
                throw new ArgumentException(
                    $"{capabilities.Model} has no feature '{name}'. It has: {(capabilities.Features.Length == 0 ? "none" : string.Join(", ", capabilities.Features))}."
                );
    }

    /// <summary>True when the caller uses the model's output; false lets the model stop early.</summary>
    public bool WantsOutput { get; }

    /// <summary>The model's output (logits, or the last hidden state of a bare encoder).</summary>
    /// <exception cref="InvalidOperationException">No output was recorded.</exception>
    public Tensor Output =>
        output
        ?? throw new InvalidOperationException(
            $"{capabilities.Model} recorded no output: the trace was made with wantsOutput: false, or the forward pass did not run."
        );

    /// <summary>
    /// The highest attention layer (numbered from 0) that must run at all, in a model with a hidden state after every attention layer; -1 when
    /// only the embedding is wanted.
    /// </summary>
    public int LastLayerNeeded =>
        WantsOutput || featuresWanted.Count > 0 ? capabilities.Layers - 1 : Math.Max(LastAttentionWanted, LastHiddenWanted - 1);

    /// <summary>The highest attention layer wanted; -1 for none.</summary>
    public int LastAttentionWanted => attentionWanted.Count > 0 ? attentionWanted.Max : -1;

    /// <summary>The highest hidden state wanted; -1 for none.</summary>
    public int LastHiddenWanted => hiddenWanted.Count > 0 ? hiddenWanted.Max : -1;

    /// <summary>True when the caller wants the output or any feature, for which a model runs to its end.</summary>
    public bool RunsToTheEnd => WantsOutput || featuresWanted.Count > 0;

    /// <summary>
    /// True when layer <paramref name="layer"/> may stop once its attention inputs are recorded: nothing after them is wanted. Never in a model
    /// whose hidden states do not follow its attention layers one by one.
    /// </summary>
    public bool StopsAfterAttentionInputs(int layer) =>
        !RunsToTheEnd && capabilities.LastHiddenState is null && layer == LastLayerNeeded && !hiddenWanted.Contains(layer + 1);

    /// <summary>True when the attention call of a layer (from 0) is wanted.</summary>
    public bool WantsAttention(int layer) => attentionWanted.Contains(layer);

    /// <summary>True when a hidden state (0 = embedding) is wanted.</summary>
    public bool WantsHidden(int state) => hiddenWanted.Contains(state);

    /// <summary>True when a feature is wanted.</summary>
    public bool WantsFeature(string name) => featuresWanted.Contains(name);

    /// <summary>Keeps an attention call if it is wanted.</summary>
    public void RecordAttention(int layer, AttentionState state)
    {
        if (WantsAttention(layer))
            attention[layer] = state;
    }

    /// <summary>Keeps a hidden state [B, L, C] if it is wanted.</summary>
    public void RecordHidden(int state, Tensor tensor)
    {
        if (WantsHidden(state))
            hidden[state] = tensor;
    }

    /// <summary>Keeps a feature if it is wanted.</summary>
    public void RecordFeature(string name, Tensor tensor)
    {
        if (WantsFeature(name))
            features[name] = tensor;
    }

    /// <summary>Keeps the model's output.</summary>
    public void RecordOutput(Tensor tensor) => output = tensor;

    /// <summary>The attention call of a layer; negative counts from the end.</summary>
    /// <exception cref="InvalidOperationException">It was not recorded; the message lists what was.</exception>
    public AttentionState Attention(int layer)
    {
        int index = layer < 0 ? capabilities.Layers + layer : layer;
        return attention.TryGetValue(index, out var state) ? state : throw Missing($"attention layer {layer}", attention.Keys);
    }

    /// <summary>The attention call of the last layer.</summary>
    /// <exception cref="InvalidOperationException">It was not recorded.</exception>
    public AttentionState LastAttention => Attention(-1);

    /// <summary>The attention calls recorded, by layer.</summary>
    public IReadOnlyDictionary<int, AttentionState> Attentions => attention;

    /// <summary>A hidden state; negative counts from the end.</summary>
    /// <exception cref="InvalidOperationException">It was not recorded; the message lists what was.</exception>
    public Tensor Hidden(int state)
    {
        int index = state < 0 ? LastHiddenState + 1 + state : state;
        return hidden.TryGetValue(index, out var tensor) ? tensor : throw Missing($"hidden state {state}", hidden.Keys);
    }

    /// <summary>A feature by name.</summary>
    /// <exception cref="InvalidOperationException">It was not recorded; the message lists what was.</exception>
    public Tensor Feature(string name) =>
        features.TryGetValue(name, out var tensor) ? tensor : throw Missing($"feature '{name}'", features.Keys);

    /// <summary>Ends a model's pass: records its output if the trace wants it, and moves that and all that was recorded out of the pass's dispose scope.</summary>
    /// <param name="trace">The trace; null for none.</param>
    /// <param name="scope">The scope of the pass, about to end.</param>
    /// <param name="output">What the pass gives.</param>
    /// <returns>The output.</returns>
    internal static Tensor End(ForwardTrace? trace, DisposeScope scope, Tensor output)
    {
        if (trace is not null)
        {
            if (trace.WantsOutput)
                trace.RecordOutput(output);
            trace.MoveOut(scope);
        }
        return scope.MoveToOuter(output);
    }

    /// <summary>
    /// Moves what was recorded out of a dispose scope that is about to end. What another scope owns stays there, so every level of a model may
    /// call it.
    /// </summary>
    public void MoveOut(DisposeScope scope)
    {
        ArgumentNullException.ThrowIfNull(scope);
        foreach (var state in attention.Values)
        {
            scope.MoveToOuter(state.Query, state.Key, state.Value);
            scope.MoveToOuter(new[] { state.Mask, state.Bias }.OfType<Tensor>());
        }
        scope.MoveToOuter(hidden.Values);
        scope.MoveToOuter(features.Values);
        if (output is not null)
            scope.MoveToOuter(output);
    }

    private int LastHiddenState => capabilities.LastHiddenState ?? capabilities.Layers;

    private SortedSet<int> Resolve(int[] wanted, bool every, int first, int last, string what)
    {
        var set = new SortedSet<int>(every ? Enumerable.Range(first, last - first + 1) : []);
        foreach (int item in wanted)
        {
            int index = item < 0 ? last + 1 + item : item;
            if (index < first || index > last)
                throw new ArgumentException(
                    last < first
                        ? $"{capabilities.Model} has no {what}s, but the request names {what} {item}. Ask for hidden states or features instead."
                        : $"{capabilities.Model} has no {what} {item}. It has {what}s {first} to {last} (or -1 to -{last - first + 1}, counted from the end)."
                );
            set.Add(index);
        }
        return set;
    }

    private InvalidOperationException Missing<T>(string what, IEnumerable<T> recorded) =>
        new(
            $"The trace of {capabilities.Model} did not record {what}. Ask for it in the TraceRequest. Recorded of this kind: {string.Join(", ", recorded.DefaultIfEmpty())}."
        );
}

/// <summary>A model that runs on a <see cref="Batch"/> and records into a trace.</summary>
public interface ITracedModel
{
    /// <summary>What the model can record.</summary>
    TraceCapabilities Capabilities { get; }

    /// <summary>Runs the model and records into the trace what it wants, the output included.</summary>
    void Run(Batch batch, ForwardTrace trace);
}
