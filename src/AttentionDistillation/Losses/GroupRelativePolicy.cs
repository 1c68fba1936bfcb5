using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Switches of <see cref="GroupRelativePolicy"/>.</summary>
public sealed record GroupRelativePolicyOptions
{
    /// <summary>ε: the ratio of new to old probability is cut to 1 ± ε.</summary>
    public double Clip { get; init; } = 0.2;

    /// <summary>β, weight of the divergence from the reference model.</summary>
    public double Beta { get; init; } = 0.04;

    /// <summary>True divides the group's variance by G - 1, false by G.</summary>
    public bool IsUnbiased { get; init; } = true;

    /// <summary>Added to the standard deviation.</summary>
    public double DeviationEpsilon { get; init; }
}

/// <summary>GRPO: policy optimisation in which the rewards of a group of responses to one prompt are each other's baseline.</summary>
/// <remarks>
/// Shao et al., "DeepSeekMath", 2024, section 4.1.1. The objective of a token is min(r A, clip(r, 1 ± ε) A) - β KL with KL estimated as e^(ref - new) - (ref - new) - 1, which is never
/// negative and unbiased. Means over the tokens of each response first, then over responses; the loss is its negative.
/// </remarks>
public static class GroupRelativePolicy
{
    /// <summary>(R - mean R) / std R of each group; 0 for a group whose rewards are all equal, which has nothing to teach.</summary>
    /// <param name="rewards">[G], or [N, G] for N prompts.</param>
    /// <param name="options">How the deviation is computed.</param>
    /// <returns>The shape of <paramref name="rewards"/>.</returns>
    /// <exception cref="ArgumentException">A group has fewer than two responses.</exception>
    public static Tensor Advantages(Tensor rewards, GroupRelativePolicyOptions options)
    {
        ArgumentNullException.ThrowIfNull(rewards);
        ArgumentNullException.ThrowIfNull(options);
        if (rewards.dim() is not (1 or 2) || rewards.size(-1) < 2)
            throw new ArgumentException(
                $"Rewards must be [G] or [N, G] with at least two responses a group, but are {Shapes.Describe(rewards)}.",
                nameof(rewards)
            );
        using var scope = NewDisposeScope();
        long group = rewards.size(-1);
        var centred = rewards - rewards.mean([-1], keepdim: true);
        var deviation = (centred.square().sum([-1], keepdim: true) / (options.IsUnbiased ? group - 1 : group)).sqrt();
        var same = rewards.amax([-1], keepdim: true).eq(rewards.amin([-1], keepdim: true));
        return (centred / (deviation + options.DeviationEpsilon).masked_fill(same, 1.0))
            .masked_fill(same, 0.0)
            .MoveToOuterDisposeScope();
    }

    /// <summary>The loss of responses.</summary>
    /// <param name="logProbabilities">[N, T], of each token under the model that learns.</param>
    /// <param name="oldLogProbabilities">[N, T], under the model that sampled; receives no gradient.</param>
    /// <param name="referenceLogProbabilities">[N, T], under the reference; receives no gradient.</param>
    /// <param name="advantages">[N], of each response; receives no gradient.</param>
    /// <param name="mask">bool [N, T], true = a token of the response; null when all are. A response without tokens does not count.</param>
    /// <param name="options">Clip and β.</param>
    /// <returns>A scalar, to be minimised.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Loss(
        Tensor logProbabilities,
        Tensor oldLogProbabilities,
        Tensor referenceLogProbabilities,
        Tensor advantages,
        Tensor? mask,
        GroupRelativePolicyOptions options
    )
    {
        ArgumentNullException.ThrowIfNull(options);
        Shapes.Require(logProbabilities, "[N, T]");
        Shapes.RequireExact(oldLogProbabilities, logProbabilities.shape);
        Shapes.RequireExact(advantages, [logProbabilities.size(0)]);
        using var scope = NewDisposeScope();
        var ratio = (logProbabilities - oldLogProbabilities.detach()).exp();
        var advantage = advantages.detach().unsqueeze(1);
        var objective = minimum(ratio * advantage, ratio.clamp(1.0 - options.Clip, 1.0 + options.Clip) * advantage);
        if (options.Beta != 0.0)
            objective = objective - Estimate(logProbabilities, referenceLogProbabilities) * options.Beta;
        return MaskedReductions.Mean(objective.unsqueeze(1), mask, RowReduction.Sequences).neg().MoveToOuterDisposeScope();
    }

    /// <summary>The estimate of KL(new || reference), nats, averaged over all tokens.</summary>
    /// <param name="logProbabilities">[N, T].</param>
    /// <param name="referenceLogProbabilities">[N, T].</param>
    /// <param name="mask">bool [N, T], or null.</param>
    /// <returns>A scalar, never negative.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor KlEstimate(Tensor logProbabilities, Tensor referenceLogProbabilities, Tensor? mask)
    {
        Shapes.Require(logProbabilities, "[N, T]");
        using var scope = NewDisposeScope();
        return MaskedReductions
            .Mean(Estimate(logProbabilities, referenceLogProbabilities).unsqueeze(1), mask)
            .MoveToOuterDisposeScope();
    }

    private static Tensor Estimate(Tensor logProbabilities, Tensor referenceLogProbabilities)
    {
        Shapes.RequireExact(referenceLogProbabilities, logProbabilities.shape);
        var difference = referenceLogProbabilities.detach() - logProbabilities;
        return difference.exp() - difference - 1.0;
    }
}
