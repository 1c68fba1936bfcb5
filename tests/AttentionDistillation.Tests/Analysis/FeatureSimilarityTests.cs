using AttentionDistillation.Analysis;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Analysis;

public class FeatureSimilarityTests
{
    [Fact]
    public void RotationsFactorsAndShiftsChangeNothing()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(1);
        var (x, y) = (random.Normal(40, 5), random.Normal(40, 3));
        var (rotation, _) = linalg.qr(random.Normal(5, 5));
        double between = FeatureSimilarity.LinearCka(x, y);
        Assert.InRange(between, 0, 1);
        Assert.Equal(1, FeatureSimilarity.LinearCka(x, x), 1e-12);
        Assert.Equal(1, FeatureSimilarity.LinearCka(x, matmul(x, rotation) * 3 + 2), 1e-12);
        Assert.Equal(between, FeatureSimilarity.LinearCka(matmul(x, rotation) * 0.1 - 1, y), 1e-12);
        Assert.Equal(between, FeatureSimilarity.LinearCka(y, x), 1e-12);
        // Stretching one direction is no rotation.
        Assert.True(FeatureSimilarity.LinearCka(x, x * tensor(new[] { 9.0, 1, 1, 1, 1 })) < 0.95);
    }

    [Fact]
    public void TheDefinitionByGramMatricesAgrees()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(2);
        var (x, y) = (random.Normal(12, 4), random.Normal(12, 7));
        Tensor Gram(Tensor rows)
        {
            var centring = eye(12, dtype: ScalarType.Float64) - 1.0 / 12;
            return matmul(matmul(centring, matmul(rows, rows.t())), centring);
        }
        var (k, l) = (Gram(x), Gram(y));
        double wanted = ((k * l).sum() / (k.square().sum() * l.square().sum()).sqrt()).item<double>();
        Assert.Equal(wanted, FeatureSimilarity.LinearCka(x, y), 1e-10);
        Assert.Equal(
            0,
            FeatureSimilarity.LinearCka(tensor(new[] { 1.0, -1, 1, -1 }, [4, 1]), tensor(new[] { 1.0, 1, -1, -1 }, [4, 1])),
            1e-12
        );
    }

    [Fact]
    public void WhatCannotBeComparedIsRefused()
    {
        Assert.Throws<ArgumentException>(() => FeatureSimilarity.LinearCka(rand(1, 3), rand(1, 3)));
        Assert.Throws<ArgumentException>(() => FeatureSimilarity.LinearCka(rand(4, 3), rand(5, 3)));
        Assert.Throws<ArgumentException>(() => FeatureSimilarity.LinearCka(rand(4, 3), ones(4, 2)));
    }
}
