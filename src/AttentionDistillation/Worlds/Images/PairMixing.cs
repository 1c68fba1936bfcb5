using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Images;

/// <summary>How the two images of a pair are mixed.</summary>
/// <param name="Lambda">λ, the share of the own image; of a CutMix the share that its box leaves.</param>
/// <param name="Box">The box that CutMix swaps; null for Mixup.</param>
public readonly record struct PairMix(double Lambda, PixelBox? Box = null);

/// <summary>
/// Mixing that can be replayed: images 2j and 2j + 1 of a batch are mixed with each other, by draws of a seed that is the XOR of their own (Wu et al.,
/// "TinyViT", 2022, section 3; their code, mixup.py). A pair thus comes again from two records, whatever else is in the batch.
/// </summary>
/// <remarks>
/// The published code pairs the targets with the reversed batch instead of the neighbour, where they only feed a meter; here targets follow the images.
/// The published distillation on ImageNet-22k does not mix; mixing is of training from nothing on ImageNet-1k.
/// </remarks>
public static class PairMixing
{
    /// <summary>The seeds of the pairs: XOR of the two images' seeds.</summary>
    /// <param name="seeds">int64 [B], B even.</param>
    /// <returns>int64 [B / 2].</returns>
    /// <exception cref="ArgumentException">B is odd.</exception>
    public static Tensor Seeds(Tensor seeds)
    {
        Shapes.Require(seeds, "[B]");
        RequireEven(seeds.size(0));
        using var scope = NewDisposeScope();
        var pairs = seeds.to(ScalarType.Int64).view(-1, 2);
        return pairs.select(1, 0).bitwise_xor(pairs.select(1, 1)).MoveToOuterDisposeScope();
    }

    /// <summary>The mixing of a pair: with probability ½ CutMix with λ ~ Beta(1, 1) and a random place, otherwise Mixup with λ ~ Beta(0.8, 0.8).</summary>
    /// <param name="pairSeed">31 bits (see <see cref="Seeds"/>); decides everything.</param>
    /// <param name="height">Of the images.</param>
    /// <param name="width">Of the images.</param>
    /// <exception cref="ArgumentOutOfRangeException">The seed has more than 31 bits.</exception>
    public static PairMix Draw(long pairSeed, int height, int width)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(pairSeed);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pairSeed, int.MaxValue);
        var random = new Random((int)pairSeed);
        if (random.NextDouble() >= 0.5)
            return new(ImageMixing.Beta(random, ImageMixing.MixupShape));
        var box = ImageMixing.DrawBox(random, ImageMixing.Beta(random, 1), height, width);
        return new(box.ShareOutside(height, width), box);
    }

    /// <summary>Mixes a batch pair by pair, each pair by the draws of its seed.</summary>
    /// <param name="images">[B, channels, height, width], B even.</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">V.</param>
    /// <param name="seeds">int64 [B], 31 bits: the images' own.</param>
    /// <param name="smoothing">Label smoothing: spread over all classes alike.</param>
    /// <returns>Images like those given; targets [B, V] and the own image's share λ [B] in their type.</returns>
    /// <exception cref="ArgumentException">B is odd, or shapes do not fit.</exception>
    public static (Tensor Images, Tensor Targets, Tensor Lambdas) Draw(
        Tensor images,
        Tensor labels,
        int classes,
        Tensor seeds,
        double smoothing = 0.1
    )
    {
        Shapes.Require(images, "[B, channels, height, width]");
        Shapes.RequireExact(seeds, [images.size(0)]);
        using var ofPairs = Seeds(seeds);
        PairMix[] mixes = [.. ofPairs.cpu().data<long>().Select(seed => Draw(seed, (int)images.size(2), (int)images.size(3)))];
        return Mix(images, labels, classes, mixes, smoothing);
    }

    /// <summary>Mixes a batch pair by pair: λ own + (1 - λ) partner, or the same box swapped both ways; targets λ own + (1 - λ) partner.</summary>
    /// <param name="images">[B, channels, height, width], B even.</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="classes">V.</param>
    /// <param name="mixes">B / 2 mixings, that of images 2j and 2j + 1 at j; λ of a CutMix is taken from its box.</param>
    /// <param name="smoothing">Label smoothing: spread over all classes alike.</param>
    /// <returns>Images like those given; targets [B, V] and the own image's share λ [B] in their type.</returns>
    /// <exception cref="ArgumentException">B is odd, shapes do not fit, a box leaves the images, or λ is out of range.</exception>
    public static (Tensor Images, Tensor Targets, Tensor Lambdas) Mix(
        Tensor images,
        Tensor labels,
        int classes,
        IReadOnlyList<PairMix> mixes,
        double smoothing = 0.1
    )
    {
        Shapes.Require(images, "[B, channels, height, width]");
        Shapes.RequireExact(labels, [images.size(0)]);
        ArgumentNullException.ThrowIfNull(mixes);
        RequireEven(images.size(0));
        if (mixes.Count * 2 != images.size(0))
            throw new ArgumentException(
                $"There are {mixes.Count} mixings for {images.size(0)} images. Give one a pair.",
                nameof(mixes)
            );
        using var scope = NewDisposeScope();
        double[] lambdas = Lambdas(mixes, images.size(2), images.size(3));
        // The own image's weight at every pixel.
        var own = tensor(lambdas.SelectMany(lambda => new[] { lambda, lambda }).ToArray(), images.dtype);
        var weights = own.view(-1, 1, 1, 1).repeat(1, 1, images.size(2), images.size(3));
        for (int pair = 0; pair < mixes.Count; pair++)
            if (mixes[pair].Box is { } box)
            {
                var ofPair = weights.narrow(0, 2 * pair, 2).fill_(1);
                ofPair.narrow(2, box.Top, box.Bottom - box.Top).narrow(3, box.Left, box.Right - box.Left).fill_(0);
            }
        (weights, own) = (weights.to(images.device), own.to(images.device));
        var mixed = images * weights + Partners(images) * (1 - weights);
        var targets = ImageMixing.Smoothed(labels, classes, smoothing, images.dtype);
        var share = own.view(-1, 1);
        return (
            mixed.MoveToOuterDisposeScope(),
            (targets * share + Partners(targets) * (1 - share)).MoveToOuterDisposeScope(),
            own.MoveToOuterDisposeScope()
        );
    }

    private static double[] Lambdas(IReadOnlyList<PairMix> mixes, long height, long width)
    {
        double[] lambdas = [.. mixes.Select(mix => mix.Box is { } box ? box.ShareOutside(height, width) : mix.Lambda)];
        foreach (double lambda in lambdas)
            if (lambda is not (>= 0 and <= 1))
                throw new ArgumentException($"Lambda must be between 0 and 1, but is {lambda}.", nameof(mixes));
        return lambdas;
    }

    private static Tensor Partners(Tensor rows) => rows.unflatten(0, -1, 2).flip(1).flatten(0, 1);

    private static void RequireEven(long batch)
    {
        if (batch < 2 || batch % 2 != 0)
            throw new ArgumentException(
                $"Pairs are mixed within the batch, so its size must be even, but it is {batch}. Take an even batch size, and leave out what is over at the end of an epoch."
            );
    }
}
