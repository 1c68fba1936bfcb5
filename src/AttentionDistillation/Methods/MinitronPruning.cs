using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// Minitron's cuts on the weights of one block (arXiv 2407.14679, section 2): parts are kept in the order of their scores, the most important first.
/// Whole models are cut by <c>ModelSlicer</c>.
/// </summary>
public static class MinitronPruning
{
    /// <summary>Cuts the neurons of a feed-forward block.</summary>
    /// <param name="inner">W1 [F, C].</param>
    /// <param name="innerBias">[F], or null.</param>
    /// <param name="outer">W2 [C, F].</param>
    /// <param name="score">[F].</param>
    /// <param name="keep">Neurons that stay.</param>
    /// <exception cref="ArgumentException">More are to be kept than there are.</exception>
    public static (Tensor Inner, Tensor? InnerBias, Tensor Outer) FeedForward(
        Tensor inner,
        Tensor? innerBias,
        Tensor outer,
        Tensor score,
        int keep
    )
    {
        int[] kept = Kept(score, keep);
        return (
            WeightCuts.Take(inner, 0, kept),
            innerBias is null ? null : WeightCuts.Take(innerBias, 0, kept),
            WeightCuts.Take(outer, 1, kept)
        );
    }

    /// <summary>Cuts the heads of an attention block with as many key heads as query heads.</summary>
    /// <param name="query">[H, D, C].</param>
    /// <param name="key">[H, D, C].</param>
    /// <param name="value">[H, D, C].</param>
    /// <param name="output">[C, H, D].</param>
    /// <param name="score">[H].</param>
    /// <param name="keep">Heads that stay.</param>
    /// <param name="merges">Whether cut heads are folded into kept ones (<see cref="WeightCuts.TakeMerged"/>).</param>
    /// <exception cref="ArgumentException">More are to be kept than there are.</exception>
    public static (Tensor Query, Tensor Key, Tensor Value, Tensor Output) Heads(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor output,
        Tensor score,
        int keep,
        bool merges = false
    )
    {
        int[] ranking = ImportanceRanking.DescendingOf(score);
        _ = Kept(score, keep);
        Tensor Cut(Tensor weight, int axis) =>
            merges ? WeightCuts.TakeMerged(weight, axis, ranking, keep) : WeightCuts.Take(weight, axis, [.. ranking.Take(keep)]);
        return (Cut(query, 0), Cut(key, 0), Cut(value, 0), Cut(output, 1));
    }

    /// <summary>Cuts channels of the residual stream from the weights that read and write it; one ranking serves the whole model.</summary>
    /// <param name="reading">A matrix that reads the stream, [O, C]: loses columns.</param>
    /// <param name="writing">A matrix that writes it, [C, I]: loses rows.</param>
    /// <param name="gain">The gain of a norm, [C].</param>
    /// <param name="table">An embedding table or output head, [V, C]: loses columns.</param>
    /// <param name="score">[C].</param>
    /// <param name="keep">Channels that stay.</param>
    /// <exception cref="ArgumentException">More are to be kept than there are.</exception>
    public static (Tensor Reading, Tensor Writing, Tensor Gain, Tensor Table) Hidden(
        Tensor reading,
        Tensor writing,
        Tensor gain,
        Tensor table,
        Tensor score,
        int keep
    )
    {
        int[] kept = Kept(score, keep);
        return (
            WeightCuts.Take(reading, 1, kept),
            WeightCuts.Take(writing, 0, kept),
            WeightCuts.Take(gain, 0, kept),
            WeightCuts.Take(table, 1, kept)
        );
    }

    private static int[] Kept(Tensor score, int keep)
    {
        Shapes.Require(score, "[N]");
        if (keep < 1 || keep > score.size(0))
            throw new ArgumentException($"Of {score.size(0)} parts 1 to {score.size(0)} can be kept, but {keep} were asked for.");
        return [.. ImportanceRanking.DescendingOf(score).Take(keep)];
    }
}
