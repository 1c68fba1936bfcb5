using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>Weights and switches of <see cref="EfficientTransformerKd.Loss"/>; the defaults are DistilBERT's.</summary>
public sealed record DistilTripleOptions
{
    /// <summary>T of the soft targets.</summary>
    public double Temperature { get; init; } = 2.0;

    /// <summary>Weight of the soft targets, alpha_ce.</summary>
    public double SoftTargets { get; init; } = 5.0;

    /// <summary>Weight of the labels, alpha_mlm.</summary>
    public double Labels { get; init; } = 2.0;

    /// <summary>Weight of the cosine of hidden states, alpha_cos.</summary>
    public double Cosine { get; init; } = 1.0;

    /// <summary>True compares soft targets at labelled positions alone (DistilBERT's <c>restrict_ce_to_mask</c>); false at all real tokens.</summary>
    public bool LabelledOnly { get; init; }

    /// <summary>The weights of the multi-GPU example in DistilBERT's README: a third each.</summary>
    public static DistilTripleOptions EqualThirds { get; } =
        new()
        {
            SoftTargets = 0.33,
            Labels = 0.33,
            Cosine = 0.33,
        };
}

/// <summary>
/// Efficient Transformer Knowledge Distillation (arXiv 2311.13657, 2023): exchange a pretrained encoder's attention for a form that reads long documents,
/// go on training, and distil into a student of half the layers with the same form.
/// </summary>
/// <remarks>
/// The paper's body was not seen; the loss is DistilBERT's (huggingface/transformers, research_projects/distillation), which it names. † Semantics of the attention
/// forms, of the copied projections, and of the start of the student follow transformers.
/// </remarks>
public static class EfficientTransformerKd
{
    /// <summary>The term of the soft targets.</summary>
    public const string SoftTargetTerm = "ce";

    /// <summary>The term of the labels.</summary>
    public const string LabelTerm = "mlm";

    /// <summary>The term of the hidden states.</summary>
    public const string CosineTerm = "cos";

    /// <summary>Rows that RoBERTa's position table holds before the first position.</summary>
    public const int RobertaOffset = 2;

    /// <summary>
    /// DistilBERT's three terms: T² KL(teacher || student) of the scores, cross-entropy of the labels, and 1 - cosine of the last hidden states, the first and
    /// the last a mean over real tokens.
    /// </summary>
    /// <param name="teacherScores">[B, L, V]; receives no gradient.</param>
    /// <param name="studentScores">[B, L, V].</param>
    /// <param name="teacherHidden">[B, L, C], after the last layer; receives no gradient.</param>
    /// <param name="studentHidden">[B, L, C].</param>
    /// <param name="labels">int64 [B, L]; <see cref="Batch.IgnoredLabel"/> where there is none.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="options">Weights.</param>
    /// <returns>Terms <c>ce</c>, <c>mlm</c>, <c>cos</c>; without a label <c>mlm</c> is 0.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit; students of another width need a projection first.</exception>
    public static LossTerms Loss(
        Tensor teacherScores,
        Tensor studentScores,
        Tensor teacherHidden,
        Tensor studentHidden,
        Tensor labels,
        Tensor? mask,
        DistilTripleOptions options
    )
    {
        ArgumentNullException.ThrowIfNull(options);
        Shapes.Require(studentScores, "[B, L, V]");
        Shapes.RequireExact(labels, studentScores.shape[..2]);
        var labelled = labels.not_equal(Batch.IgnoredLabel);
        return new LossTerms()
            .Add(
                SoftTargetTerm,
                Divergences.KlDivergence(
                    teacherScores,
                    studentScores,
                    options.LabelledOnly ? labelled : mask,
                    options.Temperature
                ),
                options.SoftTargets
            )
            .Add(LabelTerm, MeanCrossEntropy(studentScores, labels, labelled), options.Labels)
            .Add(CosineTerm, HiddenCosine(teacherHidden, studentHidden, mask), options.Cosine);
    }

    /// <summary>Mean over real tokens of 1 - cos(student, teacher).</summary>
    /// <param name="teacherHidden">[B, L, C]; receives no gradient.</param>
    /// <param name="studentHidden">[B, L, C].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <returns>A scalar in [0, 2].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor HiddenCosine(Tensor teacherHidden, Tensor studentHidden, Tensor? mask)
    {
        Shapes.Require(studentHidden, "[B, L, C]");
        Shapes.RequireExact(teacherHidden, studentHidden.shape);
        using var scope = NewDisposeScope();
        var cosines = CosineLosses.Similarity(
            studentHidden.reshape(-1, studentHidden.size(2)),
            teacherHidden.detach().reshape(-1, teacherHidden.size(2))
        );
        var distances = (1.0 - cosines).view(studentHidden.size(0), 1, studentHidden.size(1));
        return MaskedReductions.Mean(distances, mask).MoveToOuterDisposeScope();
    }

    /// <summary>A position table for longer inputs: the rows in front stay, the positions repeat until the new number is reached.</summary>
    /// <param name="table">[offset + positions, C].</param>
    /// <param name="length">Positions of the new table, the rows in front not counted.</param>
    /// <param name="offset">Rows in front that are no positions (<see cref="RobertaOffset"/> for RoBERTa, 0 for BERT).</param>
    /// <returns>[offset + length, C].</returns>
    /// <exception cref="ArgumentException">The new table is shorter, or the old one has no position.</exception>
    public static Tensor ExtendPositions(Tensor table, long length, long offset = RobertaOffset)
    {
        Shapes.Require(table, "[rows, C]");
        long positions = table.size(0) - offset;
        if (offset < 0 || positions < 1 || length < positions)
            throw new ArgumentException(
                $"A table of {table.size(0)} rows of which the first {offset} are no positions cannot be extended to {length} positions. Give a length of at least {positions}."
            );
        using var scope = NewDisposeScope();
        var rows = arange(length, dtype: ScalarType.Int64, device: table.device).remainder(positions) + offset;
        return cat([table.narrow(0, 0, offset), table.index_select(0, rows)]).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Embeddings of LSG's global tokens where they are tokens of their own: the position's embedding and the word's, the begin token's for the first and the mask
    /// token's for the others.
    /// </summary>
    /// <param name="positions">[rows, C].</param>
    /// <param name="words">[V, C].</param>
    /// <param name="count">How many global tokens.</param>
    /// <param name="beginToken">The token that begins a text.</param>
    /// <param name="maskToken">The mask token.</param>
    /// <param name="offset">Rows of the position table in front that are no positions.</param>
    /// <returns>[count, C].</returns>
    /// <exception cref="ArgumentException">There are fewer positions than global tokens.</exception>
    public static Tensor GlobalEmbeddings(
        Tensor positions,
        Tensor words,
        long count,
        long beginToken,
        long maskToken,
        long offset = RobertaOffset
    )
    {
        Shapes.Require(positions, "[rows, C]");
        Shapes.Require(words, "[V, C]");
        if (count < 1 || offset + count > positions.size(0))
            throw new ArgumentException(
                $"{count} global tokens need positions {offset} to {offset + count - 1}, but the table has {positions.size(0)} rows."
            );
        using var scope = NewDisposeScope();
        long[] tokens = [beginToken, .. Enumerable.Repeat(maskToken, (int)count - 1)];
        return (
            positions.narrow(0, offset, count) + words.index_select(0, tensor(tokens, device: words.device))
        ).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Fills a model for longer inputs with the weights of one with full attention and puts the form of attention into every layer: all weights copied, positions
    /// extended, Longformer's global projections copies of the layer's own.
    /// </summary>
    /// <typeparam name="T">The encoder's type.</typeparam>
    /// <param name="source">The pretrained model.</param>
    /// <param name="target">A model of the same sizes, but for its positions; it is changed and returned.</param>
    /// <param name="form">Gives the form of each layer, numbered from 0; null is full attention.</param>
    /// <returns><paramref name="target"/>.</returns>
    /// <exception cref="ArgumentException">A weight has another shape; the message names it.</exception>
    public static T Convert<T>(T source, T target, Func<int, IAttentionForm?> form)
        where T : TextEncoder
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(target);
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        target.SetAttention(_ => null);
        var weights = source.HubParameters();
        foreach (var (name, weight) in target.HubParameters())
        {
            if (!weights.TryGetValue(name, out var original))
                throw new ArgumentException($"{source.Architecture} has no weight '{name}'.", nameof(source));
            bool isPositions = name.EndsWith("position_embeddings.weight", StringComparison.Ordinal);
            if (isPositions && weight.size(0) > original.size(0))
                original = ExtendPositions(original, target.EncoderConfig.LongestInput, PositionOffset(target));
            if (!original.shape.SequenceEqual(weight.shape))
                throw new ArgumentException(
                    $"'{name}' is {Shapes.Describe(original)} in the source and {Shapes.Describe(weight)} in the target. Build both from one configuration, but for MaximumPositions.",
                    nameof(target)
                );
            weight.copy_(original);
        }
        target.SetAttention(form);
        foreach (var layer in target.AttentionLayers)
        {
            if (layer.Form is LongformerAttention longformer)
                longformer.CopyFrom(layer);
            if (layer.Form is nn.Module module)
                module.to(weights.Values.First().device);
        }
        return target;
    }

    /// <summary>Starts a student of half the layers: every second layer of the teacher, embeddings and head copied, the forms' weights with their layers.</summary>
    /// <typeparam name="T">The encoder's type.</typeparam>
    /// <param name="teacher">The converted teacher.</param>
    /// <param name="student">A model with fewer layers and the same form of attention; it is changed and returned.</param>
    /// <param name="layers">The teacher's layers to take, numbered from 0; null means every second from layer 0 (of 12 layers to 6, see <see cref="LayerSelection.DistilBert"/>).</param>
    /// <returns><paramref name="student"/>.</returns>
    /// <exception cref="ArgumentException">Layers or shapes do not fit.</exception>
    public static T StartStudent<T>(T teacher, T student, IReadOnlyList<int>? layers = null)
        where T : TextEncoder
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        var taken = layers ?? LayerSelection.EveryNth(teacher.EncoderConfig.Layers);
        if (taken.Count != student.EncoderConfig.Layers)
            throw new ArgumentException(
                $"The student has {student.EncoderConfig.Layers} layers, but {taken.Count} of the teacher's {teacher.EncoderConfig.Layers} were chosen: {string.Join(", ", taken)}.",
                nameof(layers)
            );
        var missing = ModelSlicer.CopyInto(teacher, student, SlicePlan.OfLayers(taken));
        if (missing.Count > 0)
            throw new ArgumentException(
                $"The teacher has no {string.Join(", ", missing)}. Put the same form of attention into both models first.",
                nameof(student)
            );
        return student;
    }

    /// <summary>Quality that a student keeps: its score divided by the teacher's, for each task, then the mean.</summary>
    /// <param name="students">Scores, a task each.</param>
    /// <param name="teachers">The teacher's scores on the same tasks, above 0.</param>
    /// <returns>1 when nothing is lost.</returns>
    /// <exception cref="ArgumentException">The lists differ in length or are empty, or a teacher's score is not above 0.</exception>
    public static double Retention(IReadOnlyList<double> students, IReadOnlyList<double> teachers)
    {
        ArgumentNullException.ThrowIfNull(students);
        ArgumentNullException.ThrowIfNull(teachers);
        if (students.Count != teachers.Count || teachers.Count == 0 || teachers.Any(score => !(score > 0)))
            throw new ArgumentException(
                $"Retention needs one score above 0 of the teacher for each of the student's, but the student's are [{string.Join(", ", students)}] and the teacher's [{string.Join(", ", teachers)}]."
            );
        return students.Zip(teachers, (student, teacher) => student / teacher).Average();
    }

    private static long PositionOffset(TextEncoder model) =>
        model.EncoderConfig.MaximumPositions - model.EncoderConfig.LongestInput;

    private static Tensor MeanCrossEntropy(Tensor scores, Tensor labels, Tensor labelled)
    {
        using var scope = NewDisposeScope();
        var flat = scores.reshape(-1, scores.size(2));
        var sum = nn.functional.cross_entropy(
            flat.dtype == ScalarType.Float64 ? flat : flat.to(ScalarType.Float32),
            labels.reshape(-1),
            ignore_index: Batch.IgnoredLabel,
            reduction: nn.Reduction.Sum
        );
        return (sum / labelled.sum().clamp_min(1)).MoveToOuterDisposeScope();
    }
}
