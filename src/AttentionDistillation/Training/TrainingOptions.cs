using System.Globalization;
using TorchSharp;

namespace AttentionDistillation.Training;

/// <summary>The number format a model computes in while it trains.</summary>
public enum Precision
{
    /// <summary>float32 weights and arithmetic.</summary>
    Single,

    /// <summary>bfloat16 weights and arithmetic, with float32 master weights in the optimiser.</summary>
    BFloat16,
}

/// <summary>How a training runs. Checked when it is made; every message says how to mend the value.</summary>
public sealed record TrainingOptions
{
    /// <summary>Optimiser steps in all, at least 1.</summary>
    public required long Steps
    {
        get;
        init => field = value >= 1 ? value : throw Wrong(nameof(Steps), value, "at least 1");
    }

    /// <summary>The highest learning rate, which <see cref="Schedule"/> scales; positive.</summary>
    public required double LearningRate
    {
        get;
        init =>
            field = value > 0 && double.IsFinite(value) ? value : throw Wrong(nameof(LearningRate), value, "positive and finite");
    }

    /// <summary>Where the randomness of the steps (dropout) comes from.</summary>
    public required long Seed { get; init; }

    /// <summary>Steps of linear warm-up at the start, at most <see cref="Steps"/>.</summary>
    public long WarmUp
    {
        get;
        init =>
            field =
                value >= 0 ? value : throw Wrong(nameof(WarmUp), value, "0 or more steps (a number of steps, not a fraction)");
    }

    /// <summary>How the learning rate goes on after the warm-up.</summary>
    public Schedule Schedule
    {
        get;
        init =>
            field =
                value
                ?? throw new ArgumentNullException(
                    nameof(Schedule),
                    "Schedule is null. Use Schedule.Constant for a constant rate."
                );
    } = Schedule.LinearWarmupThenDecay;

    /// <summary>Decoupled weight decay of AdamW; biases and normalisation weights are spared.</summary>
    public double WeightDecay
    {
        get;
        init => field = value >= 0 && double.IsFinite(value) ? value : throw Wrong(nameof(WeightDecay), value, "0 or more");
    } = AdamW.DefaultWeightDecay;

    /// <summary>AdamW's decay of the running mean of gradients, in [0, 1).</summary>
    public double Beta1
    {
        get;
        init => field = value is >= 0 and < 1 ? value : throw Wrong(nameof(Beta1), value, "in [0, 1)");
    } = AdamW.DefaultBeta1;

    /// <summary>AdamW's decay of the running mean of squared gradients, in [0, 1).</summary>
    public double Beta2
    {
        get;
        init => field = value is >= 0 and < 1 ? value : throw Wrong(nameof(Beta2), value, "in [0, 1)");
    } = AdamW.DefaultBeta2;

    /// <summary>AdamW's epsilon, positive.</summary>
    public double Epsilon
    {
        get;
        init => field = value > 0 && double.IsFinite(value) ? value : throw Wrong(nameof(Epsilon), value, "positive");
    } = AdamW.DefaultEpsilon;

    /// <summary>Gradients are clipped to this global norm; null does not clip.</summary>
    public double? ClipNorm
    {
        get;
        init =>
            field = value is null or > 0
                ? value
                : throw Wrong(nameof(ClipNorm), value.Value, "positive, or null for no clipping");
    } = 1.0;

    /// <summary>Decay of the running average of weights, in (0, 1); null keeps no average.</summary>
    public double? AverageDecay
    {
        get;
        init =>
            field = value is null or (> 0 and < 1)
                ? value
                : throw Wrong(nameof(AverageDecay), value.Value, "between 0 and 1, for example 0.999, or null for no average");
    }

    /// <summary>Where to train; null stays where the model's parameters are.</summary>
    public torch.Device? Device { get; init; }

    /// <summary>The number format of weights and arithmetic.</summary>
    public Precision Precision
    {
        get;
        init => field = Enum.IsDefined(value) ? value : throw Wrong(nameof(Precision), (int)value, "Single or BFloat16");
    }

    /// <summary>A folder for checkpoints, created when missing; null keeps none. A training started again with the same options goes on from there.</summary>
    public string? CheckpointFolder
    {
        get;
        init =>
            field =
                value is null || !string.IsNullOrWhiteSpace(value)
                    ? value
                    : throw new ArgumentException(
                        "CheckpointFolder is empty. Name a folder, or leave it null to keep no checkpoints."
                    );
    }

    /// <summary>Steps between checkpoints; the last step always makes one.</summary>
    public long CheckpointEvery
    {
        get;
        init => field = value >= 1 ? value : throw Wrong(nameof(CheckpointEvery), value, "at least 1");
    } = 500;

    /// <summary>Steps between points of the curves; the last step is always recorded.</summary>
    public long RecordEvery
    {
        get;
        init => field = value >= 1 ? value : throw Wrong(nameof(RecordEvery), value, "at least 1");
    } = 10;

    /// <summary>
    /// The most batches that are built ahead of their steps on a thread of their own, while the device works; 0 builds each in its step. Null, the default,
    /// builds two ahead on CUDA (in page-locked memory, from which the device copies without the host) and none on the CPU, whose cores the steps need
    /// themselves.
    /// </summary>
    /// <remarks>
    /// The numbers are the same with any value. That asks of the source what <see cref="Tensors.IBatchSource"/> promises, that a batch is a pure function
    /// of the step: it must not read what the training changes, and must not draw from libtorch's global generator. The first batch is built in its
    /// step to see the latter: with null such a source is then never called ahead, with a number it is refused. A source is called from one thread at a
    /// time. Its failures are thrown by the training, at the step whose batch failed.
    /// </remarks>
    public int? Prefetch
    {
        get;
        init =>
            field = value is null or >= 0
                ? value
                : throw Wrong(nameof(Prefetch), value.Value, "0 or more batches, or null for the device's default");
    }

    /// <summary>What progress calls the training, for example <c>student · seed 0</c>.</summary>
    public string Label { get; init; } = "training";

    /// <summary>
    /// What else makes this training what it is (the loss, the data) in words of the caller; a checkpoint made under another identity is refused.
    /// </summary>
    public string Identity { get; init; } = "";

    /// <summary>The learning rate of a step (from 0).</summary>
    public double LearningRateAt(long step) => LearningRate * Schedule.Factor(step, WarmUp, Steps);

    /// <summary>Checks what concerns several options at once; loops call it when they are made.</summary>
    /// <exception cref="ArgumentException">The warm-up is longer than the training.</exception>
    internal void Validate()
    {
        if (WarmUp > Steps)
            throw new ArgumentException(
                $"TrainingOptions.WarmUp is {WarmUp} steps, more than the {Steps} steps of the training. Shorten the warm-up or train longer."
            );
    }

    /// <summary>The options that decide the outcome, by name: two trainings may share a checkpoint only when all agree.</summary>
    internal IReadOnlyList<(string Name, string Value)> Fingerprint() =>
        [
            (nameof(Steps), Text(Steps)),
            (nameof(LearningRate), Text(LearningRate)),
            (nameof(WarmUp), Text(WarmUp)),
            (nameof(Schedule), Schedule.Name),
            (nameof(WeightDecay), Text(WeightDecay)),
            (nameof(Beta1), Text(Beta1)),
            (nameof(Beta2), Text(Beta2)),
            (nameof(Epsilon), Text(Epsilon)),
            (nameof(ClipNorm), ClipNorm is { } norm ? Text(norm) : "none"),
            (nameof(AverageDecay), AverageDecay is { } decay ? Text(decay) : "none"),
            (nameof(Seed), Text(Seed)),
            (nameof(Precision), Precision.ToString()),
            (nameof(RecordEvery), Text(RecordEvery)),
            (nameof(Identity), Identity),
        ];

    private static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);

    private static ArgumentException Wrong(string name, double value, string expected) =>
        new($"TrainingOptions.{name} must be {expected}, but is {Text(value)}.");
}
