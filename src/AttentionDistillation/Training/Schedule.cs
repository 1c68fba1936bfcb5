namespace AttentionDistillation.Training;

/// <summary>
/// A learning-rate schedule: a pure function of the step, so that a resumed training needs no state of it. The formulas are those of
/// Hugging Face's <c>get_constant_schedule_with_warmup</c>, <c>get_linear_schedule_with_warmup</c> and <c>get_cosine_schedule_with_warmup</c>.
/// </summary>
/// <remarks>With k the step from 0, w the warm-up's steps and n all steps: warm-up is k / w for k &lt; w.</remarks>
public sealed class Schedule
{
    private readonly Func<long, long, long, double> factor;

    private Schedule(string name, Func<long, long, long, double> factor) => (Name, this.factor) = (name, factor);

    /// <summary>After the warm-up: 1.</summary>
    public static Schedule Constant { get; } = new("constant", (_, _, _) => 1.0);

    /// <summary>After the warm-up: (n - k) / (n - w), down to zero.</summary>
    public static Schedule LinearWarmupThenDecay { get; } =
        new("linear", (step, warmUp, steps) => 1.0 - Done(step, warmUp, steps));

    /// <summary>After the warm-up: (1 + cos(pi (k - w) / (n - w))) / 2, down to zero (Loshchilov and Hutter 2017, equation 5, one cycle).</summary>
    public static Schedule LinearWarmupThenCosine { get; } =
        new("cosine", (step, warmUp, steps) => 0.5 * (1.0 + Math.Cos(Math.PI * Done(step, warmUp, steps))));

    /// <summary>A schedule of one's own.</summary>
    /// <param name="name">Its name; checkpoints of trainings with another schedule are told apart by it.</param>
    /// <param name="factor">The factor on the learning rate after the warm-up, from the step (from 0), the warm-up's steps and all steps.</param>
    /// <exception cref="ArgumentException">The name is empty.</exception>
    public static Schedule Custom(string name, Func<long, long, long, double> factor)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(name);
        ArgumentNullException.ThrowIfNull(factor);
        return new Schedule(name, factor);
    }

    /// <summary>The schedule's name.</summary>
    public string Name { get; }

    /// <summary>The factor on the learning rate at a step.</summary>
    /// <param name="step">The step's number, from 0.</param>
    /// <param name="warmUp">Steps of linear warm-up; 0 for none.</param>
    /// <param name="steps">Steps in all.</param>
    /// <exception cref="ArgumentOutOfRangeException">A number is negative, or the warm-up longer than the training.</exception>
    public double Factor(long step, long warmUp, long steps)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        ArgumentOutOfRangeException.ThrowIfNegative(warmUp);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(warmUp, steps);
        return step < warmUp ? (double)step / warmUp : factor(step, warmUp, steps);
    }

    /// <inheritdoc/>
    public override string ToString() => Name;

    private static double Done(long step, long warmUp, long steps) =>
        Math.Clamp((double)(step - warmUp) / Math.Max(1, steps - warmUp), 0.0, 1.0);
}
