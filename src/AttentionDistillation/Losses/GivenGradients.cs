using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Brings gradients that a loss has computed itself into autograd's graph.</summary>
internal static class GivenGradients
{
    /// <summary>A scalar whose value is <paramref name="value"/> and whose gradients are the given ones.</summary>
    /// <param name="value">A scalar without a graph.</param>
    /// <param name="gradients">Tensors of the graph and their gradients, equal in shape and dtype.</param>
    /// <remarks>
    /// A term that is linear in the tensors, with the gradients as factors, has these gradients; it is subtracted again from the value.
    /// </remarks>
    internal static Tensor Attach(Tensor value, ReadOnlySpan<(Tensor Tensor, Tensor Gradient)> gradients)
    {
        using var scope = NewDisposeScope();
        Tensor? linear = null;
        foreach (var (tensor, gradient) in gradients)
        {
            if (!tensor.requires_grad)
                continue;
            var product = Inner(tensor, gradient.to(tensor.dtype)).to(value.dtype);
            linear = linear is null ? product : linear + product;
        }
        return (linear is null ? value.alias() : value + (linear - linear.detach())).MoveToOuterDisposeScope();
    }

    // The inner product in one kernel where both lie in memory in the same order, as [B, H, L, D] or as the [B, L, H, D] of projections.
    private static Tensor Inner(Tensor tensor, Tensor gradient)
    {
        bool fits = tensor.numel() <= int.MaxValue && tensor.dtype != ScalarType.Float16;
        if (fits && tensor.is_contiguous() && gradient.is_contiguous())
            return tensor.view(-1).dot(gradient.view(-1));
        if (fits && tensor.dim() == 4)
        {
            var (tokens, tokenGradients) = (tensor.transpose(1, 2), gradient.transpose(1, 2));
            if (tokens.is_contiguous() && tokenGradients.is_contiguous())
                return tokens.view(-1).dot(tokenGradients.view(-1));
        }
        return (tensor * gradient).sum(type: tensor.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32);
    }
}
