using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using AttentionDistillation.Training;

namespace AttentionDistillation.Tests.Training;

public sealed class TrainingOptionsTests
{
    private static readonly TrainingOptions Good = new()
    {
        Steps = 10,
        LearningRate = 1e-3,
        Seed = 0,
    };

    public static TheoryData<string, Func<TrainingOptions>> Wrong =>
        new()
        {
            { "Steps must be at least 1, but is 0", () => Good with { Steps = 0 } },
            { "LearningRate must be positive and finite, but is -1", () => Good with { LearningRate = -1 } },
            { "LearningRate must be positive and finite, but is NaN", () => Good with { LearningRate = double.NaN } },
            { "WarmUp must be 0 or more steps", () => Good with { WarmUp = -1 } },
            { "WeightDecay must be 0 or more", () => Good with { WeightDecay = -0.1 } },
            { "Beta1 must be in [0, 1)", () => Good with { Beta1 = 1 } },
            { "Beta2 must be in [0, 1)", () => Good with { Beta2 = -0.5 } },
            { "Epsilon must be positive", () => Good with { Epsilon = 0 } },
            { "ClipNorm must be positive, or null for no clipping", () => Good with { ClipNorm = 0 } },
            { "AverageDecay must be between 0 and 1", () => Good with { AverageDecay = 1 } },
            { "Precision must be Single or BFloat16", () => Good with { Precision = (Precision)9 } },
            { "CheckpointEvery must be at least 1", () => Good with { CheckpointEvery = 0 } },
            { "RecordEvery must be at least 1", () => Good with { RecordEvery = 0 } },
            { "CheckpointFolder is empty", () => Good with { CheckpointFolder = " " } },
        };

    [Theory]
    [MemberData(nameof(Wrong))]
    public void WrongValuesAreRefusedWithTheRemedy(string message, Func<TrainingOptions> make) =>
        Assert.Contains(message, Assert.Throws<ArgumentException>(make).Message, StringComparison.Ordinal);

    [Fact]
    public void AWarmUpLongerThanTheTrainingIsRefusedBeforeAnyStep()
    {
        using var model = new TinyTransformer(1);
        LossTerms Never(Batch batch) => throw new InvalidOperationException("The objective ran.");
        var error = Assert.Throws<ArgumentException>(() => new Trainer(model, Never, Good with { WarmUp = 11 }));
        Assert.Contains("WarmUp is 11 steps, more than the 10 steps", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void TheLearningRateFollowsTheSchedule()
    {
        var options = Good with { WarmUp = 2, Schedule = Schedule.LinearWarmupThenDecay };
        Assert.Equal([0.0, 5e-4, 1e-3, 1e-3 * 7 / 8], Enumerable.Range(0, 4).Select(step => options.LearningRateAt(step)), Near);
    }

    private static bool Near(double first, double second) => Math.Abs(first - second) < 1e-18;
}
