using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// Keeps the weights with the best development score of a training: scored every few steps and at the end, put back by <see cref="Finish"/>.
/// </summary>
/// <remarks>
/// For trainings that run in one go: what was best before a stop is not part of the checkpoints. The model is scored in evaluation mode without gradients
/// and goes back to the mode it was in; the steps' random numbers are not touched as long as the score draws none from libtorch's global generator.
/// </remarks>
public sealed class BestWeights : IDisposable
{
    private readonly nn.Module model;
    private readonly long every;
    private readonly Func<double> score;
    private readonly List<(long Step, double Score)> scores = [];
    private Dictionary<string, Tensor>? best;
    private long steps;

    /// <summary>Prepares; nothing is scored yet.</summary>
    /// <param name="model">The model that is trained.</param>
    /// <param name="every">Steps between scores, at least 1.</param>
    /// <param name="score">The development score, higher is better; NaN never becomes the best.</param>
    /// <exception cref="ArgumentException">There is no step between scores.</exception>
    public BestWeights(nn.Module model, long every, Func<double> score)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(score);
        if (every < 1)
            throw new ArgumentException($"There must be at least 1 step between scores, but are {every}.", nameof(every));
        (this.model, this.every, this.score) = (model, every, score);
    }

    /// <summary>The scores so far, by the number of steps done before them.</summary>
    public IReadOnlyList<(long Step, double Score)> Scores => scores;

    /// <summary>The best score so far and the number of steps done before it; NaN and -1 without one.</summary>
    public (long Step, double Score) Best { get; private set; } = (-1, double.NaN);

    /// <summary>The objective with scoring: before each step whose number divides by the interval, the first one left out.</summary>
    public Func<Batch, LossTerms> Watch(Func<Batch, LossTerms> objective)
    {
        ArgumentNullException.ThrowIfNull(objective);
        return batch =>
        {
            if (steps > 0 && steps % every == 0)
                Score();
            steps++;
            return objective(batch);
        };
    }

    /// <summary>Scores the weights as they are now, then puts the best ones into the model.</summary>
    /// <returns>The best score.</returns>
    public double Finish()
    {
        Score();
        if (best is not null)
        {
            using var guard = no_grad();
            foreach (var (name, value) in State())
                value.copy_(best[name]);
        }
        return Best.Score;
    }

    /// <summary>Frees the copy of the best weights.</summary>
    public void Dispose() => Forget();

    private void Score()
    {
        bool training = model.training;
        model.eval();
        double value;
        using (var scope = NewDisposeScope())
        using (no_grad())
            value = score();
        model.train(training);
        scores.Add((steps, value));
        if (double.IsNaN(value) || value <= Best.Score)
            return;
        Best = (steps, value);
        Forget();
        using var guard = no_grad();
        best = State()
            .ToDictionary(
                item => item.Name,
                item => item.Value.detach().clone().DetachFromDisposeScope(),
                StringComparer.Ordinal
            );
    }

    private void Forget()
    {
        if (best is not null)
            foreach (var value in best.Values)
                value.Dispose();
        best = null;
    }

    private IEnumerable<(string Name, Tensor Value)> State() =>
        model
            .named_parameters()
            .Select(item => (item.name, (Tensor)item.parameter))
            .Concat(model.named_buffers().Select(item => (item.name, item.buffer)));
}
