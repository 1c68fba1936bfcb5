namespace AttentionDistillation.Worlds.Images;

/// <summary>What a pixel of a key-object image shows.</summary>
public enum ImagePart
{
    /// <summary>Background, or the bar over everything.</summary>
    Background,

    /// <summary>Any part of a distractor.</summary>
    Distractor,

    /// <summary>The key's disc; with the cue texture, its shape.</summary>
    KeyDisc,

    /// <summary>The key's ring; with the cue texture, the thin bright ring around it.</summary>
    KeyRing,

    /// <summary>The key's bright dot (cue colour only).</summary>
    KeyDot,
}

/// <summary>The place of an image's key object, in pixels; pixel centres lie at .5.</summary>
/// <param name="X">From the left edge.</param>
/// <param name="Y">From the upper edge.</param>
/// <param name="Radius">Radius.</param>
public readonly record struct KeyPlace(double X, double Y, double Radius);

/// <summary>
/// Images that hold one KEY object and distractors of the same kind. The label depends on the key alone, so a net has to find it and to bind its parts:
/// the same colours and shapes occur in the distractors of every class. Image i of a split is a pure function of the seed, the split and i.
/// </summary>
/// <remarks>
/// Cue colour: an object is a ring, a disc and a dot. The key's dot is bright, those of distractors dark. Label c: disc colour c mod 4 of red, green,
/// blue, grey; ring colour c / 4 mod 3 of yellow, magenta, cyan; with 48 classes a texture of the disc, c / 12 of solid, horizontal stripes, vertical
/// stripes, checks. Cue texture: shape c mod 4 of disc, square, triangle, cross; texture c / 4 of solid, stripes, checks; colours say nothing.
/// <code>
/// var world = new KeyObjects(new KeyObjectOptions());
/// var train = world.Images(seed: 1, ImageSplit.Train, 2000);
/// using var batch = train.Training(seed: 1, batchSize: 64, ImageAugmentation.Standard).BatchAt(0); // pixel_values [64, 3, 32, 32], labels [64]
/// </code>
/// </remarks>
public sealed class KeyObjects
{
    private static readonly string[] DiscNames = ["red", "green", "blue", "grey"];
    private static readonly string[] RingNames = ["yellow", "magenta", "cyan"];
    private static readonly string[] TextureNames = ["solid", "horizontal", "vertical", "checks"];
    private static readonly string[] ShapeNames = ["disc", "square", "triangle", "cross"];
    private static readonly string[] ShapeTextureNames = ["solid", "stripes", "checks"];

    /// <summary>The names of <see cref="ImagePart"/>, the classes of the per-patch task.</summary>
    public static IReadOnlyList<string> PartNames { get; } = ["background", "distractor", "key disc", "key ring", "key dot"];

    /// <summary>Creates the world.</summary>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public KeyObjects(KeyObjectOptions? options = null)
    {
        Options = options ?? new KeyObjectOptions();
        Options.Validate();
    }

    /// <summary>Sizes and difficulty.</summary>
    public KeyObjectOptions Options { get; }

    /// <summary>The name of every class, for example "red disc, cyan ring".</summary>
    public IReadOnlyList<string> ClassNames => [.. Enumerable.Range(0, Options.Classes).Select(NameOf)];

    /// <summary>The first images of a split: image i has the label i mod C, so that any multiple of C of them is balanced.</summary>
    /// <param name="seed">Seed, from 0.</param>
    /// <param name="split">Which split; <see cref="ImageSplit.Shifted"/> is drawn with <see cref="KeyObjectOptions.Shifted"/>.</param>
    /// <param name="count">How many images n.</param>
    /// <exception cref="ArgumentOutOfRangeException">The seed or the number is out of range.</exception>
    public ImageSet Images(long seed, ImageSplit split, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(seed);
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(count, 1 << 28);
        var drawn = split == ImageSplit.Shifted ? Options.Shifted : Options;
        int area = drawn.Size * drawn.Size;
        var pixels = ImageSet.Allocate(count, 3 * area);
        byte[] parts = new byte[checked(count * area)];
        var keys = new KeyPlace[count];
        int[] labels = [.. Enumerable.Range(0, count).Select(number => number % drawn.Classes)];
        ulong first = unchecked(((ulong)seed << 32) + ((ulong)split << 28));
        Parallel.For(
            0,
            count,
            () => new KeyObjectPainter(drawn),
            (number, _, painter) =>
            {
                ulong state = new SplitMix(unchecked(first + (ulong)number)).Next();
                keys[number] = painter.Paint(
                    state,
                    labels[number],
                    pixels.AsSpan(number * 3 * area, 3 * area),
                    parts.AsSpan(number * area, area)
                );
                return painter;
            },
            _ => { }
        );
        return new ImageSet(pixels, labels, ClassNames, channels: 3, drawn.Size, parts, keys);
    }

    private string NameOf(int label) =>
        Options.Cue == KeyObjectCue.Texture ? $"{ShapeTextureNames[label / 4]} {ShapeNames[label % 4]}"
        : Options.Classes == 12 ? $"{DiscNames[label % 4]} disc, {RingNames[label / 4]} ring"
        : $"{DiscNames[label % 4]} {TextureNames[label / 12]} disc, {RingNames[label / 4 % 3]} ring";
}
