using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>How AutoDistil compares the relations of teacher and student.</summary>
public enum AutoDistilForm
{
    /// <summary>What the released code trains: the mean squared error of the scores before the softmax.</summary>
    ScoresMeanSquaredError,

    /// <summary>What the paper describes: KL(teacher || student) of the softmaxed rows.</summary>
    KlDivergence,
}

/// <summary>Settings of AutoDistil's distillation loss.</summary>
public sealed record AutoDistilOptions
{
    /// <summary>Number of relation heads; the released code has 12.</summary>
    public int RelationHeads { get; init; } = 12;

    /// <summary>How relations are compared; the released code's by default.</summary>
    public AutoDistilForm Form { get; init; } = AutoDistilForm.ScoresMeanSquaredError;

    /// <summary>
    /// What the mean of the squared errors runs over. <see cref="Convention.Code"/>: all L x L entries, padding like any token, because the -10000 that the
    /// released code adds to both models' scores at padded keys cancels in their difference; the value then depends on the padding.
    /// <see cref="Convention.Paper"/>: real pairs alone. The KL never counts padding.
    /// </summary>
    public Convention Padding { get; init; } = Convention.Code;

    /// <summary>The teacher's layer that is imitated, from 0; negative counts from the end.</summary>
    public int TeacherLayer { get; init; } = -1;

    /// <summary>The student's layer that imitates; negative counts from the end.</summary>
    public int StudentLayer { get; init; } = -1;
}

/// <summary>
/// The self-attention distillation of AutoDistil (arXiv 2201.12507, section 3.2): the concatenated queries, keys and values of the last layers are
/// split into relation heads, and their Q-Q, K-K and V-V relations are compared, each with weight 1.
/// </summary>
/// <remarks>
/// A width that the relation heads do not divide loses its last features, as in the released code: the sub-networks' widths are no multiples of 12.
/// The released code's logit and hidden terms exist with weight 0 and are left out.
/// </remarks>
public static class AutoDistil
{
    /// <summary>The objective on two traces, for a Distiller. Terms <c>qq</c>, <c>kk</c> and <c>vv</c>.</summary>
    public static LossTerms Loss(ForwardTrace teacher, ForwardTrace student, AutoDistilOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        options ??= new AutoDistilOptions();
        return Loss(teacher.Attention(options.TeacherLayer), student.Attention(options.StudentLayer), options);
    }

    /// <summary>The objective on two attention calls.</summary>
    /// <param name="teacher">[B, Ht, L, Dt]; receives no gradient.</param>
    /// <param name="student">[B, Hs, L, Ds]; its mask leaves padding out where the options say so.</param>
    /// <param name="options">Settings; null for the released code's.</param>
    /// <returns>Terms <c>qq</c>, <c>kk</c> and <c>vv</c>.</returns>
    /// <exception cref="ArgumentException">A model is narrower than the relation heads, or batch and lengths differ.</exception>
    public static LossTerms Loss(AttentionState teacher, AttentionState student, AutoDistilOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(teacher);
        ArgumentNullException.ThrowIfNull(student);
        options ??= new AutoDistilOptions();
        if (teacher.Query.size(0) != student.Query.size(0) || teacher.Query.size(2) != student.Query.size(2))
            throw new ArgumentException(
                $"Teacher and student must agree in batch and length, but are {Shapes.Describe(teacher.Query)} and {Shapes.Describe(student.Query)}."
            );
        return new LossTerms()
            .Add("qq", Term(teacher.Query, student.Query))
            .Add("kk", Term(teacher.Key, student.Key))
            .Add("vv", Term(teacher.Value, student.Value));

        Tensor Term(Tensor ofTeacher, Tensor ofStudent)
        {
            using var scope = NewDisposeScope();
            var (t, s) = (
                RelationHeads(ofTeacher.detach(), options.RelationHeads),
                RelationHeads(ofStudent, options.RelationHeads)
            );
            var value = options.Form switch
            {
                AutoDistilForm.KlDivergence => AttentionRelations.KlDivergence(t, t, s, s, student.Mask),
                AutoDistilForm.ScoresMeanSquaredError => options.Padding == Convention.Code
                    ? OverAllPairs(t, s)
                    : AttentionMaps.ScoresMeanSquaredError(
                        new AttentionState(t, t, t, student.Mask),
                        new AttentionState(s, s, s, student.Mask)
                    ),
                _ => throw new ArgumentOutOfRangeException(nameof(options), options.Form, "Unknown form."),
            };
            return value.MoveToOuterDisposeScope();
        }
    }

    /// <summary>The concatenated heads split into relation heads, without the features that are left over.</summary>
    /// <param name="heads">[B, H, L, D].</param>
    /// <param name="relationHeads">R.</param>
    /// <returns>[B, R, L, floor(H x D / R)].</returns>
    /// <exception cref="ArgumentException">There are more relation heads than features.</exception>
    public static Tensor RelationHeads(Tensor heads, int relationHeads)
    {
        Shapes.Require(heads, "[B, H, L, D]");
        long width = heads.size(1) * heads.size(3);
        if (relationHeads < 1 || relationHeads > width)
            throw new ArgumentException(
                $"A width of {width} does not give {relationHeads} relation heads a feature each. Use 1 to {width}."
            );
        using var scope = NewDisposeScope();
        long relationWidth = width / relationHeads;
        return heads
            .transpose(1, 2)
            .reshape(heads.size(0), heads.size(2), width)
            .narrow(2, 0, relationWidth * relationHeads)
            .reshape(heads.size(0), heads.size(2), relationHeads, relationWidth)
            .transpose(1, 2)
            .MoveToOuterDisposeScope();
    }

    private static Tensor OverAllPairs(Tensor teacher, Tensor student)
    {
        return (Scores(student) - Scores(teacher)).square().mean();

        static Tensor Scores(Tensor vectors)
        {
            var wide = vectors.to(vectors.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32);
            return matmul(wide, wide.transpose(-2, -1)) / Math.Sqrt(vectors.size(3));
        }
    }
}
