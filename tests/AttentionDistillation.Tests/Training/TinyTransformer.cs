using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

/// <summary>A traced transformer of a few hundred weights: embedding, attention layers with dropout and normalisation, a head over the vocabulary.</summary>
internal sealed class TinyTransformer : nn.Module, ITracedModel
{
    public const int Vocabulary = 13;
    private readonly Embedding embedding;
    private readonly ModuleList<TinyLayer> layers;
    private readonly Linear head;

    public TinyTransformer(long seed, int layers = 2, int width = 8, double dropout = 0.1)
        : base(nameof(TinyTransformer))
    {
        Seeds.SetGlobal(seed, "weights");
        embedding = nn.Embedding(Vocabulary, width);
        this.layers = nn.ModuleList([.. Enumerable.Range(0, layers).Select(_ => new TinyLayer(width, dropout))]);
        head = nn.Linear(width, Vocabulary);
        Capabilities = new TraceCapabilities(nameof(TinyTransformer), layers);
        RegisterComponents();
    }

    public TraceCapabilities Capabilities { get; }

    /// <summary>How many layers ran in the last forward pass.</summary>
    public int LayersRun { get; private set; }

    public void Run(Batch batch, ForwardTrace trace)
    {
        LayersRun = 0;
        var hidden = embedding.call(batch.InputIds);
        trace.RecordHidden(0, hidden);
        for (int i = 0; i < layers.Count && i <= trace.LastLayerNeeded; i++)
        {
            LayersRun++;
            hidden = layers[i].call(hidden, batch.Mask, trace, i);
            trace.RecordHidden(i + 1, hidden);
        }
        if (trace.WantsOutput)
            trace.RecordOutput(head.call(hidden));
    }

    internal sealed class TinyLayer : nn.Module
    {
        private const int Heads = 2;
        private readonly Linear projection;
        private readonly Linear output;
        private readonly LayerNorm norm;
        private readonly Dropout dropout;

        public TinyLayer(int width, double dropout)
            : base(nameof(TinyLayer))
        {
            projection = nn.Linear(width, 3 * width);
            output = nn.Linear(width, width);
            norm = nn.LayerNorm(width);
            this.dropout = nn.Dropout(dropout);
            RegisterComponents();
        }

        public Tensor call(Tensor hidden, Tensor? mask, ForwardTrace trace, int layer)
        {
            using var scope = NewDisposeScope();
            var parts = projection
                .call(hidden)
                .chunk(3, -1)
                .Select(part => part.view(part.size(0), part.size(1), Heads, -1).transpose(1, 2))
                .ToArray();
            var state = new AttentionState(parts[0], parts[1], parts[2], mask);
            if (trace.WantsAttention(layer))
            {
                trace.RecordAttention(layer, state);
                foreach (var part in parts)
                    part.MoveToOuterDisposeScope();
            }
            var mixed = matmul(state.Probabilities(), parts[2]).transpose(1, 2).reshape(hidden.shape);
            return norm.call(hidden + dropout.call(output.call(mixed))).MoveToOuterDisposeScope();
        }
    }
}

/// <summary>Sequences that count upwards from a random start; what is asked is each next number.</summary>
internal sealed class CountingBatches(long seed, int size = 4, int length = 6) : IBatchSource
{
    public Batch BatchAt(long step)
    {
        using var scope = NewDisposeScope();
        var random = Seeds.Random(seed, $"batch {step}");
        var starts = tensor(Enumerable.Range(0, size).Select(_ => (long)random.Next(TinyTransformer.Vocabulary)).ToArray());
        var numbers = (starts.unsqueeze(1) + arange(length + 1)).remainder(TinyTransformer.Vocabulary);
        return new Batch(
            ("input_ids", numbers[.., ..^1].contiguous().MoveToOuterDisposeScope()),
            ("labels", numbers[.., 1..].contiguous().MoveToOuterDisposeScope())
        );
    }
}

internal static class TinyLosses
{
    public static LossTerms NextNumber(ForwardTrace trace, Batch batch) =>
        LossTerms.Of(
            "cross-entropy",
            nn.functional.cross_entropy(
                trace.Output.to(ScalarType.Float32).view(-1, TinyTransformer.Vocabulary),
                batch.Labels.view(-1)
            )
        );

    /// <summary>Mean squared difference of the last attention maps and of the first hidden states' means.</summary>
    public static LossTerms Imitation(ForwardTrace teacher, ForwardTrace student, Batch batch)
    {
        using var scope = NewDisposeScope();
        var maps = (teacher.LastAttention.Probabilities() - student.LastAttention.Probabilities()).square().mean();
        var hidden = (teacher.Hidden(0).mean([-1L]) - student.Hidden(0).mean([-1L])).square().mean();
        return new LossTerms().Add("maps", maps.MoveToOuterDisposeScope(), 10.0).Add("hidden", hidden.MoveToOuterDisposeScope());
    }
}
