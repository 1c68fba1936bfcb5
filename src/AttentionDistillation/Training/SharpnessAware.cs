using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// Sharpness-aware minimisation (Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization", algorithm 1): the gradient is
/// taken where the loss is highest nearby, w + ρ g / (‖g‖ + 10⁻¹²), over all parameters together, and the step is made from w by any optimiser.
/// </summary>
public static class SharpnessAware
{
    private const double Epsilon = 1e-12;

    /// <summary>
    /// Leaves the gradient at the perturbed weights in the parameters' <c>grad</c> and the weights as they were; step an optimiser afterwards.
    /// </summary>
    /// <param name="parameters">What is trained; gradients they hold are dropped.</param>
    /// <param name="loss">Computes the loss anew, twice; on the second call layers with running statistics (batch norm) count the batch again.</param>
    /// <param name="radius">ρ, 0 or above; 0 is plain training.</param>
    /// <returns>The loss at the weights and at the perturbed weights.</returns>
    /// <exception cref="ArgumentException">The radius is negative, or no parameter got a gradient.</exception>
    public static (double Here, double Perturbed) Gradients(
        IEnumerable<Parameter> parameters,
        Func<Tensor> loss,
        double radius = 0.05
    )
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(loss);
        if (!(radius >= 0))
            throw new ArgumentException($"The radius is {radius}. It must be 0 or above.", nameof(radius));
        Parameter[] trained = [.. parameters.Where(parameter => parameter.requires_grad)];
        double here = Backward(trained, loss);
        using var scope = NewDisposeScope();
        var moves = Moves(trained, radius);
        Tensor[] weights = [.. moves.Select(pair => pair.Parameter.detach().clone())];
        try
        {
            using (no_grad())
                foreach (var (parameter, move) in moves)
                    parameter.add_(move);
            return (here, Backward(trained, loss));
        }
        finally
        {
            // Back to the very same weights, whatever the loss threw; w + e - e would not be w.
            using (no_grad())
                for (int index = 0; index < weights.Length; index++)
                    moves[index].Parameter.copy_(weights[index]);
        }
    }

    private static List<(Parameter Parameter, Tensor Move)> Moves(Parameter[] trained, double radius)
    {
        using var noGradient = no_grad();
        var withGradient = trained.Where(parameter => parameter.grad is not null).ToArray();
        if (withGradient.Length == 0)
            throw new ArgumentException("No parameter got a gradient. Does the loss depend on them?", nameof(trained));
        double norm = Math.Sqrt(
            withGradient.Sum(parameter => parameter.grad!.to(ScalarType.Float64).square().sum().item<double>())
        );
        return [.. withGradient.Select(parameter => (parameter, parameter.grad! * (radius / (norm + Epsilon))))];
    }

    private static double Backward(Parameter[] trained, Func<Tensor> loss)
    {
        foreach (var parameter in trained)
            parameter.grad = null;
        using var scope = NewDisposeScope();
        var value = loss();
        value.backward();
        return value.detach().to(ScalarType.Float64).item<double>();
    }
}
