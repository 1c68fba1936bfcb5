using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Methods.Circuits;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods.Circuits;

public class CircuitTests
{
    private static CausalLanguageModel Llama() =>
        new LlamaForCausalLanguageModel(
            LlamaConfig.Tiny with
            {
                VocabularySize = 20,
                HiddenSize = 16,
                IntermediateSize = 24,
                Layers = 2,
                Heads = 4,
                KeyValueHeads = 2,
                InitializerRange = 0.3,
            },
            1
        );

    private static CausalLanguageModel Gpt2() =>
        new Gpt2ForCausalLanguageModel(
            new Gpt2Config
            {
                VocabularySize = 20,
                HiddenSize = 16,
                Layers = 2,
                Heads = 2,
                MaximumPositions = 16,
                InitializerRange = 0.3,
            },
            1
        );

    public static TheoryData<string> Families() => ["llama", "gpt2"];

    private static (DecoderNodes Nodes, CausalLanguageModel Model, Tensor Clean, Tensor Corrupted) Scene(string family)
    {
        var model = family == "llama" ? Llama() : Gpt2();
        model.to(ScalarType.Float64);
        model.eval();
        // Biases start at zero: make them count.
        using (no_grad())
            foreach (var (name, parameter) in model.named_parameters())
                if (name.EndsWith("bias", StringComparison.Ordinal))
                    parameter.copy_(new RandomTensors(name.Length).Normal(parameter.shape) * 0.1);
        var tokens = randint(0, 20, [2, 3, 6], dtype: ScalarType.Int64, generator: new Generator(3));
        var nodes = new DecoderNodes(model);
        return (nodes, model, tokens[0], tokens[1]);
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void TheNodesAreTheModel(string family)
    {
        var (nodes, model, clean, corrupted) = Scene(family);
        var graph = nodes.Graph;
        var (from, to) = (nodes.Embed(clean), nodes.Embed(corrupted));
        using var guard = no_grad();
        using var all = CircuitRun.Run(nodes, from, to, graph.RealEdges());
        Check.Close(model.Run(clean, null)[.., -1], all.Logits, 1e-9);
        Assert.Equal(0, all.Kl.abs().max().item<double>(), 1e-12);
        using var none = CircuitRun.Run(nodes, from, to, graph.RealEdges().logical_and(false));
        Check.Close(model.Run(corrupted, null)[.., -1], none.Logits, 1e-9);
        Check.Close(none.CorruptedKl, none.Kl, 1e-9);
        Assert.Equal(1.0, all.Faithfulness, 1e-9);
        Assert.Equal(0.0, none.Faithfulness, 1e-9);
        model.Dispose();
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void EdgesOutOfTheInputAddUpToTheWholeDivergence(string family)
    {
        var (nodes, model, clean, corrupted) = Scene(family);
        using var scores = EdgeAttribution.Score(nodes, nodes.Embed(clean), nodes.Embed(corrupted), 300);
        var left = scores.Scores[.., CircuitGraph.Input].sum(-1);
        Check.Close(scores.CorruptedKl, left, 0.02);
        model.Dispose();
    }

    [Fact]
    public void ThePathsLastPointAddsNothingAndOneStepFromItGivesZeros()
    {
        var (nodes, model, clean, corrupted) = Scene("llama");
        using var scores = EdgeAttribution.Score(nodes, nodes.Embed(clean), nodes.Embed(corrupted), 1, first: 1);
        Assert.Equal(0, scores.Scores.abs().max().item<double>(), 1e-9);
        using var two = EdgeAttribution.Score(nodes, nodes.Embed(clean), nodes.Embed(corrupted), 4);
        var fake = nodes.Graph.RealEdges().logical_not();
        Assert.Equal(0, two.Scores.masked_fill(fake.logical_not(), 0.0).abs().max().item<double>());
        Assert.True(two.Mean(EdgeAggregation.AbsoluteMean).ge(two.Mean().abs() - 1e-12).all().item<bool>());
        model.Dispose();
    }

    [Fact]
    public void AHeadsEdgesCutAreAHeadWithItsCorruptedOutput()
    {
        var (nodes, model, clean, corrupted) = Scene("llama");
        var graph = nodes.Graph;
        var keep = graph.RealEdges();
        keep[graph.Head(1, 2)] = zeros(graph.Destinations, dtype: ScalarType.Bool);
        using var outcome = CircuitRun.Run(nodes, nodes.Embed(clean), nodes.Embed(corrupted), keep);
        // The same by the model's own intervention: the head's write replaced by what it was on the corrupted input.
        using var guard = no_grad();
        var trace = new ForwardTrace(TraceRequest.Features(DecoderFeatures.HeadWrites(1)), model.Capabilities);
        model.call(new DecoderInput(corrupted, null), trace);
        var written = trace.Feature(DecoderFeatures.HeadWrites(1));
        var factors = HeadIntervention.FactorsOf(2, 4, 0.0, (1, 2));
        for (int example = 0; example < 3; example++)
        {
            var means = zeros([2, 4, 6, 16], dtype: ScalarType.Float64);
            means[1] = written[example];
            var logits = model.call(
                new DecoderInput(clean[example..(example + 1)], null) { Heads = ThinkingSparks.Intervention(factors, means) },
                null
            );
            Check.Close(logits[0, -1], outcome.Logits[example], 1e-6);
        }
        model.Dispose();
    }

    [Fact]
    public void ACircuitHasNoLooseEnds()
    {
        var graph = new CircuitGraph(2, 2);
        for (int seed = 0; seed < 50; seed++)
        {
            var scores = new RandomTensors(seed).Normal(graph.Sources, graph.Destinations);
            var circuit = Circuit.Top(scores, 2, 2, 3 + seed % 12);
            for (int node = 1; node < graph.Sources; node++)
                if (circuit.HasNode(node))
                {
                    Assert.Contains(Enumerable.Range(0, graph.Destinations), to => circuit.Has(node, to));
                    Assert.Contains(
                        Enumerable.Range(0, graph.Destinations).Where(to => graph.NodeOf(to) == node),
                        to => Enumerable.Range(0, graph.Sources).Any(from => circuit.Has(from, to))
                    );
                }
            Assert.True(circuit.EdgeCount <= 3 + seed % 12);
            Assert.False(circuit.Edges.logical_and(graph.RealEdges().logical_not()).any().item<bool>());
        }
        Assert.Equal(5, Circuit.RandomEdges(graph, 5, 1).sum().item<long>());
        Assert.Equal("a1.h0.k", graph.DestinationName(graph.HeadInput(1, 1, 0)));
        Assert.Equal("m0", graph.SourceName(graph.FeedForward(0)));
        Assert.Throws<ArgumentException>(() => Circuit.Top(zeros(3, 4), 2, 2, 1));
    }

    [Fact]
    public void LastingHeadsPersist()
    {
        var none = zeros([1, 3], dtype: ScalarType.Bool);
        var seen = tensor(new[] { true, false, false, true, true, false, true, false, false }).view(3, 1, 3);
        var emergence = new HeadEmergence(none, seen);
        // Head 0 from checkpoint 0 on: 2 of 2; head 1 at checkpoint 1 alone: 0 of 1.
        Assert.Equal(0.5, emergence.Persistence, 1e-12);
        Assert.Equal([(0, 0)], emergence.EmergentAt(-1));
        Assert.Equal([1L, 2L, 1L], emergence.EmergentCount);
        Assert.Empty(emergence.LostAt(-1));
        Assert.True(double.IsNaN(new HeadEmergence(none, seen[..1]).Persistence));
        Assert.Throws<ArgumentException>(() => new HeadEmergence(none, seen[.., .., ..2]));
    }

    [Fact]
    public void UnlikePromptsAndChangedAttentionAreRefused()
    {
        var (nodes, model, clean, corrupted) = Scene("llama");
        Assert.Contains(
            "equal length",
            Assert
                .Throws<ArgumentException>(() =>
                    EdgeAttribution.Score(nodes, nodes.Embed(clean), nodes.Embed(corrupted[.., ..4]), 2)
                )
                .Message,
            StringComparison.Ordinal
        );
        model.SetAttention(0, new LinearAttention());
        Assert.Throws<NotSupportedException>(() => new DecoderNodes(model));
        model.Dispose();
    }

    [Fact]
    public void ScoresLeaveNoTensorsBehind()
    {
        var (nodes, model, clean, corrupted) = Scene("llama");
        var (from, to) = (nodes.Embed(clean), nodes.Embed(corrupted));
        EdgeAttribution.Score(nodes, from, to, 2).Dispose();
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int turn = 0; turn < 5; turn++)
            EdgeAttribution.Score(nodes, from, to, 2).Dispose();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
        model.Dispose();
    }
}
