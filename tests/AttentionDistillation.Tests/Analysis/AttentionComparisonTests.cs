using AttentionDistillation.Analysis;
using AttentionDistillation.Attention;
using FsCheck.Xunit;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Analysis;

public class AttentionComparisonTests
{
    private const double Rounding = 1e-12; // float64 sums of a few dozen terms

    private static Tensor Normal(long seed, params long[] shape) =>
        randn(shape, dtype: ScalarType.Float64, generator: new Generator((ulong)seed, CPU));

    private static AttentionState State(long seed, long heads, long width, Tensor? mask = null, bool causal = false) =>
        new(
            Normal(seed, 2, heads, 5, width),
            Normal(seed + 1, 2, heads, 5, width),
            Normal(seed + 2, 2, heads, 5, width),
            mask,
            causal
        );

    // The definition, entry by entry.
    private static double Naive(Tensor teacher, Tensor student, Func<int, int, bool> counts, int head)
    {
        double sum = 0;
        int rows = 0;
        for (int b = 0; b < teacher.size(0); b++)
        for (int i = 0; i < teacher.size(2); i++)
        {
            if (!counts(b, i))
                continue;
            rows++;
            for (int j = 0; j < teacher.size(3); j++)
            {
                double p = teacher[b, head, i, j].item<double>(),
                    q = student[b, head, i, j].item<double>();
                sum += p > 0 ? p * Math.Log(p / q) : 0;
            }
        }
        return sum / rows;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void KlIsThatOfTheDefinition(bool causal)
    {
        long[] lengths = [5, 3];
        var mask = arange(5).unsqueeze(0) < tensor(lengths).unsqueeze(1);
        AttentionState teacher = State(1, 3, 4, mask, causal),
            student = State(7, 3, 6, mask, causal);
        var kl = AttentionComparison.MapKl(teacher, student, mask);
        var values = AttentionComparison.ValueRelationKl(teacher, student, mask);
        Tensor Relation(AttentionState state) =>
            AttentionMask
                .Apply(matmul(state.Value, state.Value.transpose(-2, -1)) / Math.Sqrt(state.Value.size(3)), mask, causal)
                .softmax(-1);
        for (int head = 0; head < 3; head++)
        {
            Assert.Equal(
                Naive(teacher.Probabilities(), student.Probabilities(), (b, i) => i < lengths[b], head),
                kl[head].item<double>(),
                Rounding
            );
            Assert.Equal(
                Naive(Relation(teacher), Relation(student), (b, i) => i < lengths[b], head),
                values[head].item<double>(),
                Rounding
            );
        }
        Assert.Equal([2L, 3L, 5L], AttentionComparison.MapRows(teacher, student, mask).shape);
    }

    [Fact]
    public void UnequalHeadsAreAveraged()
    {
        AttentionState teacher = State(1, 4, 4),
            student = State(7, 2, 4);
        double expected = Naive(
            teacher.Probabilities().mean([1], keepdim: true),
            student.Probabilities().mean([1], keepdim: true),
            (_, _) => true,
            0
        );
        var kl = AttentionComparison.MapKl(teacher, student, null);
        Assert.Equal([1L], kl.shape);
        Assert.Equal(expected, kl[0].item<double>(), Rounding);
    }

    [Fact]
    public void PaddingAndEmptySequencesChangeNothing()
    {
        AttentionState Padded(AttentionState state, Tensor mask)
        {
            Tensor Pad(Tensor tensor) => cat([cat([tensor, Normal(50, 2, 3, 2, 4) * 50], 2), Normal(51, 1, 3, 7, 4) * 50], 0);
            return new(Pad(state.Query), Pad(state.Key), Pad(state.Value), mask);
        }
        var mask = arange(7).unsqueeze(0) < tensor(new long[] { 5, 5, 0 }).unsqueeze(1);
        AttentionState teacher = State(1, 3, 4),
            student = State(7, 3, 4);
        foreach (
            var compare in (Func<AttentionState, AttentionState, Tensor?, Tensor>[])
                [AttentionComparison.MapKl, AttentionComparison.ValueRelationKl]
        )
        {
            var difference = compare(teacher, student, null) - compare(Padded(teacher, mask), Padded(student, mask), mask);
            Assert.Equal(0, difference.abs().max().item<double>(), Rounding);
        }
    }

    [Property(MaxTest = 30)]
    public void KlIsNotNegativeAndZeroAtEquality(int seed)
    {
        using var scope = NewDisposeScope();
        long first = seed & 0xFFFFFF;
        AttentionState teacher = State(first, 2, 4),
            student = State(first + 10, 2, 4);
        Assert.True(AttentionComparison.MapRows(teacher, student, null).min().item<double>() > 0);
        Assert.Equal(0, AttentionComparison.MapRows(teacher, teacher, null).max().item<double>());
        Assert.Equal(0, AttentionComparison.ValueRelationRows(teacher, teacher, null).max().item<double>());
    }

    [Fact]
    public void ByLayerReadsTheTraces()
    {
        var trace = new ForwardTrace(TraceRequest.AllAttention, new("model", 2), wantsOutput: false);
        trace.RecordAttention(0, State(1, 2, 4));
        trace.RecordAttention(1, State(7, 2, 4));
        var kl = AttentionComparison.ByLayer(trace, trace, [(0, 0), (1, 0)], null);
        Assert.Equal([2L, 2L], kl.shape);
        Assert.Equal(0, kl[0].sum().item<double>());
        Assert.True(kl[1].min().item<double>() > 0);
        Assert.Throws<ArgumentException>(() => AttentionComparison.ByLayer(trace, trace, [], null));
    }

    [Fact]
    public void UnequalLengthsAreRefused()
    {
        var longer = new AttentionState(Normal(1, 2, 2, 6, 4), Normal(2, 2, 2, 6, 4), Normal(3, 2, 2, 6, 4), null);
        Assert.Throws<ArgumentException>(() => AttentionComparison.MapKl(State(1, 2, 4), longer, null));
    }
}
