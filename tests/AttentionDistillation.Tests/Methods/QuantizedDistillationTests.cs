using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class QuantizedDistillationTests
{
    [Theory]
    [InlineData(DivergenceReduction.Tokens)]
    [InlineData(DivergenceReduction.Elements)]
    public void GradientsAreThoseOfTheValues(DivergenceReduction reduction)
    {
        var random = new RandomTensors(1);
        var (student, teacher) = (random.Normal(3, 4), random.Normal(3, 4));
        var options = new QuantizedDistillationOptions { Reduction = reduction };
        Check.Gradients(
            inputs => QuantizedDistillation.Loss(inputs[0], teacher, tensor(new[] { 0L, 2L, 1L }), options).Total,
            [student]
        );
    }

    [Fact]
    public void DealingOutKeepsTheSum()
    {
        Assert.Equal([6, 5, 3, 2], QuantizedDistillation.AssignPoints([1.5112, 1.0633, 0.0816, 0.1707], [4, 4, 4, 4]));
        Assert.Equal(17, QuantizedDistillation.AssignPoints([3, 1, 1, 1], [4, 5, 3, 5]).Sum());
        Assert.Throws<ArgumentException>(() => QuantizedDistillation.AssignPoints([0, 0], [4, 4]));
        Assert.Throws<ArgumentException>(() => QuantizedDistillation.AssignPoints([1], [4, 4]));
    }

    [Fact]
    public void HuffmanCodesLieBetweenEntropyAndOneBitMore()
    {
        long[] counts = [50, 20, 15, 10, 5, 0];
        double entropy = -counts.Where(count => count > 0).Sum(count => count / 100.0 * Math.Log2(count / 100.0));
        Assert.InRange(QuantizedSize.HuffmanBits(counts), entropy, entropy + 1);
        Assert.Equal(0.0, QuantizedSize.HuffmanBits([7, 0]));
        Assert.Throws<ArgumentException>(() => QuantizedSize.HuffmanBits([0, 0]));
        Assert.Equal(7.53, QuantizedSize.Compression(4, 256), 2);
    }
}
