using System.Globalization;
using TorchSharp;

namespace AttentionDistillation.Tensors;

/// <summary>What a <see cref="SparseLabelStore"/> holds: the header of all its files. Two stores may be read for each other only if all of it agrees.</summary>
public sealed record SparseLabelDescription
{
    /// <summary>C, the teacher's classes, 2 to 32,768.</summary>
    public required int Classes { get; init; }

    /// <summary>K, the classes kept of each image, 1 to C.</summary>
    public required int Kept { get; init; }

    /// <summary>Images of the set; a record's image number is 0 to one less.</summary>
    public required int Images { get; init; }

    /// <summary>Epochs whose augmentations are labelled.</summary>
    public required int Epochs { get; init; }

    /// <summary>The images and their augmentation in words (<c>ImageReplay.Pipeline</c>): labels belong to these alone.</summary>
    public required string Pipeline { get; init; }

    /// <summary>The teacher in words.</summary>
    public string Teacher { get; init; } = "";

    /// <summary>Bytes of an image's label: 4 + 4 K.</summary>
    public int BytesPerImage => SparseLabelRecord.Bytes(Kept);

    /// <summary>Bytes of an image's label on the disk, with the checksums of the image and of the record: 12 + 4 K.</summary>
    public int BytesPerRecord => BytesPerImage + 2 * sizeof(uint);

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentException">A number is out of its range; the message names it and how to mend it.</exception>
    public void Validate()
    {
        if (Classes is < 2 or > SparseLabelRecord.MostClasses)
            throw new ArgumentException(
                $"Classes is {Classes}. Class numbers are stored as int16, so there can be 2 to {SparseLabelRecord.MostClasses} classes: with more, keep those that occur and number them anew."
            );
        if (Kept < 1 || Kept > Classes)
            throw new ArgumentException($"Kept is {Kept}. Of {Classes} classes, 1 to {Classes} can be kept.");
        if (Images < 1 || Epochs < 1)
            throw new ArgumentException($"There are {Images} images and {Epochs} epochs. Both must be 1 or more.");
        ArgumentException.ThrowIfNullOrWhiteSpace(Pipeline);
        ArgumentNullException.ThrowIfNull(Teacher);
    }

    /// <summary>What differs from another description, in words; empty when nothing does.</summary>
    internal string Differences(SparseLabelDescription other) =>
        string.Join(
            "; ",
            new[]
            {
                (nameof(Classes), Text(Classes), Text(other.Classes)),
                (nameof(Kept), Text(Kept), Text(other.Kept)),
                (nameof(Images), Text(Images), Text(other.Images)),
                (nameof(Epochs), Text(Epochs), Text(other.Epochs)),
                (nameof(Pipeline), $"'{Pipeline}'", $"'{other.Pipeline}'"),
                (nameof(Teacher), $"'{Teacher}'", $"'{other.Teacher}'"),
            }
                .Where(part => part.Item2 != part.Item3)
                .Select(part => $"{part.Item1} is {part.Item2}, not {part.Item3}")
        );

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Which record: the image's number and the epoch, both from 0.</summary>
/// <param name="Image">The image's number in its set.</param>
/// <param name="Epoch">The epoch whose augmentation was labelled.</param>
public readonly record struct SparseLabelKey(int Image, int Epoch);

/// <summary>Sparse soft labels of B images. Whoever has them frees them.</summary>
/// <param name="Values">Probabilities of the K most probable classes, [B, K], the largest first.</param>
/// <param name="Indices">Their class numbers, int64 [B, K].</param>
/// <param name="Seeds">The seed of each image's augmentation, int64 [B], 31 bits.</param>
/// <param name="ImageChecksums">The checksum of each augmented image, int64 [B], 32 bits (<c>ImageReplay</c> makes it).</param>
public sealed record SparseLabels(torch.Tensor Values, torch.Tensor Indices, torch.Tensor Seeds, torch.Tensor ImageChecksums)
    : IDisposable
{
    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        Values.Dispose();
        Indices.Dispose();
        Seeds.Dispose();
        ImageChecksums.Dispose();
    }
}
