using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// Stochastic depth: in training the whole branch of an example is dropped with a probability, and the branches kept are scaled up to the same
/// mean (Huang et al., "Deep Networks with Stochastic Depth", 2016, section 3). In evaluation it does nothing.
/// </summary>
/// <remarks>Draws from the global generator of the tensor's device as dropout does, which the training loop seeds for every step.</remarks>
public sealed class DropPath : nn.Module<Tensor, Tensor>
{
    private readonly double probability;

    /// <summary>Builds the layer.</summary>
    /// <param name="probability">Of dropping an example's branch, from 0 to below 1.</param>
    /// <exception cref="ArgumentException">The probability is out of its range.</exception>
    public DropPath(double probability)
        : base(nameof(DropPath))
    {
        if (!(probability is >= 0 and < 1))
            throw new ArgumentException(
                $"The drop-path probability must be from 0 to below 1, but is {probability}.",
                nameof(probability)
            );
        this.probability = probability;
    }

    /// <summary>The probability of a block in a stack whose last one has the rate given: linear from 0 at the first (section 3, equation 4).</summary>
    /// <param name="rate">Of the last block.</param>
    /// <param name="block">The block's number from 0.</param>
    /// <param name="blocks">How many there are.</param>
    public static double Linear(double rate, int block, int blocks) => blocks > 1 ? rate * block / (blocks - 1) : rate;

    /// <summary>The branch [B, ...] with some examples zero and the others scaled by 1 / (1 - probability).</summary>
    public override Tensor forward(Tensor branch)
    {
        if (!training || probability == 0.0)
            return branch.alias();
        using var scope = NewDisposeScope();
        long[] shape = [branch.size(0), .. Enumerable.Repeat(1L, (int)branch.dim() - 1)];
        var keep = empty(shape, dtype: branch.dtype, device: branch.device).bernoulli_(1.0 - probability);
        return branch.mul(keep.div_(1.0 - probability)).MoveToOuterDisposeScope();
    }
}
