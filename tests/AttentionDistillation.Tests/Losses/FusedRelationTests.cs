using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

/// <summary>The forms by kernels and by blocks against the definition in float64.</summary>
public class FusedRelationTests
{
    /// <summary>The flash-attention project's rule: at most twice the error of the naive form in the same precision.</summary>
    private const double AllowedRatio = 2.0;

    /// <summary>
    /// Where the naive form happens to be almost exact the rule needs a floor: a few rounding units of the dtype, relative to the largest
    /// entry.
    /// </summary>
    private static double Floor(ScalarType type) => type == ScalarType.Float32 ? 4 * Math.Pow(2, -24) : Math.Pow(2, -9);

    /// <summary>A call: sizes, what is masked, how rows are reduced.</summary>
    private sealed record Case(
        string Name,
        long Batch,
        long Heads,
        long Queries,
        long Keys,
        long TeacherWidth,
        long StudentWidth,
        long[]? Lengths = null,
        bool Causal = false,
        RowReduction Reduction = RowReduction.Tokens,
        long KeyHeads = 0,
        double Size = 1.0
    );

    private static readonly Dictionary<string, Case> Calls = new Case[]
    {
        new("plain", 2, 3, 33, 33, 16, 16),
        new("widths", 2, 3, 40, 40, 24, 7),
        new("teacher narrower", 2, 3, 40, 40, 5, 20),
        new("padded", 3, 2, 48, 48, 16, 8, [48, 20, 1]),
        new("wholly padded", 3, 2, 16, 16, 8, 8, [16, 0, 7], Reduction: RowReduction.Sequences),
        new("causal", 2, 2, 65, 65, 8, 8, Causal: true),
        new("causal and padded", 3, 2, 65, 65, 8, 12, [65, 30, 0], true, RowReduction.Sequences),
        new("causal with a past", 2, 2, 17, 40, 8, 8, Causal: true),
        new("causal with a past, padded", 2, 2, 17, 40, 8, 8, [40, 31], true),
        new("causal, more queries", 1, 2, 20, 12, 8, 8, Causal: true),
        new("cross", 2, 2, 19, 50, 8, 8),
        new("cross, padded", 2, 2, 50, 19, 8, 8, [19, 11]),
        new("cross, one without keys", 2, 2, 12, 19, 8, 8, [19, 0]),
        new("grouped", 2, 4, 30, 30, 8, 8, KeyHeads: 2),
        new("one token", 2, 2, 1, 1, 8, 8),
        new("one query", 2, 2, 1, 77, 8, 8, [77, 3], true),
        new("large scores", 2, 2, 60, 60, 16, 16, [60, 25], Size: 6),
        new("long, half padded", 2, 1, 1024, 1024, 32, 16, [1024, 3], Reduction: RowReduction.Sequences),
    }.ToDictionary(call => call.Name);

    /// <summary>Every kind of call, by name.</summary>
    public static TheoryData<string> Cases => new(Calls.Keys);

    [Theory]
    [MemberData(nameof(Cases))]
    public void ExactInDouble(string name)
    {
        var call = Calls[name];
        var truth = Run(call, RelationForm.Dense, ScalarType.Float64);
        foreach (var form in new[] { RelationForm.Fused, RelationForm.Blockwise })
        {
            var result = Run(call, form, ScalarType.Float64);
            for (int part = 0; part < truth.Length; part++)
                CloseWithFloor(truth[part], result[part], 1e-9, $"{form} {Names[part]}");
        }
    }

    [Theory]
    [InlineData("widths")]
    [InlineData("causal and padded")]
    [InlineData("causal with a past, padded")]
    [InlineData("cross, one without keys")]
    public void BothPathsToTheKeysGradientAgree(string name)
    {
        var expected = Run(Calls[name], RelationForm.Fused, ScalarType.Float64);
        FusedRelation.Path = FusedRelation.TransposedPath.Backward;
        try
        {
            var actual = Run(Calls[name], RelationForm.Fused, ScalarType.Float64);
            for (int part = 0; part < expected.Length; part++)
                CloseWithFloor(expected[part], actual[part], 1e-9, Names[part]);
        }
        finally
        {
            FusedRelation.Path = FusedRelation.TransposedPath.Forward;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void AsExactAsTheNaiveFormInSingle(string name) => AsExactAsNaive(Calls[name], ScalarType.Float32);

    [Theory]
    [MemberData(nameof(Cases))]
    public void AsExactAsTheNaiveFormInBFloat16(string name) => AsExactAsNaive(Calls[name], ScalarType.BFloat16);

    private static readonly string[] Names = ["loss", "query gradient", "key gradient", "rows"];

    private static void AsExactAsNaive(Case call, ScalarType type)
    {
        var truth = Run(call, RelationForm.Dense, ScalarType.Float64, type);
        var naive = Run(call, RelationForm.Dense, type, type);
        var fused = Run(call, RelationForm.Fused, type, type);
        // Gradients are differences of attention outputs, which agree to single precision even where they cancel wholly.
        double cancelled = Floor(ScalarType.Float32) * call.Size / (call.Batch * call.Heads * call.Queries);
        for (int part = 1; part < 3; part++)
        {
            double size = truth[part].abs().max().item<double>();
            double ours = Error(truth[part], fused[part]),
                theirs = Error(truth[part], naive[part]);
            Assert.True(
                ours <= AllowedRatio * theirs + Floor(type) * size + cancelled,
                $"{call.Name}, {Names[part]}: error {ours:g3} against the naive form's {theirs:g3}; largest entry {size:g3}."
            );
        }
        // The value cancels log-sum-exps: it is held to their rounding, not to its own size.
        double scores = call.Size * call.Size * Math.Sqrt(Math.Max(call.TeacherWidth, call.StudentWidth));
        Assert.True(
            Error(truth[0], fused[0]) <= AllowedRatio * Error(truth[0], naive[0]) + Floor(type) * scores,
            $"{call.Name}: loss {fused[0].item<double>():g6}, truth {truth[0].item<double>():g6}, naive {naive[0].item<double>():g6}."
        );
    }

    // Loss, gradients and rows in a precision, of inputs rounded to another (so that all precisions see the same numbers).
    private static Tensor[] Run(Case call, RelationForm form, ScalarType type, ScalarType rounding = ScalarType.Float64)
    {
        var random = new RandomTensors(11);
        long keyHeads = call.KeyHeads == 0 ? call.Heads : call.KeyHeads;
        Tensor Draw(long heads, long length, long width) =>
            (random.Normal(call.Batch, heads, length, width) * call.Size).to(rounding).to(type);
        var (teacherQuery, teacherKey) = (
            Draw(call.Heads, call.Queries, call.TeacherWidth),
            Draw(keyHeads, call.Keys, call.TeacherWidth)
        );
        var (query, key) = (
            Draw(call.Heads, call.Queries, call.StudentWidth).requires_grad_(),
            Draw(keyHeads, call.Keys, call.StudentWidth).requires_grad_()
        );
        var mask = call.Lengths is null ? null : RandomTensors.Mask(call.Keys, call.Lengths);
        var options = new AttentionRelationOptions
        {
            Form = form,
            IsCausal = call.Causal,
            Reduction = call.Reduction,
        };
        var loss = AttentionRelations.KlDivergence(teacherQuery, teacherKey, query, key, mask, options);
        (loss * 3).backward();
        var rows = AttentionRelations.KlRows(teacherQuery, teacherKey, query, key, mask, options);
        return [loss.detach().@double(), query.grad!.@double(), key.grad!.@double(), rows.@double()];
    }

    private static double Error(Tensor expected, Tensor actual) => (expected - actual).abs().max().item<double>();

    private static void CloseWithFloor(Tensor expected, Tensor actual, double tolerance, string what)
    {
        double size = expected.abs().max().item<double>();
        Assert.True(
            Error(expected, actual) <= tolerance * size + 1e-13,
            $"{what}: error {Error(expected, actual):g3}, size {size:g3}."
        );
    }
}
