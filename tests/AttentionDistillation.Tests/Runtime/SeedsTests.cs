using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Runtime;

[Collection(TrainingCollection.Name)]
public sealed class SeedsTests
{
    [Fact]
    public void StreamsAreTheSameOnEveryMachineAndDifferByName()
    {
        // SHA-256 of "0:data", its first eight bytes little-endian without the sign, computed with Python's hashlib.
        Assert.Equal(5645879620718662389L, Seeds.Derive(0, "data"));
        Assert.NotEqual(Seeds.Derive(0, "data"), Seeds.Derive(0, "dropout"));
        Assert.NotEqual(Seeds.Derive(0, "data"), Seeds.Derive(1, "data"));
        Assert.All(Enumerable.Range(0, 100), seed => Assert.True(Seeds.Derive(seed, "data") >= 0));
    }

    [Fact]
    public void GeneratorsRepeatThemselves()
    {
        using var scope = NewDisposeScope();
        float[] Draw(long seed)
        {
            using var generator = Seeds.Generator(seed, "data");
            return randn(8, generator: generator).data<float>().ToArray();
        }
        Assert.Equal(Draw(1), Draw(1));
        Assert.NotEqual(Draw(1), Draw(2));
        Assert.Equal(Seeds.Random(1, "data").Next(), Seeds.Random(1, "data").Next());
    }

    [Fact]
    public void TheGlobalGeneratorFollowsItsSeed()
    {
        using var scope = NewDisposeScope();
        float[] Draw(long seed)
        {
            Seeds.SetGlobal(seed, "weights");
            return nn.functional.dropout(ones(64), 0.5, training: true).data<float>().ToArray();
        }
        Assert.Equal(Draw(1), Draw(1));
        Assert.NotEqual(Draw(1), Draw(2));
    }
}
