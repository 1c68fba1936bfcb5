using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Images;

/// <summary>A rectangle of pixels: rows <paramref name="Top"/> to <paramref name="Bottom"/> and columns <paramref name="Left"/> to <paramref name="Right"/>, ends excluded.</summary>
public readonly record struct PixelBox(int Top, int Bottom, int Left, int Right);

/// <summary>
/// Mixes a batch of images with itself in reverse order, and their labels alike: Mixup (Zhang et al. 2018) blends whole images, CutMix (Yun et al. 2019)
/// pastes a box. Labels become distributions, smoothed: ε / C everywhere and 1 - ε more at the label.
/// </summary>
public static class ImageMixing
{
    /// <summary>Images λ x + (1 - λ) x' and targets alike, x' being the batch in reverse order.</summary>
    /// <param name="images">[B, channels, H, W].</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">C.</param>
    /// <param name="share">λ, the share that an image keeps, 0 to 1.</param>
    /// <param name="smoothing">ε, 0 to 1.</param>
    /// <returns>Images [B, channels, H, W] and targets [B, C].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a share is not between 0 and 1.</exception>
    public static (Tensor Images, Tensor Targets) Mixup(Tensor images, Tensor labels, int classes, double share, double smoothing)
    {
        Check(images, labels, share, smoothing);
        using var scope = NewDisposeScope();
        var mixed = images * share + images.flip(0) * (1 - share);
        return (
            mixed.MoveToOuterDisposeScope(),
            Targets(labels, classes, share, smoothing, images.dtype).MoveToOuterDisposeScope()
        );
    }

    /// <summary>Images with a box of the reversed batch pasted in; λ of the targets is the share of pixels that stay.</summary>
    /// <param name="images">[B, channels, H, W].</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">C.</param>
    /// <param name="box">The box, within the images.</param>
    /// <param name="smoothing">ε, 0 to 1.</param>
    /// <returns>Images [B, channels, H, W] and targets [B, C].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the box lies outside.</exception>
    public static (Tensor Images, Tensor Targets) CutMix(
        Tensor images,
        Tensor labels,
        int classes,
        PixelBox box,
        double smoothing
    )
    {
        Check(images, labels, 1, smoothing);
        long height = images.size(2),
            width = images.size(3);
        if (
            box.Top < 0
            || box.Left < 0
            || box.Bottom > height
            || box.Right > width
            || box.Top > box.Bottom
            || box.Left > box.Right
        )
            throw new ArgumentException($"{box} does not lie in images of {height} x {width}.", nameof(box));
        using var scope = NewDisposeScope();
        var mixed = images.clone();
        var from = images.flip(0);
        int rows = box.Bottom - box.Top,
            columns = box.Right - box.Left;
        if (rows > 0 && columns > 0)
            mixed
                .narrow(2, box.Top, rows)
                .narrow(3, box.Left, columns)
                .copy_(from.narrow(2, box.Top, rows).narrow(3, box.Left, columns));
        double share = 1 - (double)rows * columns / (height * width);
        return (
            mixed.MoveToOuterDisposeScope(),
            Targets(labels, classes, share, smoothing, images.dtype).MoveToOuterDisposeScope()
        );
    }

    /// <summary>
    /// Mixup or, with a chance, CutMix, both drawn from a seed: λ of Mixup from Beta(a, a), the box's size of CutMix from λ of Beta(b, b) at a uniform
    /// centre, cut at the border (the values of DeiT-LT's runs: a = 0.8, b = 1, chance ½).
    /// </summary>
    /// <param name="images">[B, channels, H, W].</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">C.</param>
    /// <param name="smoothing">ε.</param>
    /// <param name="seed">Seed of the draws, for example of a step.</param>
    /// <param name="mixupAlpha">a, above 0.</param>
    /// <param name="cutMixAlpha">b, above 0.</param>
    /// <param name="cutMixChance">0 to 1.</param>
    /// <returns>Images [B, channels, H, W] and targets [B, C].</returns>
    public static (Tensor Images, Tensor Targets) Draw(
        Tensor images,
        Tensor labels,
        int classes,
        double smoothing,
        long seed,
        double mixupAlpha = 0.8,
        double cutMixAlpha = 1,
        double cutMixChance = 0.5
    )
    {
        Shapes.Require(images, "[B, C, H, W]");
        var random = SplitMix.At(seed, 0);
        if (random.NextDouble() >= cutMixChance)
            return Mixup(images, labels, classes, Beta(ref random, mixupAlpha), smoothing);
        double side = Math.Sqrt(1 - Beta(ref random, cutMixAlpha));
        int height = (int)images.size(2),
            width = (int)images.size(3);
        int y = random.NextInt(height),
            x = random.NextInt(width),
            halfHeight = (int)(height * side) / 2,
            halfWidth = (int)(width * side) / 2;
        var box = new PixelBox(
            Math.Max(0, y - halfHeight),
            Math.Min(height, y + halfHeight),
            Math.Max(0, x - halfWidth),
            Math.Min(width, x + halfWidth)
        );
        return CutMix(images, labels, classes, box, smoothing);
    }

    private static Tensor Targets(Tensor labels, int classes, double share, double smoothing, ScalarType type)
    {
        var own = nn.functional.one_hot(labels, classes).to(type) * (1 - smoothing) + smoothing / classes;
        return own * share + own.flip(0) * (1 - share);
    }

    /// <summary>A draw from Beta(a, a) as the share of two Gamma(a) draws (Marsaglia and Tsang 2000).</summary>
    private static double Beta(ref SplitMix random, double alpha)
    {
        if (!(alpha > 0))
            throw new ArgumentException($"A Beta distribution's parameter must be above 0, but is {alpha}.");
        double first = Gamma(ref random, alpha),
            second = Gamma(ref random, alpha);
        return first + second > 0 ? first / (first + second) : 0.5;
    }

    private static double Gamma(ref SplitMix random, double shape)
    {
        if (shape < 1)
            return Gamma(ref random, shape + 1) * Math.Pow(1 - random.NextDouble(), 1 / shape);
        double d = shape - 1.0 / 3,
            c = 1 / Math.Sqrt(9 * d);
        while (true)
        {
            double normal = random.NextNormals().First,
                root = 1 + c * normal;
            if (root <= 0)
                continue;
            double cubed = root * root * root;
            if (Math.Log(1 - random.NextDouble()) < 0.5 * normal * normal + d - d * cubed + d * Math.Log(cubed))
                return d * cubed;
        }
    }

    private static void Check(Tensor images, Tensor labels, double share, double smoothing)
    {
        Shapes.Require(images, "[B, C, H, W]");
        Shapes.RequireExact(labels, [images.size(0)]);
        if (!(share >= 0 && share <= 1))
            throw new ArgumentException($"The share that an image keeps is {share}. It must be between 0 and 1.", nameof(share));
        if (!(smoothing >= 0 && smoothing <= 1))
            throw new ArgumentException($"The smoothing is {smoothing}. It must be between 0 and 1.", nameof(smoothing));
    }
}
