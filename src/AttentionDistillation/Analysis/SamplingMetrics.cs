using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>How often one of several sampled answers is right, as fractions.</summary>
public static class SamplingMetrics
{
    /// <summary>
    /// pass@k, the unbiased estimate from n samples of which c are right: the mean over problems of 1 - C(n - c, k) / C(n, k) (Chen et al. 2021,
    /// "Evaluating Large Language Models Trained on Code", equation 1).
    /// </summary>
    /// <param name="correct">bool [N, n]: problems by samples.</param>
    /// <param name="k">How many samples are drawn, 1 to n.</param>
    /// <exception cref="ArgumentException">The shape does not fit, or k is out of its range.</exception>
    public static double PassAtK(Tensor correct, int k)
    {
        var (answers, samples) = Answers(correct, k);
        return answers
            .Chunk(samples)
            .Average(problem =>
            {
                int right = problem.Count(answer => answer);
                // C(n - c, k) / C(n, k) as a product of factors below 1, which cannot overflow.
                double allWrong = 1;
                for (int i = 0; i < k && allWrong > 0; i++)
                    allWrong *= Math.Max(0.0, samples - right - i) / (samples - i);
                return 1 - allWrong;
            });
    }

    /// <summary>success@k: the share of problems of which one of the FIRST k samples is right.</summary>
    /// <param name="correct">bool [N, n]: problems by samples, in the order they were drawn.</param>
    /// <param name="k">How many samples count, 1 to n.</param>
    /// <exception cref="ArgumentException">The shape does not fit, or k is out of its range.</exception>
    public static double SuccessAtK(Tensor correct, int k)
    {
        var (answers, samples) = Answers(correct, k);
        return answers.Chunk(samples).Average(problem => problem.Take(k).Any(answer => answer) ? 1.0 : 0.0);
    }

    private static (bool[] Answers, int Samples) Answers(Tensor correct, int k)
    {
        Shapes.Require(correct, "[N, n]");
        int samples = (int)correct.size(1);
        if (k < 1 || k > samples)
            throw new ArgumentException($"k must be from 1 to the number of samples, {samples}, but is {k}.", nameof(k));
        if (correct.size(0) == 0)
            throw new ArgumentException("There is no problem: the first axis is empty.", nameof(correct));
        using var scope = NewDisposeScope();
        return (correct.to(ScalarType.Bool).cpu().contiguous().reshape(-1).data<bool>().ToArray(), samples);
    }
}
