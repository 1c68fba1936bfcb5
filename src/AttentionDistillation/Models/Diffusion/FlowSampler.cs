using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Diffusion;

/// <summary>How a flow is integrated.</summary>
public enum FlowSolver
{
    /// <summary>x + dt v(x, t): one evaluation a step.</summary>
    Euler,

    /// <summary>The mean of the velocities at both ends: two evaluations a step, one in the last.</summary>
    Heun,
}

/// <summary>Integrates a rectified flow from noise (t = 1) to a sample (t = 0).</summary>
public sealed record FlowSampler
{
    /// <summary>Moves.</summary>
    public int Steps { get; init; } = 20;

    /// <summary>Shift of the times towards noise, see <see cref="RectifiedFlow.Shift(double, double)"/>.</summary>
    public double Shift { get; init; } = 1.0;

    /// <summary>How the flow is integrated.</summary>
    public FlowSolver Solver { get; init; } = FlowSolver.Euler;

    /// <summary>The model is told t times this: 1, or 1000 for models that were trained on steps.</summary>
    public double TimeScale { get; init; } = 1.0;

    /// <summary>The times visited, from 1 to 0.</summary>
    public double[] Grid => RectifiedFlow.TimeGrid(Steps, Shift);

    /// <summary>Draws samples; no gradient is recorded.</summary>
    /// <param name="model">Predicts the velocity noise - clean.</param>
    /// <param name="noise">x at t = 1, [B, ...]: standard normal.</param>
    /// <param name="onStep">Called after each move with its number and the sample, which it must not dispose; null for none.</param>
    public Tensor Sample(Denoiser model, Tensor noise, Action<int, Tensor>? onStep = null)
    {
        ArgumentNullException.ThrowIfNull(noise);
        using var guard = no_grad();
        double[] grid = Grid;
        var current = noise.alias();
        for (int number = 0; number < Steps; number++)
        {
            var next = Step(model, current, grid[number], grid[number + 1]);
            current.Dispose();
            current = next;
            onStep?.Invoke(number, current);
        }
        return current;
    }

    /// <summary>One move, differentiable; also back towards noise.</summary>
    /// <param name="model">Predicts the velocity.</param>
    /// <param name="sample">x at <paramref name="from"/>.</param>
    /// <param name="from">The time it is at.</param>
    /// <param name="to">The time it goes to.</param>
    public Tensor Step(Denoiser model, Tensor sample, double from, double to)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(sample);
        using var scope = NewDisposeScope();
        var velocity = model(sample, Times(sample, from));
        var moved = sample + velocity * (to - from);
        if (Solver == FlowSolver.Heun && to > 0)
            moved = sample + (velocity + model(moved, Times(moved, to))) * ((to - from) / 2);
        return moved.MoveToOuterDisposeScope();
    }

    private Tensor Times(Tensor sample, double time) =>
        full(
            [sample.size(0)],
            time * TimeScale,
            dtype: sample.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32,
            device: sample.device
        );
}
