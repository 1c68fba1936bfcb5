using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

/// <summary>Every fast form gives the values and gradients of the plain one.</summary>
[Collection(FastPathsCollection.Name)]
public sealed class FastPathsTests
{
    /// <summary>float64: the forms differ in the order of sums alone.</summary>
    private const double Tolerance = 1e-11;

    public static TheoryData<string, bool> Families =>
        new()
        {
            { "bert", false },
            { "bert", true },
            { "roberta", false },
            { "distilbert", false },
        };

    [Theory]
    [MemberData(nameof(Families))]
    public void ProjectionsAndTablesAgreeInValuesAndGradients(string family, bool hasSegments)
    {
        using var scope = NewDisposeScope();
        using TextEncoder model = family switch
        {
            "bert" => new BertModel(Sized(new BertConfig { AddPooler = false }), 1),
            "roberta" => new RobertaModel(Sized(new RobertaConfig { AddPooler = false }), 1),
            _ => new DistilBertModel(Sized(new DistilBertConfig()), 1),
        };
        model.to(ScalarType.Float64);
        model.eval();
        var ids = tensor(
            new long[,]
            {
                { 5, 6, 7, 8, 1 },
                { 9, 9, 6, 4, 7 },
            }
        );
        var segments = hasSegments
            ? tensor(
                new long[,]
                {
                    { 0, 0, 1, 1, 0 },
                    { 0, 1, 1, 0, 1 },
                }
            )
            : null;
        Tensor[] Measure()
        {
            var output = model.call(ids, null, segments, null);
            return [output, .. autograd.grad([(output * output.detach().cos()).sum()], [.. model.parameters()])];
        }
        var fast = Measure();
        Tensor[] plain;
        (FastPaths.FusedProjections, FastPaths.DirectTables) = (false, false);
        try
        {
            plain = Measure();
        }
        finally
        {
            (FastPaths.FusedProjections, FastPaths.DirectTables) = (true, true);
        }
        Assert.Equal(plain.Length, fast.Length);
        foreach (var (expected, actual) in plain.Zip(fast))
            Assert.InRange((expected - actual).abs().max().ToDouble(), 0, Tolerance);
    }

    [Fact]
    public void AnAccumulatedGradientIsTheSortedOne()
    {
        using var scope = NewDisposeScope();
        var table = new SeededLayers(3, 1.0).Embedding(6, 4, padding: 2);
        table.to(ScalarType.Float64);
        var indices = tensor(
            new long[,]
            {
                { 5, 5, 2 },
                { 0, 5, 1 },
            }
        );
        var weights = new SeededLayers(4, 1.0).Linear(4, 6).weight!.to(ScalarType.Float64).view(2, 3, 4).detach();
        var expected = autograd.grad([(table.call(indices) * weights).sum()], [table.weight!])[0];
        var output = AccumulatedLookup.Of(table.weight!, indices, 2);
        Assert.True(output.eq(table.call(indices)).all().ToBoolean());
        var actual = autograd.grad([(output * weights).sum()], [table.weight!])[0];
        Assert.InRange((expected - actual).abs().max().ToDouble(), 0, Tolerance);
    }

    [Fact]
    public void AnAccumulatedLookupLeavesNothingBehind()
    {
        using var scope = NewDisposeScope();
        var table = new SeededLayers(3, 1.0).Embedding(6, 4).weight!;
        var indices = arange(6).view(2, 3);
        void Pass()
        {
            using var step = NewDisposeScope();
            AccumulatedLookup.Of(table, indices, null).sum().backward();
            table.grad = null;
        }
        Pass();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        long before = Tensor.TotalCount;
        for (int pass = 0; pass < 50; pass++)
            Pass();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Assert.Equal(before, Tensor.TotalCount);
    }

    private static T Sized<T>(T config)
        where T : TextEncoderConfig =>
        config with
        {
            VocabularySize = 20,
            HiddenSize = 12,
            Layers = 2,
            Heads = 3,
            IntermediateSize = 16,
            MaximumPositions = 10,
        };
}
