using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>Weights and switches of <see cref="BdKd"/>.</summary>
public sealed record BdKdOptions
{
    /// <summary>T, by which both nets' logits are divided, in divergences and entropies alike.</summary>
    public double Temperature { get; init; } = 1.0;

    /// <summary>The factor on the divergence that a sample's entropy gap asks for, 1 or more. † The default is from memory.</summary>
    public double Boost { get; init; } = 2.0;

    /// <summary>λ, the weight of the divergences beside the cross-entropy.</summary>
    public double DistillationWeight { get; init; } = 1.0;

    /// <summary>The share of the forward divergence KL(teacher || student) before any boost; 0 leaves it out (an ablation).</summary>
    public double ForwardShare { get; init; } = 1.0;

    /// <summary>The share of the reverse divergence KL(student || teacher) before any boost; 0 leaves it out (an ablation).</summary>
    public double ReverseShare { get; init; } = 1.0;

    /// <summary>
    /// What the teacher pays: <see cref="DivergenceDirection.Reverse"/> is KL(student || teacher), <see cref="DivergenceDirection.Forward"/> is
    /// KL(teacher || student), where student and teacher are the nets and not the roles.
    /// </summary>
    public DivergenceDirection TeacherDirection { get; init; } = DivergenceDirection.Reverse;

    internal void Validate()
    {
        if (!(Boost >= 1) || double.IsInfinity(Boost))
            throw new ArgumentException($"The boost must be 1 or more (1 leaves both divergences as they are), but is {Boost}.");
        foreach (double weight in new[] { DistillationWeight, ForwardShare, ReverseShare })
            if (!(weight >= 0) || double.IsInfinity(weight))
                throw new ArgumentException($"Weights of divergences must be 0 or more, but one is {weight}.");
        if (TeacherDirection is not (DivergenceDirection.Forward or DivergenceDirection.Reverse))
            throw new ArgumentException($"The teacher's direction must be Forward or Reverse, but is {TeacherDirection}.");
    }
}

/// <summary>What the student of <see cref="BdKd"/> pays, with what decided it; all rows [B], without gradients but for <see cref="Terms"/>.</summary>
/// <param name="Terms">The terms <c>ce</c> and <c>kd</c> (T² times the mean of the weighted divergences).</param>
/// <param name="Forward">KL(teacher || student) of every sample, without T².</param>
/// <param name="Reverse">KL(student || teacher) of every sample, without T².</param>
/// <param name="StudentEntropy">In nats, of the softened distribution.</param>
/// <param name="TeacherEntropy">In nats, of the softened distribution.</param>
/// <param name="ForwardWeight">Weight of the forward divergence.</param>
/// <param name="ReverseWeight">Weight of the reverse divergence.</param>
public sealed record BdKdStudentLoss(
    LossTerms Terms,
    Tensor Forward,
    Tensor Reverse,
    Tensor StudentEntropy,
    Tensor TeacherEntropy,
    Tensor ForwardWeight,
    Tensor ReverseWeight
);

/// <summary>
/// BD-KD, balancing the divergences for online knowledge distillation (arXiv 2212.12965, 2022): teacher and student learn together. The student pays
/// both divergences; per sample the reverse one counts more where the student is the less certain of the two (it sharpens), the forward one where the
/// teacher is (it softens).
/// </summary>
/// <remarks>
/// L_S = CE(z_s, y) + λ T² mean_i (w_f F_i + w_r R_i) and L_T = CE(z_t, y) + λ T² mean_i KL(p_s || p_t), the other net always a constant; z_s, z_t are
/// the logits [B, V]. The paper's own equations were not seen: the student's form follows a third party's code, the teacher's a summary of version 2;
/// that entropies are taken at T, and the group of several students, are †.
/// </remarks>
public static class BdKd
{
    /// <summary>The term of the labels.</summary>
    public const string LabelTerm = "ce";

    /// <summary>The term of the other net.</summary>
    public const string DistillationTerm = "kd";

    /// <summary>What the student pays.</summary>
    /// <param name="student">[B, V].</param>
    /// <param name="teacher">[B, V]; receives no gradient.</param>
    /// <param name="labels">int64 [B]; <see cref="Batch.IgnoredLabel"/> where there is none.</param>
    /// <param name="options">Weights; null for the defaults.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static BdKdStudentLoss StudentLoss(Tensor student, Tensor teacher, Tensor labels, BdKdOptions? options = null)
    {
        options = Checked(student, teacher, labels, options);
        using var scope = NewDisposeScope();
        var rows = Balanced(student, teacher, options);
        var terms = new LossTerms()
            .Add(LabelTerm, TokenPrediction.CrossEntropy(student, labels).MoveToOuterDisposeScope())
            .Add(DistillationTerm, rows.Mean.MoveToOuterDisposeScope(), options.DistillationWeight);
        return new(
            terms,
            rows.Forward.detach().MoveToOuterDisposeScope(),
            rows.Reverse.detach().MoveToOuterDisposeScope(),
            rows.StudentEntropy.MoveToOuterDisposeScope(),
            rows.TeacherEntropy.MoveToOuterDisposeScope(),
            rows.ForwardWeight.MoveToOuterDisposeScope(),
            rows.ReverseWeight.MoveToOuterDisposeScope()
        );
    }

    /// <summary>What the teacher pays; of the options the temperature, the weight and the direction count.</summary>
    /// <param name="student">[B, V]; receives no gradient.</param>
    /// <param name="teacher">[B, V].</param>
    /// <param name="labels">int64 [B]; <see cref="Batch.IgnoredLabel"/> where there is none.</param>
    /// <param name="options">Weights; null for the defaults.</param>
    /// <returns>The terms <c>ce</c> and <c>kd</c>.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static LossTerms TeacherLoss(Tensor student, Tensor teacher, Tensor labels, BdKdOptions? options = null)
    {
        options = Checked(student, teacher, labels, options);
        return new LossTerms()
            .Add(LabelTerm, TokenPrediction.CrossEntropy(teacher, labels))
            .Add(DistillationTerm, TeacherTerm(student, teacher, options), options.DistillationWeight);
    }

    /// <summary>Both nets' losses for one backward pass; no gradient crosses from one to the other, so that two optimisers may follow.</summary>
    /// <returns>The terms <c>student</c> and <c>teacher</c>, both of weight 1.</returns>
    /// <inheritdoc cref="StudentLoss"/>
    public static LossTerms JointLoss(Tensor student, Tensor teacher, Tensor labels, BdKdOptions? options = null)
    {
        using var scope = NewDisposeScope();
        return new LossTerms()
            .Add("student", StudentLoss(student, teacher, labels, options).Terms.Total.MoveToOuterDisposeScope())
            .Add("teacher", TeacherLoss(student, teacher, labels, options).Total.MoveToOuterDisposeScope());
    }

    /// <summary>
    /// The baseline: deep mutual learning (Zhang et al. 2018, arXiv 1706.00384, equations 4 to 7), where each net pays CE + λ T² KL(peer || self) with
    /// the peer as a constant.
    /// </summary>
    /// <param name="student">[B, V].</param>
    /// <param name="teacher">[B, V].</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="temperature">T.</param>
    /// <param name="weight">λ.</param>
    /// <returns>The terms <c>student</c> and <c>teacher</c>, both of weight 1.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a number is out of its range.</exception>
    public static LossTerms MutualLearning(
        Tensor student,
        Tensor teacher,
        Tensor labels,
        double temperature = 1.0,
        double weight = 1.0
    )
    {
        Checked(student, teacher, labels, new BdKdOptions { Temperature = temperature, DistillationWeight = weight });
        using var scope = NewDisposeScope();
        Tensor Of(Tensor self, Tensor peer) =>
            (
                TokenPrediction.CrossEntropy(self, labels) + weight * Divergences.KlDivergence(peer, self, null, temperature)
            ).MoveToOuterDisposeScope();
        return new LossTerms().Add("student", Of(student, teacher)).Add("teacher", Of(teacher, student));
    }

    /// <summary>
    /// Several nets †: each pays its cross-entropy and λ times the average over its peers of the pairwise term, the student's form towards larger
    /// peers and the teacher's towards smaller ones.
    /// </summary>
    /// <param name="logits">[B, V] of every net, from the largest net to the smallest.</param>
    /// <param name="labels">int64 [B].</param>
    /// <param name="options">Weights; null for the defaults.</param>
    /// <returns>The terms <c>net 1</c>, <c>net 2</c>, ... in the order given, all of weight 1.</returns>
    /// <exception cref="ArgumentException">There are fewer than two nets, shapes do not fit, or an option is out of its range.</exception>
    public static LossTerms GroupLoss(IReadOnlyList<Tensor> logits, Tensor labels, BdKdOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(logits);
        if (logits.Count < 2)
            throw new ArgumentException(
                $"Nets that teach each other are two or more, but there are {logits.Count}.",
                nameof(logits)
            );
        using var scope = NewDisposeScope();
        var terms = new LossTerms();
        for (int self = 0; self < logits.Count; self++)
        {
            var sum = zeros(Array.Empty<long>(), dtype: logits[self].dtype, device: logits[self].device);
            for (int peer = 0; peer < logits.Count; peer++)
            {
                if (peer == self)
                    continue;
                var used = Checked(logits[self], logits[peer], labels, options);
                sum +=
                    used.DistillationWeight
                    * (
                        peer < self
                            ? Balanced(logits[self], logits[peer], used).Mean
                            : TeacherTerm(logits[peer], logits[self], used)
                    );
            }
            var loss = TokenPrediction.CrossEntropy(logits[self], labels) + sum / (logits.Count - 1);
            terms.Add($"net {self + 1}", loss.MoveToOuterDisposeScope());
        }
        return terms;
    }

    private static Tensor TeacherTerm(Tensor student, Tensor teacher, BdKdOptions options)
    {
        // The peer is the constant of KlDivergence, here the student: KL(student || teacher) is its forward direction.
        var direction =
            options.TeacherDirection == DivergenceDirection.Reverse ? DivergenceDirection.Forward : DivergenceDirection.Reverse;
        return Divergences.KlDivergence(
            student,
            teacher,
            null,
            new DivergenceOptions { Temperature = options.Temperature, Direction = direction }
        );
    }

    private static (
        Tensor Mean,
        Tensor Forward,
        Tensor Reverse,
        Tensor StudentEntropy,
        Tensor TeacherEntropy,
        Tensor ForwardWeight,
        Tensor ReverseWeight
    ) Balanced(Tensor student, Tensor teacher, BdKdOptions options)
    {
        var rows = new DivergenceOptions { Temperature = options.Temperature, ScalesByTemperatureSquared = false };
        var forward = Divergences.KlRows(teacher, student, rows);
        var reverse = Divergences.KlRows(teacher, student, rows with { Direction = DivergenceDirection.Reverse });
        var ofStudent = Divergences.EntropyRows(student.detach(), options.Temperature);
        var ofTeacher = Divergences.EntropyRows(teacher.detach(), options.Temperature);
        Tensor Weight(Tensor boosted, double share) => (boosted.to(forward.dtype) * (options.Boost - 1) + 1) * share;
        var ofForward = Weight(ofTeacher.greater(ofStudent), options.ForwardShare);
        var ofReverse = Weight(ofStudent.greater(ofTeacher), options.ReverseShare);
        var mean = (ofForward * forward + ofReverse * reverse).mean() * (options.Temperature * options.Temperature);
        return (mean, forward, reverse, ofStudent, ofTeacher, ofForward, ofReverse);
    }

    private static BdKdOptions Checked(Tensor student, Tensor teacher, Tensor labels, BdKdOptions? options)
    {
        Shapes.Require(student, "[B, V]");
        Shapes.RequireExact(teacher, student.shape);
        Shapes.RequireExact(labels, [student.size(0)]);
        options ??= new BdKdOptions();
        options.Validate();
        return options;
    }
}
