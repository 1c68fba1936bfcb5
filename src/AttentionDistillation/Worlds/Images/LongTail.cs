namespace AttentionDistillation.Worlds.Images;

/// <summary>How many images each class of a long-tailed set keeps, from the most frequent class to the rarest, for <see cref="ImageSet.LongTail"/>.</summary>
/// <remarks>Cui et al. 2019 (exponential) and Buda et al. 2018 (step), as DeiT-LT's data sets are cut (val-iisc/DeiT-LT, datasets).</remarks>
public static class LongTail
{
    /// <summary>n_c = floor(n_max ρ^(c / (C - 1))).</summary>
    /// <param name="largest">n_max, images of the first class.</param>
    /// <param name="classes">C, at least 2.</param>
    /// <param name="ratio">ρ, the rarest class's share of the most frequent one's images; papers often quote 1 / ρ.</param>
    /// <exception cref="ArgumentException">A number is out of range, or the rarest class would be empty.</exception>
    public static int[] Exponential(int largest, int classes, double ratio)
    {
        Check(largest, classes, ratio);
        return [.. Enumerable.Range(0, classes).Select(label => (int)(largest * Math.Pow(ratio, label / (classes - 1.0))))];
    }

    /// <summary>The first half of the classes keeps n_max images, the others floor(n_max ρ).</summary>
    /// <param name="largest">n_max.</param>
    /// <param name="classes">C, at least 2.</param>
    /// <param name="ratio">ρ.</param>
    /// <exception cref="ArgumentException">A number is out of range, or the rare classes would be empty.</exception>
    public static int[] Step(int largest, int classes, double ratio)
    {
        Check(largest, classes, ratio);
        return [.. Enumerable.Range(0, classes).Select(label => label < classes / 2 ? largest : (int)(largest * ratio))];
    }

    private static void Check(int largest, int classes, double ratio)
    {
        if (largest < 1)
            throw new ArgumentException($"The largest class has {largest} images. It must have at least 1.", nameof(largest));
        if (classes < 2)
            throw new ArgumentException($"There are {classes} classes. A tail needs at least 2.", nameof(classes));
        if (!(ratio > 0 && ratio <= 1))
            throw new ArgumentException($"The ratio is {ratio}. It is smallest over largest: above 0, at most 1.", nameof(ratio));
        if ((int)(largest * ratio) < 1)
            throw new ArgumentException(
                $"With {largest} images and the ratio {ratio} the rarest class would be empty. Take more images or a larger ratio.",
                nameof(ratio)
            );
    }
}
