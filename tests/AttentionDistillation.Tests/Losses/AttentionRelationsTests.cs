using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using FsCheck.Xunit;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

public class AttentionRelationsTests
{
    private static readonly AttentionRelationOptions Dense = new() { Form = RelationForm.Dense };
    private static readonly AttentionRelationOptions Blockwise = new() { Form = RelationForm.Blockwise };

    [Theory]
    [InlineData(false, RowReduction.Tokens, false)]
    [InlineData(true, RowReduction.Tokens, false)]
    [InlineData(true, RowReduction.Sequences, true)]
    [InlineData(false, RowReduction.Sequences, true)]
    public void BlockwiseMatchesDense(bool padded, RowReduction reduction, bool causal)
    {
        var random = new RandomTensors(1);
        var (tq, tk) = (random.Normal(3, 4, 33, 8), random.Normal(3, 4, 33, 8));
        var mask = padded ? RandomTensors.Mask(33, 33, 20, 1) : null;
        Tensor[] values = [random.Normal(3, 4, 33, 5), random.Normal(3, 4, 33, 5)];
        var results = new[] { Dense, Blockwise }
            .Select(form =>
            {
                var student = values.Select(value => value.clone().requires_grad_()).ToArray();
                var loss = AttentionRelations.KlDivergence(
                    tq,
                    tk,
                    student[0],
                    student[1],
                    mask,
                    form with
                    {
                        Reduction = reduction,
                        IsCausal = causal,
                    }
                );
                (loss * 1.7).backward();
                return (loss, student[0].grad!, student[1].grad!);
            })
            .ToArray();
        Check.Close(results[0].loss, results[1].loss, 1e-11, "loss");
        Check.Close(results[0].Item2, results[1].Item2, 1e-10, "query gradient");
        Check.Close(results[0].Item3, results[1].Item3, 1e-10, "key gradient");
    }

    [Theory]
    [InlineData(RelationForm.Dense)]
    [InlineData(RelationForm.Blockwise)]
    [InlineData(RelationForm.Fused)]
    public void GradientIsThatOfFiniteDifferences(RelationForm form)
    {
        var random = new RandomTensors(2);
        var (tq, tk) = (random.Normal(2, 2, 4, 3), random.Normal(2, 2, 4, 3));
        var mask = RandomTensors.Mask(4, 4, 3);
        Check.Gradients(
            student => AttentionRelations.KlDivergence(tq, tk, student[0], student[1], mask, new() { Form = form }),
            [random.Normal(2, 2, 4, 2), random.Normal(2, 2, 4, 2)]
        );
    }

    [Theory]
    [InlineData(RelationForm.Dense)]
    [InlineData(RelationForm.Blockwise)]
    [InlineData(RelationForm.Fused)]
    public void PaddingChangesNothing(RelationForm form)
    {
        var random = new RandomTensors(3);
        Tensor[] real =
        [
            random.Normal(2, 3, 7, 4),
            random.Normal(2, 3, 7, 4),
            random.Normal(2, 3, 7, 6),
            random.Normal(2, 3, 7, 6),
        ];
        var padded = real.Select(tensor => cat([tensor, random.Normal(2, 3, 5, tensor.size(3)) * 50], 2).requires_grad_())
            .ToArray();
        foreach (var reduction in Enum.GetValues<RowReduction>())
        {
            var options = new AttentionRelationOptions { Form = form, Reduction = reduction };
            var expected = AttentionRelations.KlDivergence(real[0], real[1], real[2], real[3], null, options);
            var actual = AttentionRelations.KlDivergence(
                padded[0],
                padded[1],
                padded[2],
                padded[3],
                RandomTensors.Mask(12, 7, 7),
                options
            );
            Check.Close(expected, actual, 1e-12);
            actual.backward();
            Assert.Equal(0.0, padded[2].grad!.narrow(2, 7, 5).abs().max().item<double>());
            Assert.Equal(0.0, padded[3].grad!.narrow(2, 7, 5).abs().max().item<double>());
        }
    }

    [Theory]
    [InlineData(RelationForm.Dense)]
    [InlineData(RelationForm.Blockwise)]
    [InlineData(RelationForm.Fused)]
    public void AWhollyPaddedSequenceIsLeftOut(RelationForm form)
    {
        var random = new RandomTensors(4);
        Tensor[] tensors =
        [
            random.Normal(2, 2, 5, 4),
            random.Normal(2, 2, 5, 4),
            random.Learned(2, 2, 5, 3),
            random.Learned(2, 2, 5, 3),
        ];
        foreach (var reduction in Enum.GetValues<RowReduction>())
        {
            var options = new AttentionRelationOptions
            {
                Form = form,
                Reduction = reduction,
                IsCausal = true,
            };
            var both = AttentionRelations.KlDivergence(
                tensors[0],
                tensors[1],
                tensors[2],
                tensors[3],
                RandomTensors.Mask(5, 5, 0),
                options
            );
            var alone = AttentionRelations.KlDivergence(
                tensors[0][..1],
                tensors[1][..1],
                tensors[2][..1],
                tensors[3][..1],
                null,
                options
            );
            Check.Close(alone, both, 1e-12);
            both.backward();
            Assert.True(tensors[2].grad!.isfinite().all().item<bool>() && tensors[3].grad!.isfinite().all().item<bool>());
        }
    }

    [Fact]
    public void CrossAttentionWithAQueryMask()
    {
        var random = new RandomTensors(5);
        var (tq, tk, sq, sk) = (
            random.Normal(2, 2, 3, 4),
            random.Normal(2, 2, 6, 4),
            random.Normal(2, 2, 3, 4),
            random.Normal(2, 2, 6, 4)
        );
        var options = new AttentionRelationOptions { QueryMask = RandomTensors.Mask(3, 3, 1) };
        var loss = AttentionRelations.KlDivergence(tq, tk, sq, sk, RandomTensors.Mask(6, 6, 4), options);
        var first = AttentionRelations.KlRows(tq[..1], tk[..1], sq[..1], sk[..1], null).sum();
        var second = AttentionRelations
            .KlRows(tq[1..2, .., ..1], tk[1..2, .., ..4], sq[1..2, .., ..1], sk[1..2, .., ..4], null)
            .sum();
        Check.Close((first + second) / (2 * (3 + 1)), loss, 1e-12);
    }

    [Fact]
    public void GroupedKeysEqualRepeatedKeys()
    {
        var random = new RandomTensors(6);
        var (tq, tk, sq, sk) = (
            random.Normal(2, 4, 5, 3),
            random.Normal(2, 2, 5, 3),
            random.Normal(2, 4, 5, 3),
            random.Normal(2, 1, 5, 3)
        );
        Check.Close(
            AttentionRelations.KlDivergence(tq, tk.repeat_interleave(2, 1), sq, sk.repeat_interleave(4, 1), null),
            AttentionRelations.KlDivergence(tq, tk, sq, sk, null),
            1e-12
        );
    }

    [Fact]
    public void OrderOfTokensDoesNotMatter()
    {
        var random = new RandomTensors(7);
        var order = tensor(new long[] { 3, 0, 4, 1, 2 });
        Tensor[] tensors =
        [
            random.Normal(1, 2, 5, 4),
            random.Normal(1, 2, 5, 4),
            random.Normal(1, 2, 5, 4),
            random.Normal(1, 2, 5, 4),
        ];
        var moved = tensors.Select(tensor => tensor.index_select(2, order)).ToArray();
        Check.Close(
            AttentionRelations.KlRows(tensors[0], tensors[1], tensors[2], tensors[3], null).index_select(2, order),
            AttentionRelations.KlRows(moved[0], moved[1], moved[2], moved[3], null),
            1e-12
        );
    }

    [Theory]
    [InlineData(RelationForm.Blockwise)]
    [InlineData(RelationForm.Fused)]
    public void SelfRelationsGiveBothGradientsToOneTensor(RelationForm form)
    {
        var random = new RandomTensors(11);
        var mask = RandomTensors.Mask(9, 9, 4);
        var teacher = new AttentionState(random.Normal(2, 2, 9, 4), random.Normal(2, 2, 9, 4), random.Normal(2, 2, 9, 4), mask);
        var inputs = random.Normal(2, 2, 9, 3);
        foreach (var kind in (RelationKind[])[RelationKind.QueryQuery, RelationKind.KeyKey, RelationKind.ValueValue])
        {
            var gradients = new[] { RelationForm.Dense, form }
                .Select(used =>
                {
                    var student = inputs.clone().requires_grad_();
                    var state = new AttentionState(student, student, student, mask);
                    AttentionRelations.KlDivergence(teacher, state, kind, new() { Form = used }).backward();
                    return student.grad!;
                })
                .ToArray();
            Check.Close(gradients[0], gradients[1], 1e-11, kind.ToString());
        }
    }

    [Theory]
    [InlineData(RelationForm.Dense)]
    [InlineData(RelationForm.Blockwise)]
    [InlineData(RelationForm.Fused)]
    public void NothingButTheLossIsLeftBehind(RelationForm form)
    {
        var random = new RandomTensors(12);
        var (teacher, student) = (random.Normal(2, 2, 9, 4), random.Learned(2, 2, 9, 4));
        using var scope = NewDisposeScope();
        AttentionRelations.KlDivergence(teacher, teacher, student, student, null, new() { Form = form });
        AttentionRelations.KlRows(teacher, teacher, student, student, null, new() { Form = form });
        Assert.Equal(2, scope.DisposablesCount);
    }

    [Property(MaxTest = 30)]
    public bool NeverNegativeAndZeroAtEquality(int seed, bool blockwise)
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(Math.Abs((long)seed));
        var options = blockwise ? Blockwise : Dense;
        var (q, k) = (random.Normal(2, 2, 6, 4) * 3, random.Normal(2, 2, 6, 4) * 3);
        var other = AttentionRelations.KlRows(q, k, random.Normal(2, 2, 6, 4), random.Normal(2, 2, 6, 4), null, options);
        var same = AttentionRelations.KlRows(q, k, q, k, null, options);
        return other.min().item<double>() >= -1e-12 && same.abs().max().item<double>() < 1e-12;
    }

    [Fact]
    public void HalfPrecisionSumsInSingle()
    {
        var random = new RandomTensors(8);
        var tensors = Enumerable.Range(0, 4).Select(_ => random.Normal(2, 2, 16, 8).to(ScalarType.BFloat16)).ToArray();
        var exact = AttentionRelations.KlDivergence(
            tensors[0].@double(),
            tensors[1].@double(),
            tensors[2].@double(),
            tensors[3].@double(),
            null
        );
        foreach (var options in new[] { Dense, Blockwise })
        {
            var student = new[] { tensors[2].clone().requires_grad_(), tensors[3].clone().requires_grad_() };
            var loss = AttentionRelations.KlDivergence(tensors[0], tensors[1], student[0], student[1], null, options);
            Assert.Equal(ScalarType.Float32, loss.dtype);
            loss.backward();
            Assert.Equal(ScalarType.BFloat16, student[0].grad!.dtype);
            Check.Close(exact, loss, 2e-2); // a bfloat16 product carries 2^-9 relative error into every score of the dense form
        }
    }

    [Fact]
    public void MismatchesAreNamed()
    {
        var random = new RandomTensors(9);
        var four = random.Normal(1, 4, 5, 4);
        var two = random.Normal(1, 2, 5, 4);
        Assert.Contains(
            "SplitRelationHeads",
            Assert.Throws<ArgumentException>(() => AttentionRelations.KlDivergence(four, four, two, two, null)).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "[B, H, L, D]",
            Assert.Throws<ArgumentException>(() => AttentionRelations.KlDivergence(four[0], four, four, four, null)).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "1, 2, 4, 8, 16",
            Assert.Throws<ArgumentException>(() => AttentionRelations.SplitRelationHeads(four, 3)).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "agree",
            Assert
                .Throws<ArgumentException>(() => AttentionRelations.KlDivergence(four, four, four[.., .., ..4], four, null))
                .Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void RelationHeadsAreContiguousFeaturesOfTheConcatenation()
    {
        var heads = arange(0, 24, dtype: ScalarType.Float64).reshape(1, 2, 2, 6); // H 2, L 2, D 6
        var split = AttentionRelations.SplitRelationHeads(heads, 3); // width 12 -> 3 heads of 4
        var concatenated = heads.transpose(1, 2).reshape(1, 2, 12);
        for (int head = 0; head < 3; head++)
            Check.Close(concatenated.narrow(2, head * 4, 4), split.select(1, head), 0);
    }

    [Fact]
    public void ADistributionIsASoftmaxRow()
    {
        var random = new RandomTensors(10);
        var state = new AttentionState(
            random.Normal(2, 2, 5, 4),
            random.Normal(2, 2, 5, 4),
            random.Normal(2, 2, 5, 4),
            RandomTensors.Mask(5, 5, 3)
        );
        foreach (var kind in Enum.GetValues<RelationKind>())
        {
            var map = AttentionRelations.Distribution(state, kind);
            Check.Close(ones(2, 2, 5, dtype: ScalarType.Float64), map.sum(-1), 1e-12);
            Assert.Equal(0.0, map[1].narrow(-1, 3, 2).max().item<double>());
        }
    }
}
