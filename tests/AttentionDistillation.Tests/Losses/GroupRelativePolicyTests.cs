using AttentionDistillation.Losses;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

public class GroupRelativePolicyTests
{
    private static readonly GroupRelativePolicyOptions Options = new();

    [Fact]
    public void TheLossHasItsGradientAndDoesNotSeePadding()
    {
        var random = new RandomTensors(1);
        var (now, before, reference) = (random.Normal(3, 4) * 0.1 - 1, random.Normal(3, 4) * 0.1 - 1, random.Normal(3, 4) - 1);
        var advantages = tensor(new[] { 1.0, -0.5, 0.2 });
        var mask = RandomTensors.Mask(4, 4, 2, 3);
        Check.Gradients(inputs => GroupRelativePolicy.Loss(inputs[0], before, reference, advantages, mask, Options), [now], 1e-5);
        var changed = now.masked_fill(mask.logical_not(), 5.0);
        Check.Close(
            GroupRelativePolicy.Loss(now, before, reference, advantages, mask, Options),
            GroupRelativePolicy.Loss(changed, before, reference, advantages, mask, Options),
            1e-12
        );
    }

    [Fact]
    public void AdvantagesAreStandardScoresAndEqualRewardsTeachNothing()
    {
        var rewards = tensor(new[] { 1.0, 0, 0, 1, 1, 1, 1, 1 }).view(2, 4);
        var advantages = GroupRelativePolicy.Advantages(rewards, Options);
        Assert.Equal(0, advantages[0].sum().item<double>(), 1e-12);
        Assert.Equal(1, advantages[0].std(unbiased: true).item<double>(), 1e-12);
        Assert.Equal(0, advantages[1].abs().max().item<double>());
        Assert.Throws<ArgumentException>(() => GroupRelativePolicy.Advantages(zeros(3, 1), Options));
    }

    [Fact]
    public void AtTheSamplingPolicyTheGradientIsThatOfTheAdvantage()
    {
        var now = zeros(2, 3, dtype: ScalarType.Float64).requires_grad_();
        var advantages = tensor(new[] { 1.0, -1.0 });
        GroupRelativePolicy.Loss(now, now.detach(), now.detach(), advantages, null, Options).backward();
        Check.Close(-advantages.unsqueeze(1).expand(2, 3) / 6.0, now.grad!, 1e-12);
        Assert.Equal(0, GroupRelativePolicy.KlEstimate(now, now, null).item<double>());
    }
}
