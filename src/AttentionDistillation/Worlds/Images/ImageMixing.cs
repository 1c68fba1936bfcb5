using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Images;

/// <summary>A rectangle of pixels, the ends not included.</summary>
/// <param name="Top">First row.</param>
/// <param name="Bottom">Row after the last.</param>
/// <param name="Left">First column.</param>
/// <param name="Right">Column after the last.</param>
public readonly record struct PixelBox(int Top, int Bottom, int Left, int Right)
{
    /// <summary>Pixels inside.</summary>
    public long Area => (long)Math.Max(0, Bottom - Top) * Math.Max(0, Right - Left);

    /// <summary>CutMix's box: sides int(side sqrt(1 - λ)) around a centre, cut at the edges.</summary>
    /// <param name="lambda">λ, between 0 and 1: the share of the image that is to stay.</param>
    /// <param name="y">Row of the centre.</param>
    /// <param name="x">Column of the centre.</param>
    /// <param name="height">Of the image.</param>
    /// <param name="width">Of the image.</param>
    /// <exception cref="ArgumentException">λ is out of range, or the centre is not in the image.</exception>
    public static PixelBox Around(double lambda, int y, int x, int height, int width)
    {
        if (lambda is not (>= 0 and <= 1))
            throw new ArgumentException($"Lambda must be between 0 and 1, but is {lambda}.", nameof(lambda));
        if (y < 0 || y >= height || x < 0 || x >= width)
            throw new ArgumentException($"The centre ({y}, {x}) is not in an image of {height} x {width}.");
        double side = Math.Sqrt(1 - lambda);
        int tall = (int)(height * side),
            wide = (int)(width * side);
        return new(
            Math.Clamp(y - tall / 2, 0, height),
            Math.Clamp(y + tall / 2, 0, height),
            Math.Clamp(x - wide / 2, 0, width),
            Math.Clamp(x + wide / 2, 0, width)
        );
    }

    /// <summary>The share of an image's pixels outside the box: λ of a CutMix with it.</summary>
    /// <param name="height">Of the image.</param>
    /// <param name="width">Of the image.</param>
    /// <exception cref="ArgumentException">The box does not lie inside the image.</exception>
    public double ShareOutside(long height, long width)
    {
        if (Top < 0 || Left < 0 || Bottom > height || Right > width || Bottom < Top || Right < Left)
            throw new ArgumentException($"{this} does not lie inside images of {height} x {width}.");
        return 1 - Area / (double)(height * width);
    }
}

/// <summary>
/// Mixup (Zhang et al. 2018, arXiv 1710.09412) and CutMix (Yun et al. 2019, arXiv 1905.04899) of a batch with its own reverse, with smoothed targets mixed
/// alike.
/// </summary>
public static class ImageMixing
{
    /// <summary>λ image + (1 - λ) of the image as far from the end of the batch.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">V.</param>
    /// <param name="lambda">λ between 0 and 1.</param>
    /// <param name="smoothing">Label smoothing: spread over all classes alike.</param>
    /// <returns>Images like those given, targets [B, V] in their type.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a number is out of range.</exception>
    public static (Tensor Images, Tensor Targets) Mixup(
        Tensor images,
        Tensor labels,
        int classes,
        double lambda,
        double smoothing = 0.1
    )
    {
        Shapes.Require(images, "[B, channels, height, width]");
        using var scope = NewDisposeScope();
        var mixed = images * lambda + images.flip(0) * (1 - lambda);
        return (mixed.MoveToOuterDisposeScope(), Mixed(images, labels, classes, lambda, smoothing).MoveToOuterDisposeScope());
    }

    /// <summary>Pastes a box of the image as far from the end of the batch; λ is the share of pixels left.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">V.</param>
    /// <param name="box">Where, inside the image.</param>
    /// <param name="smoothing">Label smoothing: spread over all classes alike.</param>
    /// <returns>Images like those given, targets [B, V] in their type.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, the box leaves the image, or a number is out of range.</exception>
    public static (Tensor Images, Tensor Targets) CutMix(
        Tensor images,
        Tensor labels,
        int classes,
        PixelBox box,
        double smoothing = 0.1
    )
    {
        Shapes.Require(images, "[B, channels, height, width]");
        var (height, width) = (images.size(2), images.size(3));
        double lambda = box.ShareOutside(height, width);
        using var scope = NewDisposeScope();
        var mixed = images.clone();
        if (box.Area > 0)
            mixed
                .narrow(2, box.Top, box.Bottom - box.Top)
                .narrow(3, box.Left, box.Right - box.Left)
                .copy_(images.flip(0).narrow(2, box.Top, box.Bottom - box.Top).narrow(3, box.Left, box.Right - box.Left));
        return (mixed.MoveToOuterDisposeScope(), Mixed(images, labels, classes, lambda, smoothing).MoveToOuterDisposeScope());
    }

    /// <summary>DeiT's mixing: with probability ½ mixup with λ ~ Beta(0.8, 0.8), otherwise CutMix with λ ~ Beta(1, 1) and a random place.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">V.</param>
    /// <param name="random">The draws.</param>
    /// <param name="smoothing">Label smoothing.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or a number is out of range.</exception>
    public static (Tensor Images, Tensor Targets) Draw(
        Tensor images,
        Tensor labels,
        int classes,
        Random random,
        double smoothing = 0.1
    )
    {
        ArgumentNullException.ThrowIfNull(random);
        Shapes.Require(images, "[B, channels, height, width]");
        if (random.NextDouble() < 0.5)
            return Mixup(images, labels, classes, Beta(random, MixupShape), smoothing);
        return CutMix(
            images,
            labels,
            classes,
            DrawBox(random, Beta(random, 1), (int)images.size(2), (int)images.size(3)),
            smoothing
        );
    }

    /// <summary>A box of the share 1 - λ of the area around a random centre, cut at the edges.</summary>
    /// <param name="random">The draws.</param>
    /// <param name="lambda">λ between 0 and 1.</param>
    /// <param name="height">Of the images.</param>
    /// <param name="width">Of the images.</param>
    public static PixelBox DrawBox(Random random, double lambda, int height, int width)
    {
        ArgumentNullException.ThrowIfNull(random);
        int y = random.Next(height),
            x = random.Next(width);
        return PixelBox.Around(lambda, y, x, height, width);
    }

    /// <summary>One-hot targets smoothed over all classes (<see cref="SoftLabels.Smoothed"/>).</summary>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">V.</param>
    /// <param name="smoothing">s between 0 and 1.</param>
    /// <param name="type">Type of the targets.</param>
    /// <returns>[B, V].</returns>
    /// <exception cref="ArgumentException">s is out of range.</exception>
    public static Tensor Smoothed(Tensor labels, int classes, double smoothing, ScalarType type = ScalarType.Float32) =>
        SoftLabels.Smoothed(labels, classes, smoothing, type);

    internal const double MixupShape = 0.8;

    private static Tensor Mixed(Tensor images, Tensor labels, int classes, double lambda, double smoothing)
    {
        Shapes.RequireExact(labels, [images.size(0)]);
        if (lambda is not (>= 0 and <= 1))
            throw new ArgumentException($"Lambda must be between 0 and 1, but is {lambda}.", nameof(lambda));
        var targets = Smoothed(labels, classes, smoothing, images.dtype);
        return targets * lambda + targets.flip(0) * (1 - lambda);
    }

    // Jöhnk's method for Beta(a, a): powers of two uniform draws, kept when their sum is at most 1.
    internal static double Beta(Random random, double shape)
    {
        while (true)
        {
            double first = Math.Pow(random.NextDouble(), 1 / shape),
                second = Math.Pow(random.NextDouble(), 1 / shape);
            if (first + second is > 0 and <= 1)
                return first / (first + second);
        }
    }
}
