using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>
/// Some recorded cases hold gradients under a probe that is not the recorded one: their values match the recorded probe, their gradients no finite
/// difference of it. Still they say what the gradients are: with the Jacobian J of output by x, they are Jᵀ p for one p. It is solved for from the gradient
/// of x; that it explains the gradients of all other inputs, too, is then what is tested.
/// </summary>
internal static class AnotherProbe
{
    /// <summary>The mechanisms of such cases. Where a case's gradients fit the recorded probe, they are compared with it as ever.</summary>
    internal static IReadOnlySet<string> Mechanisms { get; } = new HashSet<string>(StringComparer.Ordinal) { "fca_stage" };

    private const double Fits = 1e-6; // far above float64's rounding, far below the difference that another probe makes

    /// <summary>The probe that a case's gradients were taken with, in float64: the recorded one where it fits.</summary>
    internal static Tensor Recover(GoldenCase golden, GoldenAdapter adapter)
    {
        var inputs = golden.Inputs.ToDictionary(
            pair => pair.Key,
            pair => pair.Value.is_floating_point() ? pair.Value.to(ScalarType.Float64) : pair.Value
        );
        var x = inputs["x"] = inputs["x"].detach().requires_grad_();
        var outputs = adapter(new GoldenInputs(inputs, golden.Parameters));
        var output = outputs["output"].reshape(-1);
        var wanted = golden.Gradients["x"].to(ScalarType.Float64).reshape(-1);
        var own = autograd.grad([outputs["loss"]], [x], retain_graph: true)[0].reshape(-1);
        if ((own - wanted).abs().max().item<double>() <= Fits * wanted.abs().max().item<double>())
            return inputs["probe"];
        var rows = Enumerable
            .Range(0, (int)output.numel())
            .Select(entry => autograd.grad([output[entry]], [x], retain_graph: true)[0].reshape(-1));
        return linalg.solve(stack([.. rows]).t(), wanted.unsqueeze(1)).reshape(inputs["probe"].shape);
    }
}
