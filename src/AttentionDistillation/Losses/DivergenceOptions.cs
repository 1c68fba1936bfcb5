namespace AttentionDistillation.Losses;

/// <summary>Which of the two distributions a Kullback-Leibler divergence takes its expectation over.</summary>
public enum DivergenceDirection
{
    /// <summary>KL(teacher || student), which covers every mode of the teacher.</summary>
    Forward,

    /// <summary>KL(student || teacher), which seeks a mode of the teacher.</summary>
    Reverse,

    /// <summary>The sum of both.</summary>
    Symmetric,
}

/// <summary>How the rows of a divergence become one number. They differ only where sequences have different lengths.</summary>
public enum DivergenceReduction
{
    /// <summary>Mean over all rows that count.</summary>
    Tokens,

    /// <summary>Mean inside each sequence, then over the sequences that have a row that counts.</summary>
    Sequences,

    /// <summary>Sum of the rows divided by B, the size of the first axis (PyTorch's <c>batchmean</c>).</summary>
    BatchMean,

    /// <summary>
    /// Mean over all rows that count and all classes: <see cref="Tokens"/> divided by the number of classes compared, as where a divergence is averaged
    /// over elements (PyTorch's <c>mean</c>, which its documentation itself advises against).
    /// </summary>
    Elements,
}

/// <summary>Which position a mask of labels speaks of.</summary>
public enum LabelAlignment
{
    /// <summary>The mask at position i selects the logits at position i.</summary>
    SamePosition,

    /// <summary>The mask at position i + 1 selects the logits at position i, which predict that token: the alignment of causal language models.</summary>
    Shifted,
}

/// <summary>The switches in which papers' divergences between logits differ. The defaults are the library's convention (see <see cref="Divergences"/>).</summary>
public sealed record DivergenceOptions
{
    /// <summary>KL(teacher || student), T = 1, mean over tokens.</summary>
    public static DivergenceOptions Default { get; } = new();

    /// <summary>The direction.</summary>
    public DivergenceDirection Direction { get; init; } = DivergenceDirection.Forward;

    /// <summary>T, by which both models' logits are divided; above zero.</summary>
    public double Temperature { get; init; } = 1.0;

    /// <summary>Whether the divergence is multiplied by T², which keeps the size of gradients (Hinton et al. 2015, arXiv 1503.02531, section 2).</summary>
    public bool ScalesByTemperatureSquared { get; init; } = true;

    /// <summary>How rows become one number.</summary>
    public DivergenceReduction Reduction { get; init; } = DivergenceReduction.Tokens;

    /// <summary>Which position a mask speaks of; needs logits [..., L, V].</summary>
    public LabelAlignment Alignment { get; init; } = LabelAlignment.SamePosition;

    /// <summary>
    /// Compares only the K classes that the teacher finds likeliest, renormalised among themselves in both models; null compares all.
    /// </summary>
    public int? TopClasses { get; init; }

    /// <summary>
    /// Whether a teacher with a larger vocabulary is cut to the student's first V classes before its softmax, as for tables padded to different
    /// sizes. Otherwise different vocabularies are refused.
    /// </summary>
    public bool TruncatesTeacherVocabulary { get; init; }

    /// <summary>
    /// Leaves out the teacher's entropy, a constant of the forward direction: the value becomes the cross-entropy with the teacher's distribution,
    /// the gradients stay.
    /// </summary>
    public bool OmitsTeacherEntropy { get; init; }

    internal double Factor => ScalesByTemperatureSquared ? Temperature * Temperature : 1.0;

    internal long ComparedClasses(TorchSharp.torch.Tensor studentLogits) =>
        Math.Min(TopClasses ?? long.MaxValue, studentLogits.shape[^1]);

    internal void Validate()
    {
        if (!(Temperature > 0.0) || double.IsInfinity(Temperature))
            throw new ArgumentException($"The temperature must be a positive number, but is {Temperature}.");
        if (TopClasses is { } classes && classes < 1)
            throw new ArgumentException($"{nameof(TopClasses)} must be 1 or more, or null for all, but is {classes}.");
        if (OmitsTeacherEntropy && Direction != DivergenceDirection.Forward)
            throw new ArgumentException(
                $"{nameof(OmitsTeacherEntropy)} needs the direction Forward, but it is {Direction}, where the teacher's entropy is no constant."
            );
    }
}
