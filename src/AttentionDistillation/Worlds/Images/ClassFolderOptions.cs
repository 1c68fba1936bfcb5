namespace AttentionDistillation.Worlds.Images;

/// <summary>How the image files of <see cref="ClassFolders"/> become tensors.</summary>
public sealed record ClassFolderOptions
{
    /// <summary>Side S of the images in pixels; null takes 64 for Tiny-ImageNet, whose images have it, and 224 for all others.</summary>
    public int? Size { get; init; }

    /// <summary>
    /// The shorter side over S before the middle S x S is cut out: 256 / 224, as ImageNet is evaluated. 1 keeps all of the shorter side; images whose shorter side
    /// is S already are never made larger before the cut.
    /// </summary>
    public double ResizeRatio { get; init; } = 256.0 / 224;

    /// <summary>Only the first images of each class by name, in training and test alike, for a quick trial; null for all.</summary>
    public int? ImagesPerClass { get; init; }

    /// <summary>What is subtracted from each channel's intensities of 0 to 1: ImageNet's means, with which published models were trained.</summary>
    public IReadOnlyList<double> Mean { get; init; } = [0.485, 0.456, 0.406];

    /// <summary>What they are divided by: ImageNet's deviations.</summary>
    public IReadOnlyList<double> Deviation { get; init; } = [0.229, 0.224, 0.225];

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentException">A number is out of its range; the message names it.</exception>
    public void Validate()
    {
        if (Size is < 1)
            throw new ArgumentException($"Size is {Size}. Images need a side of 1 pixel or more, for example 224.");
        if (!(ResizeRatio >= 1) || double.IsInfinity(ResizeRatio))
            throw new ArgumentException(
                $"ResizeRatio is {ResizeRatio}. It must be 1 or above: the cut is a part of the resized image."
            );
        if (ImagesPerClass is < 1)
            throw new ArgumentException($"ImagesPerClass is {ImagesPerClass}. Take 1 or more of each class, or null for all.");
        if (
            Mean.Count != 3
            || Deviation.Count != 3
            || Deviation.Any(value => !(value > 0))
            || Mean.Any(value => !double.IsFinite(value))
        )
            throw new ArgumentException(
                "Mean and Deviation need three finite numbers each (red, green, blue), deviations above 0."
            );
    }
}
