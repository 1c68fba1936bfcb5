using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Divergences between the class distributions of a teacher's and a student's logits.</summary>
/// <remarks>
/// Convention of this library: KL(teacher || student), natural logarithm, summed over the classes, averaged over the rows that count,
/// multiplied by T² when a temperature T is used (Hinton et al. 2015, arXiv 1503.02531, section 2), so that gradients keep their size.
/// Where a paper differs, <see cref="DivergenceOptions"/> has the switch. A divergence without rows that count is 0.
/// </remarks>
public static class Divergences
{
    /// <summary>T² times the mean KL(teacher || student) at temperature T.</summary>
    /// <param name="teacherLogits">[..., V]; receives no gradient.</param>
    /// <param name="studentLogits">Same shape.</param>
    /// <param name="mask">bool [...] without the class axis, true = the row counts; null when all do.</param>
    /// <param name="temperature">T, above zero.</param>
    /// <returns>A scalar, differentiable in the student's logits.</returns>
    /// <exception cref="ArgumentException">Shapes differ, or the temperature is not positive.</exception>
    public static Tensor KlDivergence(Tensor teacherLogits, Tensor studentLogits, Tensor? mask, double temperature = 1.0) =>
        KlDivergence(teacherLogits, studentLogits, mask, DivergenceOptions.Default with { Temperature = temperature });

    /// <summary>A divergence with every switch.</summary>
    /// <param name="teacherLogits">[..., Vt]; receives no gradient.</param>
    /// <param name="studentLogits">[..., V], where Vt = V unless the teacher's vocabulary is truncated.</param>
    /// <param name="mask">bool [...] without the class axis, true = the row counts; null when all do.</param>
    /// <param name="options">Direction, temperature, reduction, alignment, classes.</param>
    /// <returns>A scalar, differentiable in the student's logits.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static Tensor KlDivergence(Tensor teacherLogits, Tensor studentLogits, Tensor? mask, DivergenceOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(teacherLogits);
        ArgumentNullException.ThrowIfNull(studentLogits);
        if (mask is not null)
            Shapes.RequireExact(mask, studentLogits.shape[..^1]);
        using var scope = NewDisposeScope();
        if (options.Alignment == LabelAlignment.Shifted)
            (teacherLogits, studentLogits, mask) = (
                Predictions(teacherLogits),
                Predictions(studentLogits),
                mask is null ? null : Predicted(mask)
            );
        return Reduce(
                KlRows(teacherLogits, studentLogits, options),
                mask,
                options.Reduction,
                options.ComparedClasses(studentLogits)
            )
            .MoveToOuterDisposeScope();
    }

    /// <summary>
    /// A divergence between models that read different inputs: the rows that the teacher's mask selects are compared one to one, in order, with those
    /// that the student's mask selects, for example where the teacher's prompt holds more than the student's.
    /// </summary>
    /// <param name="teacherLogits">[B, Lt, Vt]; receives no gradient.</param>
    /// <param name="teacherMask">bool [B, Lt], true = the row counts.</param>
    /// <param name="studentLogits">[B, Ls, V].</param>
    /// <param name="studentMask">bool [B, Ls], true = the row counts; in every sequence as many rows as the teacher's.</param>
    /// <param name="options">Direction, temperature, reduction, alignment, classes.</param>
    /// <returns>A scalar, differentiable in the student's logits.</returns>
    /// <exception cref="ArgumentException">A sequence has different numbers of rows in the two masks, shapes do not fit, or an option is out of its range.</exception>
    public static Tensor AlignedKlDivergence(
        Tensor teacherLogits,
        Tensor teacherMask,
        Tensor studentLogits,
        Tensor studentMask,
        DivergenceOptions options
    )
    {
        ArgumentNullException.ThrowIfNull(options);
        Shapes.Require(teacherLogits, "[B, L, V]");
        Shapes.Require(studentLogits, "[B, L, V]");
        Shapes.RequireSame(teacherLogits, studentLogits, 0, "batch size");
        Shapes.RequireExact(teacherMask, teacherLogits.shape[..2]);
        Shapes.RequireExact(studentMask, studentLogits.shape[..2]);
        using var scope = NewDisposeScope();
        if (options.Alignment == LabelAlignment.Shifted)
            (teacherLogits, studentLogits, teacherMask, studentMask) = (
                Predictions(teacherLogits),
                Predictions(studentLogits),
                Predicted(teacherMask),
                Predicted(studentMask)
            );
        RequireEqualCounts(teacherMask, studentMask);
        var rows = KlRows(Selected(teacherLogits, teacherMask), Selected(studentLogits, studentMask), options);
        var placed = zeros(studentMask.shape, dtype: rows.dtype, device: rows.device).masked_scatter(studentMask, rows);
        return Reduce(placed, studentMask, options.Reduction, options.ComparedClasses(studentLogits)).MoveToOuterDisposeScope();
    }

    /// <summary>The divergence of every row, with the factor T² if the options ask for it; masks, alignment and reduction are the caller's.</summary>
    /// <param name="teacherLogits">[..., Vt]; receives no gradient.</param>
    /// <param name="studentLogits">[..., V].</param>
    /// <param name="options">Direction, temperature, classes.</param>
    /// <returns>[...], in float32 at least.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static Tensor KlRows(Tensor teacherLogits, Tensor studentLogits, DivergenceOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        using var scope = NewDisposeScope();
        var (teacherScores, studentScores) = Comparable(teacherLogits, studentLogits, options);
        var teacher = nn.functional.log_softmax(teacherScores / options.Temperature, -1);
        var student = nn.functional.log_softmax(studentScores / options.Temperature, -1);
        var rows = options.Direction switch
        {
            DivergenceDirection.Forward => Rows(teacher, student, options.OmitsTeacherEntropy),
            DivergenceDirection.Reverse => Rows(student, teacher),
            DivergenceDirection.Symmetric => Rows(teacher, student) + Rows(student, teacher),
            _ => throw new ArgumentOutOfRangeException(nameof(options), options.Direction, "Unknown direction."),
        };
        return (options.Factor == 1.0 ? rows : rows * options.Factor).MoveToOuterDisposeScope();
    }

    /// <summary>The entropy of every row's distribution at a temperature, in nats: -Σ p ln p with p = softmax(logits / T).</summary>
    /// <param name="logits">[..., V].</param>
    /// <param name="temperature">T, above zero.</param>
    /// <returns>[...] between 0 and ln V, in float32 at least, differentiable.</returns>
    /// <exception cref="ArgumentException">The temperature is not positive.</exception>
    public static Tensor EntropyRows(Tensor logits, double temperature = 1.0)
    {
        ArgumentNullException.ThrowIfNull(logits);
        (DivergenceOptions.Default with { Temperature = temperature }).Validate();
        using var scope = NewDisposeScope();
        var type = logits.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var logarithms = nn.functional.log_softmax(logits.to(type) / temperature, -1);
        var excluded = logarithms == double.NegativeInfinity;
        return (logarithms.exp() * -logarithms.masked_fill(excluded, 0.0)).sum(-1).MoveToOuterDisposeScope();
    }

    /// <summary>Mean over rows of the squared distance between the two probability vectors (summed over the classes).</summary>
    /// <param name="teacherLogits">[..., Vt]; receives no gradient.</param>
    /// <param name="studentLogits">[..., V].</param>
    /// <param name="mask">bool [...] without the class axis, true = the row counts; null when all do.</param>
    /// <param name="options">Temperature, reduction, alignment and classes; a direction has no meaning here and T² is not applied.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static Tensor ProbabilitySquaredError(
        Tensor teacherLogits,
        Tensor studentLogits,
        Tensor? mask,
        DivergenceOptions options
    ) => OfProbabilities(teacherLogits, studentLogits, mask, options, (teacher, student) => (student - teacher).square().sum(-1));

    /// <summary>Mean over rows of 1 - the cosine between the two probability vectors.</summary>
    /// <param name="teacherLogits">[..., Vt]; receives no gradient.</param>
    /// <param name="studentLogits">[..., V].</param>
    /// <param name="mask">bool [...] without the class axis, true = the row counts; null when all do.</param>
    /// <param name="options">Temperature, reduction, alignment and classes; a direction has no meaning here and T² is not applied.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static Tensor ProbabilityCosineDistance(
        Tensor teacherLogits,
        Tensor studentLogits,
        Tensor? mask,
        DivergenceOptions options
    ) =>
        OfProbabilities(
            teacherLogits,
            studentLogits,
            mask,
            options,
            (teacher, student) => 1.0 - nn.functional.cosine_similarity(student, teacher, -1)
        );

    private static Tensor OfProbabilities(
        Tensor teacherLogits,
        Tensor studentLogits,
        Tensor? mask,
        DivergenceOptions options,
        Func<Tensor, Tensor, Tensor> distance
    )
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        ArgumentNullException.ThrowIfNull(studentLogits);
        if (mask is not null)
            Shapes.RequireExact(mask, studentLogits.shape[..^1]);
        using var scope = NewDisposeScope();
        var (teacher, student) = Comparable(teacherLogits, studentLogits, options);
        var rows = distance(
            nn.functional.softmax(teacher / options.Temperature, -1),
            nn.functional.softmax(student / options.Temperature, -1)
        );
        if (options.Alignment == LabelAlignment.Shifted)
            (rows, mask) = (Shortened(rows), mask is null ? null : Predicted(mask));
        return Reduce(rows, mask, options.Reduction, options.ComparedClasses(studentLogits)).MoveToOuterDisposeScope();
    }

    // The classes that are compared, in float32 at least, the teacher without a gradient.
    private static (Tensor Teacher, Tensor Student) Comparable(
        Tensor teacherLogits,
        Tensor studentLogits,
        DivergenceOptions options
    )
    {
        ArgumentNullException.ThrowIfNull(teacherLogits);
        ArgumentNullException.ThrowIfNull(studentLogits);
        long classes = studentLogits.shape[^1];
        if (options.TruncatesTeacherVocabulary && teacherLogits.shape[^1] > classes)
            teacherLogits = teacherLogits.narrow(-1, 0, classes);
        if (!teacherLogits.shape.SequenceEqual(studentLogits.shape))
            throw new ArgumentException(
                $"Teacher and student logits must have the same shape, but have {Shapes.Describe(teacherLogits)} and {Shapes.Describe(studentLogits)}. "
                    + "Models with different vocabularies cannot be compared class by class; where the student's is the first part of the teacher's, "
                    + $"set {nameof(DivergenceOptions)}.{nameof(DivergenceOptions.TruncatesTeacherVocabulary)}."
            );
        var type = studentLogits.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var (teacher, student) = (teacherLogits.detach().to(type), studentLogits.to(type));
        if (options.TopClasses is not { } most || most >= classes)
            return (teacher, student);
        var (values, places) = teacher.topk(most, -1);
        return (values, student.gather(-1, places));
    }

    // KL(p || q) of log-probabilities. A class that p excludes (-inf) adds nothing, whatever q says, and passes no gradient.
    private static Tensor Rows(Tensor first, Tensor second, bool omitsEntropy = false)
    {
        var excluded = first == double.NegativeInfinity;
        var difference = omitsEntropy ? -second : first - second;
        return (first.exp() * difference.masked_fill(excluded, 0.0)).sum(-1);
    }

    private static Tensor Reduce(Tensor rows, Tensor? mask, DivergenceReduction reduction, long classes)
    {
        if (reduction == DivergenceReduction.Elements)
            return Reduce(rows, mask, DivergenceReduction.Tokens, classes) / classes;
        var kept = mask is null ? rows : rows.masked_fill(mask.logical_not(), 0.0);
        if (rows.dim() == 0)
            return kept;
        switch (reduction)
        {
            case DivergenceReduction.Tokens:
                return mask is null ? kept.mean() : kept.sum() / mask.to(kept.dtype).sum().clamp_min(1.0);
            case DivergenceReduction.BatchMean:
                return kept.sum() / rows.size(0);
            case DivergenceReduction.Sequences:
                if (rows.dim() == 1 || mask is null)
                    goto case DivergenceReduction.Tokens;
                var counts = mask.flatten(1).to(kept.dtype).sum(1);
                return (kept.flatten(1).sum(1) / counts.clamp_min(1.0)).sum() / (counts > 0).sum().clamp_min(1);
            default:
                throw new ArgumentOutOfRangeException(nameof(reduction), reduction, "Unknown reduction.");
        }
    }

    private static Tensor Selected(Tensor logits, Tensor mask) =>
        logits.flatten(0, 1).index_select(0, mask.flatten().nonzero().squeeze(-1));

    private static void RequireEqualCounts(Tensor teacherMask, Tensor studentMask)
    {
        long[] teacher = [.. teacherMask.sum(1).cpu().data<long>()],
            student = [.. studentMask.sum(1).cpu().data<long>()];
        if (!teacher.SequenceEqual(student))
            throw new ArgumentException(
                $"In every sequence both masks must select equally many rows, but they select {string.Join(", ", teacher)} (teacher) and "
                    + $"{string.Join(", ", student)} (student). Was an input truncated?"
            );
    }

    // Logits that predict a token which is there: all but the last position's.
    private static Tensor Predictions(Tensor logits)
    {
        if (logits.dim() < 2)
            throw new ArgumentException(
                $"Shifted labels need logits [..., L, V], but they have shape {Shapes.Describe(logits)}."
            );
        return logits.narrow(-2, 0, logits.size(-2) - 1);
    }

    private static Tensor Shortened(Tensor rows) => rows.narrow(-1, 0, rows.size(-1) - 1);

    private static Tensor Predicted(Tensor mask) => mask.narrow(-1, 1, mask.size(-1) - 1);
}
