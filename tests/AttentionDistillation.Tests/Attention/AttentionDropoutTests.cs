using AttentionDistillation.Attention;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Attention;

/// <summary>Dropout draws from libtorch's global generator, so this runs while nothing else does.</summary>
[Collection(Name)]
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class AttentionDropoutTests
{
    private const string Name = "attention dropout";

    [Fact]
    public void DropoutActsOnlyInTrainingAndFollowsTheSeed()
    {
        using var scope = NewDisposeScope();
        using var attention = new MultiHeadAttention(12, 3, new SeededLayers(5, 0.4), 0, dropout: 0.5);
        var hidden = empty(2, 4, 12).normal_(0.0, 1.0, new Generator(1, CPU));
        attention.eval();
        var still = attention.call(hidden, null, null, null);
        Assert.True(still.eq(attention.call(hidden, null, null, null)).all().ToBoolean());
        attention.train();
        manual_seed(1);
        var dropped = attention.call(hidden, null, null, null);
        Assert.False(dropped.allclose(still));
        Assert.False(dropped.allclose(attention.call(hidden, null, null, null)));
        manual_seed(1);
        Assert.True(dropped.eq(attention.call(hidden, null, null, null)).all().ToBoolean());
    }
}
