using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Masked-image modelling: patches of images as vectors, which of them are seen, and the reconstruction of those that are not.</summary>
/// <remarks>He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021, section 3.</remarks>
public static class MaskedImages
{
    private const double NormalisingEpsilon = 1e-6;

    /// <summary>The share of patches that the paper hides.</summary>
    public const double HiddenShare = 0.75;

    /// <summary>Images cut into patches, pixels of a patch row by row with their channels side by side, [B, N, patch² channels].</summary>
    /// <param name="images">[B, channels, height, width], sides multiples of the patch.</param>
    /// <param name="patch">Side of a patch.</param>
    /// <exception cref="ArgumentException">The patch does not divide the sides.</exception>
    public static Tensor Patches(Tensor images, long patch)
    {
        Shapes.Require(images, "[B, C, height, width]");
        if (patch < 1 || images.size(2) % patch != 0 || images.size(3) % patch != 0)
            throw new ArgumentException(
                $"A patch of {patch} does not divide images of {images.size(2)} x {images.size(3)}.",
                nameof(patch)
            );
        using var scope = NewDisposeScope();
        long rows = images.size(2) / patch,
            columns = images.size(3) / patch;
        return images
            .reshape(images.size(0), images.size(1), rows, patch, columns, patch)
            .permute(0, 2, 4, 3, 5, 1)
            .reshape(images.size(0), rows * columns, -1)
            .MoveToOuterDisposeScope();
    }

    /// <summary>Random places that are seen, each image its own, int64 [B, count], ascending.</summary>
    /// <param name="batch">B.</param>
    /// <param name="places">N.</param>
    /// <param name="count">How many are seen.</param>
    /// <param name="generator">Draws them (on the CPU).</param>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer places, or none is to be seen.</exception>
    public static Tensor RandomVisible(long batch, long places, long count, Generator generator)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, places);
        using var scope = NewDisposeScope();
        var order = rand(batch, places, dtype: ScalarType.Float64, generator: generator).argsort(1);
        return order.narrow(1, 0, count).sort(1).Values.MoveToOuterDisposeScope();
    }

    /// <summary>Mean squared error of the pixels of patches that were not seen.</summary>
    /// <param name="predicted">[B, N, patch² channels].</param>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="patch">Side of a patch.</param>
    /// <param name="visible">Places that were seen, int64 [B, M].</param>
    /// <param name="normalises">Whether the target of each patch is brought to mean 0 and deviation 1 (the paper's better form).</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or all patches were seen.</exception>
    public static Tensor ReconstructionLoss(Tensor predicted, Tensor images, long patch, Tensor visible, bool normalises = true)
    {
        using var scope = NewDisposeScope();
        var target = Patches(images, patch);
        Shapes.RequireExact(predicted, target.shape);
        long hidden = target.size(1) - visible.size(1);
        if (hidden < 1)
            throw new ArgumentException("All patches were seen, so there is nothing to reconstruct. Hide some.", nameof(visible));
        if (normalises)
            target = nn.functional.layer_norm(target, [target.size(2)], null, null, NormalisingEpsilon);
        var error = (predicted - target.detach()).square().mean([-1L]);
        var isHidden = ones_like(error).scatter(1, visible, zeros_like(error));
        return ((error * isHidden).sum() / (hidden * target.size(0))).MoveToOuterDisposeScope();
    }
}
