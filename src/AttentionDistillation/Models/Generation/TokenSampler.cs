using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Generation;

/// <summary>From a step's scores to the next tokens: penalties, filters, and the choice. Nothing here waits for the device.</summary>
internal sealed class TokenSampler : IDisposable
{
    private const string Stream = "generation";

    private readonly GenerationOptions options;
    private readonly Tensor? endTokens;
    private readonly Tensor? draws;

    public TokenSampler(GenerationOptions options, long sequences, Device device)
    {
        this.options = options;
        if (options.EndTokens.Count > 0)
            endTokens = tensor(options.EndTokens.ToArray(), dtype: ScalarType.Int64, device: device).DetachFromDisposeScope();
        if (options.Sample)
            using (NewDisposeScope())
                // All draws ahead and on the host: the same seed draws the same numbers on every device.
                draws = rand(
                        [options.MaxNewTokens, sequences, 1],
                        dtype: ScalarType.Float64,
                        generator: Seeds.Generator(options.Seed, Stream)
                    )
                    .to(device)
                    .DetachFromDisposeScope();
    }

    /// <summary>The next tokens.</summary>
    /// <param name="scores">[N, V].</param>
    /// <param name="seen">int64 [N, tokens so far], prompt included; read where there is a repetition penalty.</param>
    /// <param name="step">The step's number from 0.</param>
    /// <returns>int64 [N, 1].</returns>
    public Tensor Choose(Tensor scores, Tensor? seen, int step)
    {
        using var scope = NewDisposeScope();
        scores = Processed(scores.to(scores.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32), seen, step);
        if (!options.Sample)
            return scores.argmax(-1, keepdim: true).MoveToOuterDisposeScope();
        var sums = nn.functional.softmax(Filtered(scores), -1).to(ScalarType.Float64).cumsum(-1);
        // The first token whose cumulative probability is above the draw: one that the filters left.
        var target = draws![step] * sums.narrow(-1, sums.size(-1) - 1, 1);
        return searchsorted(sums, target, right: true).clamp_max(sums.size(-1) - 1).MoveToOuterDisposeScope();
    }

    /// <summary>bool [N], true where a token ends a text; null when nothing ends one.</summary>
    public Tensor? Ends(Tensor tokens)
    {
        if (endTokens is null)
            return null;
        using var scope = NewDisposeScope();
        return tokens.eq(endTokens).any(-1).MoveToOuterDisposeScope();
    }

    /// <summary>The scores after penalties, before sampling's filters.</summary>
    internal Tensor Processed(Tensor scores, Tensor? seen, int step)
    {
        using var scope = NewDisposeScope();
        if (options.RepetitionPenalty != 1.0 && seen is not null)
        {
            var old = scores.gather(-1, seen);
            var penalised = where(old < 0, old * options.RepetitionPenalty, old / options.RepetitionPenalty);
            scores = scores.scatter(-1, seen, penalised);
        }
        if (step < options.MinNewTokens && endTokens is not null)
            scores = scores.index_fill(-1, endTokens, double.NegativeInfinity);
        return scores.alias().MoveToOuterDisposeScope();
    }

    /// <summary>The scores after temperature, top-k, top-p and min-p, in this order; what is filtered out holds -inf.</summary>
    internal Tensor Filtered(Tensor scores)
    {
        using var scope = NewDisposeScope();
        if (options.Temperature != 1.0)
            scores = scores / options.Temperature;
        if (options.TopK is { } top && top < scores.size(-1))
        {
            var (best, _) = scores.topk((int)top, -1);
            scores = scores.masked_fill(scores < best.narrow(-1, top - 1, 1), double.NegativeInfinity);
        }
        if (options.TopP < 1.0)
        {
            var (ascending, order) = scores.sort(-1, false);
            // From the least likely on, tokens go while their joint probability is at most 1 - p; the likeliest stays.
            var removed = nn.functional.softmax(ascending, -1).cumsum(-1) <= 1.0 - options.TopP;
            removed.narrow(-1, removed.size(-1) - 1, 1).fill_(false);
            scores = scores.masked_fill(zeros_like(removed).scatter(-1, order, removed), double.NegativeInfinity);
        }
        if (options.MinP is { } least)
        {
            var probabilities = nn.functional.softmax(scores, -1);
            scores = scores.masked_fill(probabilities < probabilities.amax([-1], keepdim: true) * least, double.NegativeInfinity);
        }
        return scores.alias().MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        endTokens?.Dispose();
        draws?.Dispose();
    }
}
