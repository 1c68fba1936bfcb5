using System.Globalization;
using System.Runtime.InteropServices;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Images;

/// <summary>
/// Augmented images that come again exactly: the augmentation of an image in an epoch is drawn from one seed of 31 bits, a function of image and epoch. A
/// teacher labels the epochs once (<see cref="Epoch"/>), students train on its stored labels later (<see cref="Training"/>), in any order of images.
/// </summary>
/// <remarks>Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", 2022, section 3.</remarks>
public sealed class ImageReplay
{
    /// <summary>The name of the teacher's kept probabilities in a batch, float32 [B, K]; a training in bfloat16 rounds them to its 8 bits.</summary>
    public const string SoftValues = "soft_values";

    /// <summary>The name of their class numbers, int64 [B, K].</summary>
    public const string SoftClasses = "soft_classes";

    /// <summary>The name of the augmentation's seeds, int64 [B].</summary>
    public const string AugmentationSeed = "augmentation_seed";

    /// <summary>The name of the checksums of the augmented images, int64 [B].</summary>
    public const string ImageChecksum = "image_checksum";

    private readonly ImageSet images;
    private readonly ImageAugmentation augmentation;
    private readonly long seed;

    /// <summary>Describes a replay; nothing is made yet.</summary>
    /// <param name="images">The images.</param>
    /// <param name="augmentation">How they are changed.</param>
    /// <param name="seed">Where the augmentations' seeds come from.</param>
    /// <exception cref="ArgumentException">A number of the augmentation is out of its range.</exception>
    public ImageReplay(ImageSet images, ImageAugmentation augmentation, long seed)
    {
        ArgumentNullException.ThrowIfNull(images);
        ArgumentNullException.ThrowIfNull(augmentation);
        augmentation.Validate(images.Size);
        (this.images, this.augmentation, this.seed) = (images, augmentation, seed);
        Pipeline = string.Create(
            CultureInfo.InvariantCulture,
            $"{images.Count} images [{images.Channels}, {images.Size}, {images.Size}] of checksum {images.Checksum():x8}; {augmentation.Description}"
        );
    }

    /// <summary>The images and their augmentation in words, with a checksum of the images: what stored labels belong to.</summary>
    public string Pipeline { get; }

    /// <summary>The seed of an image's augmentation in an epoch, 31 bits.</summary>
    /// <param name="image">The image's number.</param>
    /// <param name="epoch">The epoch, from 0.</param>
    public int SeedOf(int image, int epoch) => SeedOf(seed, image, epoch);

    /// <summary>All images of an epoch in the order of their numbers, as the teacher sees them: with labels, index, augmentation_seed and image_checksum.</summary>
    /// <param name="epoch">The epoch, from 0.</param>
    /// <param name="batchSize">B; the last batch may be smaller.</param>
    public EvaluationSource Epoch(int epoch, int batchSize)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(epoch);
        return EvaluationSource.InOrder(
            images.Count,
            batchSize,
            chosen => Make(chosen, [.. chosen.Select(image => (long)SeedOf(image, epoch))])
        );
    }

    /// <summary>
    /// Training batches: every epoch a new order, each image with the augmentation and the label of its record. Without a store, the same images in the same
    /// order, by their labels alone.
    /// </summary>
    /// <param name="store">The teacher's labels; null for none.</param>
    /// <param name="seed">Seed of the order.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="redrawn">
    /// For the ablation in which images and labels do not belong together: augmentations are drawn anew from this seed, and not checked. Null: replayed.
    /// </param>
    /// <returns>Batches with pixel_values, labels, index, augmentation_seed and, from a store, soft_values and soft_classes.</returns>
    /// <exception cref="ArgumentException">The store's labels belong to other images or another augmentation; the message says what differs.</exception>
    /// <remarks>A batch whose images are not those that the teacher saw, or whose records are damaged or missing, is refused when it is asked for.</remarks>
    public IBatchSource Training(SparseLabelStore? store, long seed, int batchSize, long? redrawn = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        if (store is not null && store.Description.Images != images.Count)
            throw new ArgumentException(
                $"'{store.Folder}' holds labels of {store.Description.Images} images, but there are {images.Count}. Label these images."
            );
        if (store is not null && store.Description.Pipeline != Pipeline)
            throw new ArgumentException(
                $"The labels of '{store.Folder}' belong to other images or another augmentation: '{store.Description.Pipeline}', not '{Pipeline}'. Train with what the teacher saw, or run it again."
            );
        return new Source(this, store, new EpochOrder(images.Count, Seeds.Derive(seed, "images")), batchSize, redrawn);
    }

    private static int SeedOf(long seed, int image, int epoch) =>
        (int)(SplitMix.At(seed, ((long)epoch << 32) | (uint)image).Next() >> 33);

    /// <summary>Augments images, each from its seed.</summary>
    private Batch Make(int[] chosen, long[] seeds)
    {
        int length = images.Channels * images.Area;
        float[] pixels = new float[chosen.Length * length];
        long[] checksums = new long[chosen.Length];
        ImageBatches.ForEachRow(
            chosen.Length,
            isLight: false, // checksums are computed
            row =>
            {
                var image = pixels.AsSpan(row * length, length);
                augmentation.Apply(images.PixelsOf(chosen[row]), image, [], [], images.Channels, images.Size, seeds[row]);
                checksums[row] = Crc32C.Of(MemoryMarshal.AsBytes(image));
            }
        );
        return new Batch(
            ("pixel_values", tensor(pixels, chosen.Length, images.Channels, images.Size, images.Size)),
            ("labels", tensor(chosen.Select(index => (long)images.Labels[index]).ToArray())),
            ("index", tensor(chosen.Select(index => (long)index).ToArray())),
            (AugmentationSeed, tensor(seeds)),
            (ImageChecksum, tensor(checksums))
        );
    }

    private sealed class Source(ImageReplay replay, SparseLabelStore? store, EpochOrder order, int batchSize, long? redrawn)
        : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            int count = replay.images.Count;
            int[] chosen = new int[batchSize];
            var keys = new SparseLabelKey[batchSize];
            for (int row = 0; row < batchSize; row++)
            {
                long position = step * batchSize + row;
                chosen[row] = order.At(position);
                keys[row] = new(chosen[row], checked((int)(position / count)));
            }
            if (store is null)
                return replay.Make(chosen, [.. keys.Select(key => (long)SeedOf(redrawn ?? replay.seed, key.Image, key.Epoch))]);
            using var labels = store.Read(keys);
            long[] seeds = redrawn is { } other
                ? [.. keys.Select(key => (long)SeedOf(other, key.Image, key.Epoch))]
                : [.. labels.Seeds.data<long>()];
            var batch = replay.Make(chosen, seeds);
            if (redrawn is null)
                RequireSameImages(keys, labels, batch);
            batch[SoftValues] = labels.Values.clone();
            batch[SoftClasses] = labels.Indices.clone();
            return batch;
        }

        private static void RequireSameImages(SparseLabelKey[] keys, SparseLabels labels, Batch batch)
        {
            long[] wanted = [.. labels.ImageChecksums.data<long>()],
                made = [.. batch[ImageChecksum].data<long>()];
            int row = wanted.AsSpan().CommonPrefixLength(made);
            if (row == wanted.Length)
                return;
            batch.Dispose();
            throw new InvalidDataException(
                $"Image {keys[row].Image} of epoch {keys[row].Epoch} does not come out as the teacher saw it (checksum {made[row]:x8}, stored {wanted[row]:x8}): the augmentation has changed since, or this machine computes it otherwise. Run the teacher again."
            );
        }
    }
}
