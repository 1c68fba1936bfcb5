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
        bool needsGraph = is_grad_enabled() && (a.requires_grad || b.requires_grad || weight.requires_grad || bias.requires_grad);
        return needsGraph
            ? Node.apply(a, b, weight, bias, epsilon)
            : ResidualNormKernels.Forward(a, b, weight, bias, epsilon, forTraining: false).Output;
    }

    private sealed class Node : autograd.SingleTensorFunction<Node>
    {
        public override string Name => nameof(ResidualLayerNorm);

        public override Tensor forward(autograd.AutogradContext context, params object[] arguments)
        {
            var weight = (Tensor)arguments[2];
            var (output, sum, mean, scale) = ResidualNormKernels.Forward(
                (Tensor)arguments[0],
                (Tensor)arguments[1],
                weight,
                (Tensor)arguments[3],
                (double)arguments[4],
                forTraining: true
            );
            context.save_for_backward([sum!, mean!, scale!, weight]);
            return output;
        }

        public override List<Tensor> backward(autograd.AutogradContext context, Tensor gradient)
        {
            var saved = context.get_saved_variables();
            var (ofSum, ofWeight, ofBias) = ResidualNormKernels.Backward(gradient, saved[0], saved[1], saved[2], saved[3]);
            return [ofSum, ofSum.alias(), ofWeight, ofBias, null!];
        }
    }
}
