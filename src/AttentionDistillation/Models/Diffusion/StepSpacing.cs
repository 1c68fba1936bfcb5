namespace AttentionDistillation.Models.Diffusion;

/// <summary>Which steps of a schedule a sampler of fewer steps visits (Lin et al. 2024, table 2, by diffusers' names).</summary>
public enum StepSpacing
{
    /// <summary>0, T/n, 2 T/n ...: never the last step (Stable Diffusion).</summary>
    Leading,

    /// <summary>From 0 to T - 1 in equal distances, rounded.</summary>
    Linspace,

    /// <summary>T - 1, T - 1 - T/n ...: always the last step.</summary>
    Trailing,
}

/// <summary>The steps of a sampler.</summary>
public static class StepGrid
{
    /// <summary>The steps to visit, from noisy to clean.</summary>
    /// <param name="total">T of the schedule.</param>
    /// <param name="count">n, 1 to T.</param>
    /// <param name="spacing">Which ones.</param>
    /// <param name="offset">Added to leading steps (Stable Diffusion: 1).</param>
    /// <exception cref="ArgumentException">There are more steps than the schedule has, or none.</exception>
    public static int[] Of(int total, int count, StepSpacing spacing, int offset = 0)
    {
        if (count < 1 || count > total)
            throw new ArgumentException(
                $"A sampler of a schedule of {total} steps can visit 1 to {total} of them, not {count}.",
                nameof(count)
            );
        int[] steps = spacing switch
        {
            StepSpacing.Leading => [.. Enumerable.Range(0, count).Select(number => number * (total / count) + offset).Reverse()],
            StepSpacing.Linspace =>
            [
                .. Enumerable
                    .Range(0, count)
                    .Select(number => count == 1 ? 0 : Rounded((total - 1.0) * number / (count - 1)))
                    .Reverse(),
            ],
            _ => [.. Enumerable.Range(0, count).Select(number => Rounded(total - (double)total * number / count) - 1)],
        };
        return steps[0] < total
            ? steps
            : throw new ArgumentException(
                $"An offset of {offset} moves {count} leading steps beyond the schedule's {total}.",
                nameof(offset)
            );
    }

    private static int Rounded(double value) => (int)Math.Round(value, MidpointRounding.ToEven);
}
