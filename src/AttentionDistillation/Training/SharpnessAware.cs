using AttentionDistillation.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412, Algorithm 1): the gradient is taken where the loss is highest nearby,
/// at w + ρ g / (‖g‖ + 1e-12) over all parameters together, and the step is made from w.
/// </summary>
public static class SharpnessAware
{
    /// <summary>The radius of the paper's main experiments.</summary>
    public const double DefaultRadius = 0.05;

    private const double Epsilon = 1e-12;

    /// <summary>
    /// Leaves in the parameters the gradients of the perturbed loss, with the weights as they were; an optimiser's step may follow. The loss is computed twice:
    /// batch norm sees the batch twice, unless the caller freezes it in the second call.
    /// </summary>
    /// <param name="parameters">The parameters; those that get no gradient stay.</param>
    /// <param name="loss">The loss of the present weights, a scalar with a graph; its argument is true in the second, perturbed call.</param>
    /// <param name="radius">ρ, 0 or more.</param>
    /// <returns>The loss at the weights and at the perturbed ones, scalars without a graph.</returns>
    /// <exception cref="ArgumentException">The radius is negative, or there are no parameters.</exception>
    public static (Tensor Here, Tensor Perturbed) Gradients(
        IReadOnlyList<Parameter> parameters,
        Func<bool, Tensor> loss,
        double radius = DefaultRadius
    )
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(loss);
        if (parameters.Count == 0 || !(radius >= 0))
            throw new ArgumentException(
                $"Sharpness-aware minimisation needs parameters and a radius of 0 or more, but was given {parameters.Count} and {radius}."
            );
        using var scope = NewDisposeScope();
        Clear(parameters);
        var here = loss(false);
        DifferentiableOperator.Backward(here);
        var moved = parameters.Where(parameter => parameter.grad is not null).ToArray();
        if (moved.Length == 0)
            throw new ArgumentException("No parameter has a gradient: does the loss depend on them?", nameof(loss));
        Tensor[] before;
        using (no_grad())
        {
            before = [.. moved.Select(parameter => parameter.detach().clone())];
            var norm = stack(moved.Select(parameter => parameter.grad!.norm()).ToArray()).norm();
            var factor = radius / (norm + Epsilon);
            foreach (var parameter in moved)
                parameter.add_(parameter.grad! * factor);
        }
        Clear(parameters);
        Tensor perturbed;
        try
        {
            perturbed = loss(true);
            DifferentiableOperator.Backward(perturbed);
        }
        finally
        {
            using (no_grad())
                for (int index = 0; index < moved.Length; index++)
                    moved[index].copy_(before[index]);
        }
        return (here.detach().MoveToOuterDisposeScope(), perturbed.detach().MoveToOuterDisposeScope());
    }

    private static void Clear(IReadOnlyList<Parameter> parameters)
    {
        foreach (var parameter in parameters)
            if (parameter.grad is not null)
                parameter.grad = null;
    }
}
