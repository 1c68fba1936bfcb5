using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>How far planned trajectories lie from the driven ones, and how often they meet an obstacle, as open-loop planning reports it.</summary>
/// <param name="Distance">Mean distance at each step, in the unit of the points.</param>
/// <param name="RunningDistance">Mean over the steps up to and including each: the other convention of the field.</param>
/// <param name="Collision">Share of scenes in which a planned point comes nearer to an obstacle than the radius at the same step.</param>
public sealed record TrajectoryErrors(IReadOnlyList<double> Distance, IReadOnlyList<double> RunningDistance, double Collision)
{
    /// <summary>Compares plans with the truth.</summary>
    /// <param name="predicted">[b, T, 2].</param>
    /// <param name="truth">[b, T, 2].</param>
    /// <param name="obstacles">Places of O obstacles at every step, [b, O, T, 2]; those that are not there far away.</param>
    /// <param name="radius">Distance below which a plan collides.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, there are no scenes, or the radius is negative.</exception>
    public static TrajectoryErrors Of(Tensor predicted, Tensor truth, Tensor obstacles, double radius)
    {
        Shapes.RequireExact(predicted, [-1, -1, 2]);
        Shapes.RequireExact(truth, predicted.shape);
        Shapes.RequireExact(obstacles, [predicted.size(0), -1, predicted.size(1), 2]);
        if (predicted.size(0) == 0 || predicted.size(1) == 0)
            throw new ArgumentException("There are no trajectories to score.", nameof(predicted));
        if (!(radius >= 0))
            throw new ArgumentException($"The radius must be 0 or above, but is {radius}.", nameof(radius));
        using var scope = NewDisposeScope();
        Tensor Exact(Tensor points) => points.detach().to(ScalarType.Float64);
        double[] distance = ClassificationMetrics.Flat<double>(
            (Exact(predicted) - Exact(truth)).square().sum([-1L]).sqrt().mean([0L])
        );
        var near = (Exact(predicted).unsqueeze(1) - Exact(obstacles)).square().sum([-1L]).sqrt().lt(radius);
        double collision = near.reshape(predicted.size(0), -1).any(1).to(ScalarType.Float64).mean().item<double>();
        return new(
            distance,
            [.. Enumerable.Range(1, distance.Length).Select(steps => distance.Take(steps).Average())],
            collision
        );
    }
}
