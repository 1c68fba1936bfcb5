using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>The switches of <see cref="BdKd"/>. The defaults are the paper's student with the boost that the paper is remembered to use (†).</summary>
public sealed record BdKdOptions
{
    /// <summary>τ, by which both nets' logits are divided, in divergences and entropies; above 0.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>The factor on the divergence that suits a sample; 1 for a plain sum of both divergences.</summary>
    public double Boost { get; init; } = 2;

    /// <summary>λ, the weight of the divergences beside the labels' cross-entropy.</summary>
    public double DistillationWeight { get; init; } = 1;

    /// <summary>The weight of KL(teacher || student) before any boost; 0 leaves it out.</summary>
    public double ForwardWeight { get; init; } = 1;

    /// <summary>The weight of KL(student || teacher) before any boost; 0 leaves it out.</summary>
    public double ReverseWeight { get; init; } = 1;

    /// <summary>
    /// The teacher's divergence from its student: <see cref="DivergenceDirection.Reverse"/> for KL(student || teacher), the default, or
    /// <see cref="DivergenceDirection.Forward"/> for KL(teacher || student). The first distribution is always the teacher's or the student's as named.
    /// </summary>
    public DivergenceDirection TeacherDirection { get; init; } = DivergenceDirection.Reverse;

    internal void Validate()
    {
        if (!(Temperature > 0) || double.IsInfinity(Temperature))
            throw new ArgumentException($"Temperature is {Temperature}. It must be a positive number.");
        foreach (
            var (name, value) in new[]
            {
                (nameof(Boost), Boost),
                (nameof(DistillationWeight), DistillationWeight),
                (nameof(ForwardWeight), ForwardWeight),
                (nameof(ReverseWeight), ReverseWeight),
            }
        )
            if (!(value >= 0) || double.IsInfinity(value))
                throw new ArgumentException($"{name} is {value}. It must be 0 or above.");
        if (TeacherDirection == DivergenceDirection.Symmetric)
            throw new ArgumentException(
                $"{nameof(TeacherDirection)} is Symmetric. The teacher keeps one divergence: Forward or Reverse."
            );
    }
}

/// <summary>What the student's objective is made of, sample by sample, each float [n]; no gradient flows through entropies and weights.</summary>
/// <param name="Forward">KL(teacher || student).</param>
/// <param name="Reverse">KL(student || teacher).</param>
/// <param name="StudentEntropy">H of the student's softened distribution, in nats.</param>
/// <param name="TeacherEntropy">H of the teacher's.</param>
/// <param name="ForwardWeight">The boosted weight of <paramref name="Forward"/>.</param>
/// <param name="ReverseWeight">The boosted weight of <paramref name="Reverse"/>.</param>
public sealed record BdKdSamples(
    Tensor Forward,
    Tensor Reverse,
    Tensor StudentEntropy,
    Tensor TeacherEntropy,
    Tensor ForwardWeight,
    Tensor ReverseWeight
);

/// <summary>
/// Online distillation with balanced divergences: teacher and student train together, each on labels and the other's soft predictions. The student pays
/// both divergences, and per sample the one that suits the gap of entropies counts more: where it is the less certain of the two, the reverse one, which
/// sharpens; where the teacher is, the forward one, which softens.
/// </summary>
/// <remarks>
/// BD-KD, arXiv 2212.12965. Student: CE + λ τ² mean(w_f KL(t || s) + w_r KL(s || t)), w_f = boost where H(t) > H(s), w_r = boost where H(s) > H(t), else 1.
/// Teacher: CE + λ τ² mean KL(s || t). The other net is a constant in each. † Whether the paper takes entropies at τ or at 1 was not seen; here at τ.
/// All logits are [n, C], labels int64 [n], entropies in nats.
/// </remarks>
public static class BdKd
{
    /// <summary>Both divergences of every sample and their weights.</summary>
    /// <param name="studentLogits">[n, C].</param>
    /// <param name="teacherLogits">[n, C]; receives no gradient.</param>
    /// <param name="options">Temperature, boost, weights; null for the defaults.</param>
    /// <exception cref="ArgumentException">Shapes differ, or an option is out of its range.</exception>
    public static BdKdSamples Samples(Tensor studentLogits, Tensor teacherLogits, BdKdOptions? options = null)
    {
        options = Checked(studentLogits, teacherLogits, options);
        using var scope = NewDisposeScope();
        var bare = new DivergenceOptions { Temperature = options.Temperature, ScalesByTemperatureSquared = false };
        var forward = Divergences.KlRows(teacherLogits, studentLogits, bare);
        var reverse = Divergences.KlRows(teacherLogits, studentLogits, bare with { Direction = DivergenceDirection.Reverse });
        var student = Entropy(studentLogits, options.Temperature);
        var teacher = Entropy(teacherLogits, options.Temperature);
        var samples = new BdKdSamples(
            forward,
            reverse,
            student,
            teacher,
            Boosted(teacher > student, options.ForwardWeight, options.Boost, forward.dtype),
            Boosted(student > teacher, options.ReverseWeight, options.Boost, forward.dtype)
        );
        foreach (
            var part in new[]
            {
                samples.Forward,
                samples.Reverse,
                samples.StudentEntropy,
                samples.TeacherEntropy,
                samples.ForwardWeight,
                samples.ReverseWeight,
            }
        )
            part.MoveToOuterDisposeScope();
        return samples;
    }

    /// <summary>The student's objective: terms <c>labels</c> and, weighted with λ, <c>divergence</c> (τ² mean(w_f F + w_r R)).</summary>
    /// <param name="studentLogits">[n, C].</param>
    /// <param name="teacherLogits">[n, C]; receives no gradient.</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="options">Temperature, boost, weights; null for the defaults.</param>
    /// <exception cref="ArgumentException">Shapes differ, or an option is out of its range.</exception>
    public static LossTerms StudentLoss(Tensor studentLogits, Tensor teacherLogits, Tensor labels, BdKdOptions? options = null)
    {
        options = Checked(studentLogits, teacherLogits, options);
        Shapes.RequireExact(labels, [studentLogits.size(0)]);
        using var scope = NewDisposeScope();
        var samples = Samples(studentLogits, teacherLogits, options);
        var divergence =
            options.Temperature
            * options.Temperature
            * (samples.ForwardWeight * samples.Forward + samples.ReverseWeight * samples.Reverse).mean();
        return LossTerms
            .Of("labels", nn.functional.cross_entropy(studentLogits, labels).MoveToOuterDisposeScope())
            .Add("divergence", divergence.MoveToOuterDisposeScope(), options.DistillationWeight);
    }

    /// <summary>The teacher's objective: terms <c>labels</c> and, weighted with λ, <c>divergence</c> (τ² mean KL, in the options' direction).</summary>
    /// <param name="teacherLogits">[n, C].</param>
    /// <param name="studentLogits">[n, C]; receives no gradient.</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="options">Temperature, λ, direction; null for the defaults.</param>
    /// <exception cref="ArgumentException">Shapes differ, or an option is out of its range.</exception>
    public static LossTerms TeacherLoss(Tensor teacherLogits, Tensor studentLogits, Tensor labels, BdKdOptions? options = null)
    {
        options = Checked(studentLogits, teacherLogits, options);
        return Peer(
            teacherLogits,
            studentLogits,
            labels,
            options.Temperature,
            options.DistillationWeight,
            // Seen from the net that learns: KL(peer || self) is the library's forward direction, and the peer is the student.
            options.TeacherDirection == DivergenceDirection.Reverse
                ? DivergenceDirection.Forward
                : DivergenceDirection.Reverse
        );
    }

    /// <summary>Deep mutual learning (Zhang et al. 2018): one net's objective, CE + λ τ² KL(peer || self), the peer a constant.</summary>
    /// <param name="logits">[n, C] of the net that learns.</param>
    /// <param name="peerLogits">[n, C]; receives no gradient.</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="temperature">τ, above 0.</param>
    /// <param name="distillationWeight">λ.</param>
    /// <exception cref="ArgumentException">Shapes differ, or the temperature is not positive.</exception>
    public static LossTerms MutualLearning(
        Tensor logits,
        Tensor peerLogits,
        Tensor labels,
        double temperature = 1,
        double distillationWeight = 1
    ) => Peer(logits, peerLogits, labels, temperature, distillationWeight, DivergenceDirection.Forward);

    /// <summary>
    /// Several students †: what one of them pays to each of its peers, averaged: the student's form of divergences towards larger nets, the teacher's form
    /// towards smaller ones, labels once.
    /// </summary>
    /// <param name="logits">[n, C] of the net that learns.</param>
    /// <param name="peers">Logits [n, C] of the others, and whether each is larger than this net; at least one.</param>
    /// <param name="labels">int64 [n].</param>
    /// <param name="options">Temperature, boost, weights; null for the defaults.</param>
    /// <exception cref="ArgumentException">There is no peer, shapes differ, or an option is out of its range.</exception>
    public static LossTerms AmongPeers(
        Tensor logits,
        IReadOnlyList<(Tensor Logits, bool IsLarger)> peers,
        Tensor labels,
        BdKdOptions? options = null
    )
    {
        ArgumentNullException.ThrowIfNull(peers);
        if (peers.Count == 0)
            throw new ArgumentException("There is no peer to learn from. Give at least one.", nameof(peers));
        options ??= new BdKdOptions();
        using var scope = NewDisposeScope();
        var pairwise = peers
            .Select(peer =>
                peer.IsLarger
                    ? StudentLoss(logits, peer.Logits, labels, options)
                    : TeacherLoss(logits, peer.Logits, labels, options)
            )
            .ToArray();
        var divergence = stack(pairwise.Select(terms => terms["divergence"])).mean();
        return LossTerms
            .Of("labels", pairwise[0]["labels"].MoveToOuterDisposeScope())
            .Add("divergence", divergence.MoveToOuterDisposeScope(), options.DistillationWeight);
    }

    private static LossTerms Peer(
        Tensor logits,
        Tensor peer,
        Tensor labels,
        double temperature,
        double weight,
        DivergenceDirection direction
    )
    {
        Shapes.RequireExact(labels, [logits.size(0)]);
        var options = new DivergenceOptions { Temperature = temperature, Direction = direction };
        return LossTerms
            .Of("labels", nn.functional.cross_entropy(logits, labels))
            .Add("divergence", Divergences.KlDivergence(peer, logits, null, options), weight);
    }

    private static Tensor Entropy(Tensor logits, double temperature)
    {
        var logProbabilities = nn.functional.log_softmax(logits.detach() / temperature, -1);
        return -(logProbabilities.exp() * logProbabilities).sum(-1);
    }

    private static Tensor Boosted(Tensor where, double weight, double boost, ScalarType type) =>
        where.to(type) * (weight * (boost - 1)) + weight;

    private static BdKdOptions Checked(Tensor studentLogits, Tensor teacherLogits, BdKdOptions? options)
    {
        options ??= new BdKdOptions();
        options.Validate();
        Shapes.Require(studentLogits, "[n, C]");
        Shapes.RequireExact(teacherLogits, studentLogits.shape);
        return options;
    }
}
