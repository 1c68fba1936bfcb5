using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class HybridDistillTests
{
    private static readonly Tensor Visible = tensor(new long[] { 0, 2, 3, 1, 2, 4 }, [2, 3]);

    [Theory]
    [InlineData(TokenRelationKind.Raw, true)]
    [InlineData(TokenRelationKind.Scaled, false)]
    [InlineData(TokenRelationKind.Softmax, true)]
    public void TheLossHasItsGradient(TokenRelationKind kind, bool whitens)
    {
        var random = new RandomTensors(1);
        var (query, key, features) = (random.Normal(2, 4, 5, 3), random.Normal(2, 4, 5, 3), random.Normal(2, 5, 6));
        Check.Gradients(
            inputs =>
                HybridDistill
                    .Loss(
                        query,
                        key,
                        features,
                        inputs[0],
                        inputs[1],
                        inputs[2],
                        Visible,
                        (inputs[3], inputs[4]),
                        new HybridDistillOptions
                        {
                            FeatureWeight = 0.7,
                            RelationWeight = 0.4,
                            Relation = kind,
                            Whitens = whitens,
                        }
                    )
                    .Total,
            [random.Normal(2, 2, 3, 4), random.Normal(2, 2, 3, 4), random.Normal(2, 3, 4), random.Normal(6, 4), random.Normal(6)]
        );
    }

    [Fact]
    public void AStudentThatIsItsTeacherLosesNothingAndTeachersLearnNothing()
    {
        var random = new RandomTensors(2);
        var (query, key, features) = (random.Learned(2, 2, 5, 4), random.Learned(2, 2, 5, 4), random.Learned(2, 5, 6));
        var options = new HybridDistillOptions { Whitens = false };
        var (ownQuery, ownKey, ownFeatures) = (
            TokenPlaces.At(query, Visible).detach().requires_grad_(),
            TokenPlaces.At(key, Visible).detach().requires_grad_(),
            TokenPlaces.At(features, Visible).detach().requires_grad_()
        );
        var loss = HybridDistill.Loss(query, key, features, ownQuery, ownKey, ownFeatures, Visible, null, options).Total;
        Assert.Equal(0, loss.item<double>(), 1e-12);
        loss.backward();
        Assert.Null(query.grad);
        Assert.Null(features.grad);
    }

    [Fact]
    public void RowsAndColumnsAreCutTogether()
    {
        var random = new RandomTensors(3);
        var (query, key) = (random.Normal(2, 2, 5, 4), random.Normal(2, 2, 5, 4));
        foreach (var kind in Enum.GetValues<TokenRelationKind>())
        {
            var cut = TokenRelations.Of(query, key, kind, Visible);
            // The slow way: the whole relation, then rows, then columns, then the softmax.
            var whole = TokenRelations.Of(query, key, kind == TokenRelationKind.Softmax ? TokenRelationKind.Scaled : kind);
            for (int image = 0; image < 2; image++)
            {
                var places = Visible[image];
                var expected = whole[image].index_select(1, places).index_select(2, places);
                if (kind == TokenRelationKind.Softmax)
                    expected = expected.softmax(-1);
                Check.Close(expected, cut[image], 1e-12);
            }
        }
    }

    [Fact]
    public void SoftmaxIgnoresShiftsOfRowsAndRawDoesNot()
    {
        var random = new RandomTensors(4);
        var (query, key) = (random.Normal(1, 1, 4, 3), random.Normal(1, 1, 4, 3));
        var moved = key + random.Normal(1, 1, 1, 3);
        Check.Close(
            TokenRelations.Of(query, key, TokenRelationKind.Softmax),
            TokenRelations.Of(query, moved, TokenRelationKind.Softmax),
            1e-12
        );
        Assert.False(
            TokenRelations.Of(query, key, TokenRelationKind.Raw).allclose(TokenRelations.Of(query, moved, TokenRelationKind.Raw))
        );
    }

    [Fact]
    public void OfTwoAlikeTokensTheLaterLeavesAndStagesGoOn()
    {
        // Places 1 and 4 point the same way; all others are at right angles.
        var tokens = eye(6, dtype: ScalarType.Float32).index_select(0, tensor(new long[] { 0, 1, 2, 3, 1, 5 })).unsqueeze(0);
        var stages = HybridDistill.ProgressiveMask([tokens, tokens], [1, 1]);
        Assert.Equal([0L, 1, 2, 3, 5], stages[0].data<long>().ToArray());
        Assert.Equal([0L, 1, 2, 3], stages[1].data<long>().ToArray());
        // By the mean over all others both leave at once.
        var mean = HybridDistill.ProgressiveMask([tokens], [2], RedundancyRule.Mean);
        Assert.Equal([0L, 2, 3, 5], mean[0].data<long>().ToArray());
    }

    [Fact]
    public void MaskingIgnoresTheTokensLengthsAndEveryImageIsItsOwn()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(5);
        var tokens = random.Normal(3, 12, 6);
        var stages = HybridDistill.ProgressiveMask([tokens, tokens * 2], [4, 3]);
        var longer = HybridDistill.ProgressiveMask([tokens * (random.Normal(3, 12, 1).abs() + 0.1), tokens], [4, 3]);
        Check.Close(stages[1], longer[1], 0);
        Check.Close(stages[0][1..2], HybridDistill.ProgressiveMask([tokens[1..2]], [4])[0], 0);
        Assert.Equal([3, 5], stages[1].shape);
    }

    [Fact]
    public void DistanceKnowsUniformAndOneKeyMaps()
    {
        var one = eye(4, dtype: ScalarType.Float64).view(1, 1, 4, 4);
        Check.Close(zeros(1, 1, 4, dtype: ScalarType.Float64), ImageAttention.Distance(one, 2, 8), 0);
        var uniform = full([1, 1, 4, 4], 0.25, dtype: ScalarType.Float64);
        double expected = 8 * (0 + 1 + 1 + Math.Sqrt(2)) / 4;
        Check.Close(full([1, 1, 4], expected, dtype: ScalarType.Float64), ImageAttention.Distance(uniform, 2, 8), 1e-12);
        // A class token in front changes nothing between patches.
        var withClass = full([1, 1, 5, 5], 0.2, dtype: ScalarType.Float64);
        Check.Close(ImageAttention.Distance(uniform, 2), ImageAttention.Distance(withClass, 2, skip: 1), 1e-12);
        Assert.Throws<ArgumentException>(() => ImageAttention.Distance(withClass, 2));
    }

    [Fact]
    public void WrongInputsAreNamed()
    {
        var random = new RandomTensors(6);
        var features = random.Normal(2, 5, 6);
        Assert.Contains(
            "projection",
            Assert
                .Throws<ArgumentException>(() => HybridDistill.FeatureLoss(features, random.Normal(2, 5, 4), null, null))
                .Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() => HybridDistill.ProgressiveMask([features], [5]));
        Assert.Throws<ArgumentException>(() => HybridDistill.ProgressiveMask([features], [1, 1]));
        Assert.Throws<ArgumentException>(() => HybridDistill.Loss(null, null, null, null, null, null, null));
        Assert.Throws<ArgumentException>(() => TokenRelations.AverageHeads(random.Normal(1, 3, 2, 2), 2));
    }
}
