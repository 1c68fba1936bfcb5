using System.Runtime.ExceptionServices;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Images;

/// <summary>Training batches of an <see cref="ImageSet"/>.</summary>
internal sealed class ImageBatches : IBatchSource
{
    /// <summary>
    /// How many threads make the images of a batch, for measurements and tests; the images are the same. Null, as ever outside of those, is all cores for files and
    /// for augmentations that compute, and one thread for what only moves pixels: in a training, threads cost more than they save there.
    /// </summary>
    internal static int? Workers { get; set; }

    private readonly ImageSet images;
    private readonly EpochOrder order;
    private readonly long[] augmentationSeeds;
    private readonly int batchSize;
    private readonly ImageAugmentation augmentation;
    private readonly int patch;
    private readonly bool isLight;

    public ImageBatches(ImageSet images, long seed, int batchSize, ImageAugmentation augmentation, int views, int patch)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        if (views is not (1 or 2))
            throw new ArgumentOutOfRangeException(nameof(views), views, "There are 1 or 2 views of an image.");
        augmentation.Validate(images.Size);
        images.RequirePatch(patch);
        this.images = images;
        this.batchSize = batchSize;
        this.augmentation = augmentation;
        this.patch = patch;
        isLight = images.IsInMemory && augmentation.OnlyMovesPixels;
        order = new EpochOrder(images.Count, Seeds.Derive(seed, "images"));
        augmentationSeeds =
        [
            .. Enumerable
                .Range(0, views)
                .Select(view => Seeds.Derive(seed, view == 0 ? "image augmentation" : "second view's augmentation")),
        ];
    }

    public Batch BatchAt(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        int[] chosen = new int[batchSize];
        for (int row = 0; row < batchSize; row++)
            chosen[row] = order.At(step * batchSize + row);
        long[] seeds = SeedsOf(0, step);
        var batch = Augmented(chosen, seeds, patch).Build();
        batch["augmentation_seed"] = tensor(seeds);
        if (augmentationSeeds.Length > 1)
            batch[ImageSet.SecondView] = Augmented(chosen, SeedsOf(1, step), 0).Pixels();
        return batch;
    }

    // Every image has a seed of its own, so that the threads' order changes nothing.
    private Builder Augmented(int[] chosen, long[] seeds, int patch)
    {
        var builder = new Builder(images, chosen, patch);
        ForEachRow(
            chosen.Length,
            isLight,
            row =>
                augmentation.Apply(
                    images.PixelsOf(chosen[row]),
                    builder.PixelsOf(row),
                    patch > 0 ? images.PartsOf(chosen[row]) : [],
                    builder.PartsOf(row),
                    images.Channels,
                    images.Size,
                    seeds[row]
                )
        );
        return builder;
    }

    /// <summary>Some images in order, as they are.</summary>
    public static Batch Plain(ImageSet images, int first, int count, int patch)
    {
        var builder = new Builder(images, [.. Enumerable.Range(first, count)], patch);
        ForEachRow(
            count,
            images.IsInMemory,
            row =>
            {
                images.PixelsOf(first + row).CopyTo(builder.PixelsOf(row));
                if (patch > 0)
                    images.PartsOf(first + row).CopyTo(builder.PartsOf(row));
            }
        );
        return builder.Build();
    }

    /// <summary>Makes every image of a batch, on several threads unless it is light work. The failure of an image is thrown as it is.</summary>
    internal static void ForEachRow(int count, bool isLight, Action<int> make)
    {
        try
        {
            Parallel.For(0, count, new ParallelOptions { MaxDegreeOfParallelism = Workers ?? (isLight ? 1 : -1) }, make);
        }
        catch (AggregateException failures)
        {
            ExceptionDispatchInfo.Throw(failures.InnerExceptions[0]);
        }
    }

    private long[] SeedsOf(int view, long step)
    {
        long[] seeds = new long[batchSize];
        for (int row = 0; row < batchSize; row++)
        {
            var random = SplitMix.At(augmentationSeeds[view], step * batchSize + row);
            seeds[row] = (long)(random.Next() >> 1);
        }
        return seeds;
    }

    /// <summary>Values of a batch before they are tensors.</summary>
    private sealed class Builder(ImageSet images, int[] chosen, int patch)
    {
        private readonly float[] pixels = new float[chosen.Length * images.Channels * images.Area];
        private readonly byte[] parts = new byte[patch > 0 ? chosen.Length * images.Area : 0];

        public Span<float> PixelsOf(int row) => pixels.AsSpan(row * images.Channels * images.Area, images.Channels * images.Area);

        public Span<byte> PartsOf(int row) => patch > 0 ? parts.AsSpan(row * images.Area, images.Area) : [];

        public Tensor Pixels() => tensor(pixels, chosen.Length, images.Channels, images.Size, images.Size);

        public Batch Build()
        {
            var batch = new Batch(
                ("pixel_values", Pixels()),
                ("labels", tensor(chosen.Select(index => (long)images.Labels[index]).ToArray())),
                ("index", tensor(chosen.Select(index => (long)index).ToArray()))
            );
            if (patch > 0)
                batch[ImageSet.PatchLabels] = tensor(Majorities(), chosen.Length, images.Area / (patch * patch));
            return batch;
        }

        /// <summary>The part that most pixels of each patch show; of equally many, the one with the highest number (the key's before others).</summary>
        private long[] Majorities()
        {
            int side = images.Size / patch;
            long[] result = new long[chosen.Length * side * side];
            Span<int> votes = stackalloc int[KeyObjects.PartNames.Count];
            for (int at = 0; at < result.Length; at++)
            {
                int row = at / (side * side),
                    top = at / side % side * patch,
                    left = at % side * patch;
                var seen = PartsOf(row);
                votes.Clear();
                for (int y = top; y < top + patch; y++)
                for (int x = left; x < left + patch; x++)
                    votes[seen[y * images.Size + x]]++;
                int best = 0;
                for (int part = 1; part < votes.Length; part++)
                    if (votes[part] >= votes[best])
                        best = part;
                result[at] = best;
            }
            return result;
        }
    }
}
