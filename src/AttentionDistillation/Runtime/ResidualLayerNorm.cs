using AttentionDistillation.Runtime.Cuda;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Runtime;

/// <summary>
/// Layer normalisation of a sum, LayerNorm(a + b), the step that closes every block of a post-norm Transformer. On CUDA it is one pass over
/// memory where addition and normalisation take two; elsewhere it is those two operators.
/// </summary>
/// <remarks>Ba et al., "Layer Normalization", 2016, equation 4; the sum is rounded to its dtype first, so both ways agree.</remarks>
public static class ResidualLayerNorm
{
    /// <summary>LayerNorm(a + b) over the last axis.</summary>
    /// <param name="a">[..., C].</param>
    /// <param name="b">Same shape and dtype.</param>
    /// <param name="weight">[C].</param>
    /// <param name="bias">[C].</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <returns>[..., C], differentiable in all four tensors.</returns>
    /// <exception cref="ArgumentException">The shapes differ.</exception>
    public static Tensor Apply(Tensor a, Tensor b, Tensor weight, Tensor bias, double epsilon)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        if (!a.shape.SequenceEqual(b.shape))
            throw new ArgumentException(
                $"Both summands must have one shape, but have [{string.Join(", ", a.shape)}] and [{string.Join(", ", b.shape)}]."
            );
        if (!ResidualNormKernels.Serve(a, b, weight, bias))
        {
            using var scope = NewDisposeScope();
            return nn.functional.layer_norm(a + b, [a.shape[^1]], weight, bias, epsilon).MoveToOuterDisposeScope();
        }
        return Kernel.Apply(epsilon, a, b, weight, bias);
    }

    private sealed class Kernel : DifferentiableOperator<Kernel>
    {
        public override string Name => nameof(ResidualLayerNorm);

        internal static Tensor Apply(double epsilon, Tensor a, Tensor b, Tensor weight, Tensor bias) =>
            DifferentiableOperator<Kernel>.Apply(epsilon, a, b, weight, bias);

        protected override Tensor Forward(OperatorCall call)
        {
            var (a, b, weight, bias) = (call.Inputs[0]!, call.Inputs[1]!, call.Inputs[2]!, call.Inputs[3]!);
            var (output, sum, mean, scale) = ResidualNormKernels.Forward(a, b, weight, bias, (double)call.Settings!, call.Learns);
            call.Save(sum, mean, scale, weight);
            return output;
        }

        protected override Tensor?[] Backward(OperatorCall call, IReadOnlyList<Tensor?> saved, Tensor gradient)
        {
            var (ofSum, ofWeight, ofBias) = ResidualNormKernels.Backward(gradient, saved[0]!, saved[1]!, saved[2]!, saved[3]!);
            return [ofSum, ofSum, ofWeight, ofBias];
        }
    }
}
