using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Images;

/// <summary>
/// Labelled square images [n, channels, S, S]: in memory, drawn (<see cref="KeyObjects"/>) or read (<see cref="ImageFiles"/>), or in files that are decoded
/// whenever an image is asked for (<see cref="ClassFolders"/>).
/// </summary>
/// <remarks>
/// Subsets share the images. Batches carry <c>pixel_values</c> float32 [B, channels, S, S], <c>labels</c> int64 [B] and <c>index</c> int64 [B], the
/// image's number in this set; training batches also <c>augmentation_seed</c> int64 [B], with which <see cref="Augmented"/> repeats an image exactly.
/// </remarks>
public sealed class ImageSet
{
    /// <summary>The name of the second view's images in a batch, float32 [B, channels, S, S].</summary>
    public const string SecondView = "second_view";

    /// <summary>The name of the per-patch labels in a batch, int64 [B, patches], patches row by row.</summary>
    public const string PatchLabels = "patch_labels";

    private readonly Pixels pixels;
    private readonly byte[]? parts;
    private readonly KeyPlace[]? keys;
    private readonly int[] rows;
    private readonly int[] labels;
    private readonly int[] trueLabels;

    internal ImageSet(
        float[] pixels,
        int[] labels,
        IReadOnlyList<string> classNames,
        int channels,
        int size,
        byte[]? parts = null,
        KeyPlace[]? keys = null
    )
        : this(
            new Pixels(pixels, null, null),
            classNames,
            channels,
            size,
            parts,
            keys,
            [.. Enumerable.Range(0, labels.Length)],
            labels,
            labels
        ) { }

    /// <summary>
    /// Images that are decoded when they are asked for, by several threads at a time: <c>decode</c> makes an image [channels, S, S] by its number, <c>describe</c> says
    /// what decides its pixels.
    /// </summary>
    internal ImageSet(
        Func<int, float[]> decode,
        Func<int, string> describe,
        int[] labels,
        IReadOnlyList<string> classNames,
        int channels,
        int size
    )
        : this(
            new Pixels(null, decode, describe),
            classNames,
            channels,
            size,
            null,
            null,
            [.. Enumerable.Range(0, labels.Length)],
            labels,
            labels
        ) { }

    private ImageSet(
        Pixels pixels,
        IReadOnlyList<string> classNames,
        int channels,
        int size,
        byte[]? parts,
        KeyPlace[]? keys,
        int[] rows,
        int[] labels,
        int[] trueLabels
    )
    {
        this.pixels = pixels;
        this.parts = parts;
        this.keys = keys;
        this.rows = rows;
        this.labels = labels;
        this.trueLabels = trueLabels;
        ClassNames = classNames;
        Channels = channels;
        Size = size;
    }

    /// <summary>Number of images n.</summary>
    public int Count => rows.Length;

    /// <summary>Number of channels.</summary>
    public int Channels { get; }

    /// <summary>Height and width S in pixels.</summary>
    public int Size { get; }

    /// <summary>Number of classes.</summary>
    public int Classes => ClassNames.Count;

    /// <summary>The names of the classes.</summary>
    public IReadOnlyList<string> ClassNames { get; }

    /// <summary>The label of every image; <see cref="WithLabelNoise"/> changes some.</summary>
    public IReadOnlyList<int> Labels => labels;

    /// <summary>The label of every image before any noise.</summary>
    public IReadOnlyList<int> TrueLabels => trueLabels;

    /// <summary>Whether it is known what every pixel shows and where the key is: drawn images only.</summary>
    public bool KnowsParts => parts is not null;

    /// <summary>Images of each class, by the labels.</summary>
    public IReadOnlyList<int> CountByClass
    {
        get
        {
            int[] counts = new int[Classes];
            foreach (int label in labels)
                counts[label]++;
            return counts;
        }
    }

    internal int Area => Size * Size;

    internal bool IsInMemory => pixels.InMemory is not null;

    /// <summary>An image, float32 [channels, S, S]; the caller disposes it.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No such image.</exception>
    public Tensor Image(int index) => tensor(PixelsOf(Checked(index)).ToArray(), Channels, Size, Size);

    /// <summary>An image as an augmentation with a seed makes it, float32 [channels, S, S]: what a training batch held under that seed, to the bit.</summary>
    /// <param name="index">The image's number in this set: the batch's <c>index</c>.</param>
    /// <param name="augmentation">The augmentation of the batch.</param>
    /// <param name="seed">The batch's <c>augmentation_seed</c>.</param>
    /// <exception cref="ArgumentOutOfRangeException">No such image.</exception>
    public Tensor Augmented(int index, ImageAugmentation augmentation, long seed)
    {
        ArgumentNullException.ThrowIfNull(augmentation);
        augmentation.Validate(Size);
        float[] image = new float[Channels * Area];
        augmentation.Apply(PixelsOf(Checked(index)), image, [], [], Channels, Size, seed);
        return tensor(image, Channels, Size, Size);
    }

    /// <summary>All images, float32 [n, channels, S, S]; the caller disposes it.</summary>
    public Tensor ToTensor()
    {
        var all = empty(Count, Channels, Size, Size, dtype: ScalarType.Float32);
        var into = all.bytes;
        for (int index = 0; index < Count; index++)
        {
            var image = System.Runtime.InteropServices.MemoryMarshal.AsBytes(PixelsOf(index));
            image.CopyTo(into.Slice(index * image.Length, image.Length));
        }
        return all;
    }

    /// <summary>What every pixel of an image shows, one of <see cref="ImagePart"/> as [S, S].</summary>
    /// <exception cref="InvalidOperationException">The images were read, so that nobody knows.</exception>
    public int[,] Parts(int index)
    {
        var flat = PartsOf(Checked(index));
        int[,] map = new int[Size, Size];
        for (int y = 0; y < Size; y++)
        for (int x = 0; x < Size; x++)
            map[y, x] = flat[y * Size + x];
        return map;
    }

    /// <summary>Where the key object of an image is.</summary>
    /// <exception cref="InvalidOperationException">The images were read, so that nobody knows.</exception>
    public KeyPlace Key(int index) => (keys ?? throw Unknown("place of the key object"))[rows[Checked(index)]];

    /// <summary>The images of these numbers, in this order; a number may come twice.</summary>
    /// <exception cref="ArgumentOutOfRangeException">No such image.</exception>
    public ImageSet Select(IEnumerable<int> indices)
    {
        ArgumentNullException.ThrowIfNull(indices);
        int[] chosen = [.. indices];
        foreach (int index in chosen)
            Checked(index);
        return With(
            [.. chosen.Select(index => rows[index])],
            [.. chosen.Select(index => labels[index])],
            [.. chosen.Select(index => trueLabels[index])]
        );
    }

    /// <summary>The first images.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There are not so many.</exception>
    public ImageSet First(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Count);
        return Select(Enumerable.Range(0, count));
    }

    /// <summary>A long tail: of class c, the first counts[c] images of a seeded shuffle, or of the set's own order without a seed.</summary>
    /// <param name="counts">Images to keep of each class.</param>
    /// <param name="shuffleSeed">Shuffles each class first, which a file's order wants; drawn images are in random order already.</param>
    /// <exception cref="ArgumentException">Not one number a class, or more images than a class has; the message says which.</exception>
    public ImageSet LongTail(IReadOnlyList<int> counts, long? shuffleSeed = null)
    {
        ArgumentNullException.ThrowIfNull(counts);
        if (counts.Count != Classes)
            throw new ArgumentException(
                $"There are {counts.Count} counts for {Classes} classes. Give one a class.",
                nameof(counts)
            );
        int[] order = [.. Enumerable.Range(0, Count)];
        if (shuffleSeed is { } seed)
        {
            var random = SplitMix.At(seed, 0);
            random.Shuffle(order);
        }
        int[] left = [.. counts];
        List<int> kept = [.. order.Where(index => left[labels[index]]-- > 0)];
        int[] held = [.. CountByClass];
        for (int label = 0; label < Classes; label++)
            if (counts[label] < 0 || counts[label] > held[label])
                throw new ArgumentException(
                    $"Class {label} ('{ClassNames[label]}') has {held[label]} images, and {counts[label]} are asked for. Draw more images or ask for 0 to {held[label]}.",
                    nameof(counts)
                );
        kept.Sort();
        return Select(kept);
    }

    /// <summary>The same images with a share of the labels replaced by uniform draws over all classes, so that one in C of those stays right.</summary>
    /// <param name="share">Chance of every label to be replaced, 0 to 1.</param>
    /// <param name="seed">Seed of the draws.</param>
    /// <exception cref="ArgumentOutOfRangeException">The share is not between 0 and 1.</exception>
    public ImageSet WithLabelNoise(double share, long seed)
    {
        if (!(share >= 0 && share <= 1))
            throw new ArgumentOutOfRangeException(nameof(share), share, "The share of noisy labels must be between 0 and 1.");
        int[] noisy = [.. labels];
        for (int index = 0; index < noisy.Length; index++)
        {
            var random = SplitMix.At(seed, index);
            if (random.NextDouble() < share)
                noisy[index] = random.NextInt(Classes);
        }
        return With(rows, noisy, trueLabels);
    }

    /// <summary>Endless training batches: every epoch a new order and new augmentations, all a pure function of the seed and the step.</summary>
    /// <param name="seed">Seed of order and augmentation.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="augmentation">Augmentation; null for <see cref="ImageAugmentation.None"/>.</param>
    /// <param name="views">1, or 2 for a second, independently augmented view under <see cref="SecondView"/>.</param>
    /// <param name="patch">Side of the patches whose majority part goes under <see cref="PatchLabels"/>, augmented alike; 0 for none.</param>
    /// <exception cref="ArgumentException">A number is out of range, or patches are asked of images that were read.</exception>
    public IBatchSource Training(
        long seed,
        int batchSize,
        ImageAugmentation? augmentation = null,
        int views = 1,
        int patch = 0
    ) => new ImageBatches(this, seed, batchSize, augmentation ?? ImageAugmentation.None, views, patch);

    /// <summary>Every image once, in order, as it is.</summary>
    /// <param name="batchSize">B.</param>
    /// <param name="patch">Side of the patches whose majority part goes under <see cref="PatchLabels"/>; 0 for none.</param>
    /// <exception cref="ArgumentException">A number is out of range, or patches are asked of images that were read.</exception>
    public EvaluationSource Evaluation(int batchSize, int patch = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        RequirePatch(patch);
        return new(
            (Count + batchSize - 1) / batchSize,
            Count,
            number => ImageBatches.Plain(this, number * batchSize, Math.Min(batchSize, Count - number * batchSize), patch)
        );
    }

    /// <summary>Images per epoch over B, rounded down and at least 1: the steps of one pass over the set.</summary>
    public int StepsPerEpoch(int batchSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return Math.Max(1, Count / batchSize);
    }

    internal static float[] Allocate(int count, int valuesPerImage) =>
        (long)count * valuesPerImage <= Array.MaxLength
            ? new float[count * valuesPerImage]
            : throw new ArgumentOutOfRangeException(
                nameof(count),
                count,
                $"A set holds at most {Array.MaxLength / valuesPerImage} images of this size."
            );

    internal ReadOnlySpan<float> PixelsOf(int index) =>
        pixels.InMemory is { } all ? all.AsSpan(rows[index] * Channels * Area, Channels * Area) : pixels.Decode!(rows[index]);

    /// <summary>A checksum of all images in order: of their pixels in memory, or of their files' names and lengths.</summary>
    internal uint Checksum()
    {
        uint sum = 0;
        for (int index = 0; index < Count; index++)
            sum = Crc32C.Of(
                pixels.Describe is { } describe
                    ? System.Text.Encoding.UTF8.GetBytes(describe(rows[index]))
                    : System.Runtime.InteropServices.MemoryMarshal.AsBytes(PixelsOf(index)),
                sum
            );
        return sum;
    }

    internal ReadOnlySpan<byte> PartsOf(int index) => (parts ?? throw Unknown("parts")).AsSpan(rows[index] * Area, Area);

    internal void RequirePatch(int patch)
    {
        if (patch == 0)
            return;
        if (patch < 0 || Size % patch != 0)
            throw new ArgumentException($"A patch of {patch} does not divide images of {Size} x {Size}.", nameof(patch));
        if (parts is null)
            throw Unknown("parts");
    }

    private ImageSet With(int[] chosen, int[] newLabels, int[] newTrueLabels) =>
        new(pixels, ClassNames, Channels, Size, parts, keys, chosen, newLabels, newTrueLabels);

    private int Checked(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
        return index;
    }

    private static InvalidOperationException Unknown(string what) =>
        new($"These images were read from files, which do not say the {what}. Use {nameof(KeyObjects)} for that.");

    // In memory, image after image, or made when asked for.
    private sealed record Pixels(float[]? InMemory, Func<int, float[]>? Decode, Func<int, string>? Describe);
}
