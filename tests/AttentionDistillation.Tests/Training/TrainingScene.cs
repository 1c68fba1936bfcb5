using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Training;

/// <summary>A small training and what it left behind, for tests that compare runs to the bit.</summary>
internal sealed record Outcome(Dictionary<string, byte[]> Weights, Dictionary<string, byte[]> Average, TrainingResult Result)
{
    public void MustEqual(Outcome other)
    {
        Assert.Equal(other.Weights.Keys, Weights.Keys);
        foreach (string name in Weights.Keys)
            Assert.True(Weights[name].AsSpan().SequenceEqual(other.Weights[name]), $"{name} differs.");
        Assert.Equal(other.Average.Keys, Average.Keys);
        foreach (string name in Average.Keys)
            Assert.True(Average[name].AsSpan().SequenceEqual(other.Average[name]), $"The average of {name} differs.");
        Assert.Equal(other.Result.Curve.Points, Result.Curve.Points);
    }
}

internal static class TrainingScene
{
    public const long Steps = 24;

    public static TrainingOptions Options(string? folder = null) =>
        new()
        {
            Steps = Steps,
            LearningRate = 1e-2,
            Seed = 7,
            WarmUp = 4,
            ClipNorm = 0.5,
            AverageDecay = 0.9,
            CheckpointFolder = folder,
            CheckpointEvery = 5,
            RecordEvery = 3,
        };

    /// <summary>Trains a fresh model; <paramref name="watch"/> sees each forward pass's number, from 0 in this call.</summary>
    public static Outcome Train(TrainingOptions options, Action<int>? watch = null, long dataSeed = 3)
    {
        using var model = new TinyTransformer(seed: 1);
        int passes = 0;
        using var trainer = new Trainer(
            model,
            TraceRequest.Nothing,
            (trace, batch) =>
            {
                watch?.Invoke(passes++);
                return TinyLosses.NextNumber(trace, batch);
            },
            options
        );
        var result = trainer.Run(new CountingBatches(dataSeed));
        return new Outcome(
            Bytes(model.state_dict().Select(item => (item.Key, item.Value))),
            Bytes(trainer.Average?.Values ?? []),
            result
        );
    }

    public static Dictionary<string, byte[]> Bytes(IEnumerable<(string Name, Tensor Value)> tensors) =>
        tensors.ToDictionary(item => item.Name, item => item.Value.detach().contiguous().bytes.ToArray());

    public static double Loss(TinyTransformer model, long step = 1_000)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var batch = new CountingBatches(99, size: 16).BatchAt(step);
        var trace = new ForwardTrace(TraceRequest.Nothing, model.Capabilities);
        model.Run(batch, trace);
        return TinyLosses.NextNumber(trace, batch).Total.ToDouble();
    }
}
