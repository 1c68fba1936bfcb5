namespace AttentionDistillation.Training;

/// <summary>One half of a relabelling cycle: a model is trained on labels and gives labels of its own.</summary>
/// <typeparam name="TModel">What is trained: a model, or several that share their labels (mutual distillation).</typeparam>
/// <typeparam name="TLabels">The labels of the unlabelled data.</typeparam>
/// <param name="Name">The phase's name, unique: "cross-encoder".</param>
/// <param name="Train">
/// Trains a model in a cycle (from 1) on labels. Whether it starts afresh or goes on from the model of the cycle before, which is passed too (its
/// default in the first cycle), is its choice.
/// </param>
/// <param name="Label">Labels the data by a trained model.</param>
public sealed record RelabellingPhase<TModel, TLabels>(
    string Name,
    Func<int, TLabels, TModel?, TModel> Train,
    Func<TModel, TLabels> Label
)
{
    /// <summary>The model's score on development data, by which the best cycle is kept; null for none.</summary>
    public Func<TModel, double>? Score { get; init; }
}

/// <summary>What a phase of a cycle did.</summary>
/// <param name="Cycle">From 1.</param>
/// <param name="Phase">The phase's name.</param>
/// <param name="Learned">The labels it was trained on.</param>
/// <param name="Model">The trained model.</param>
/// <param name="Given">The labels it gave.</param>
/// <param name="Score">Its development score; NaN without one.</param>
public sealed record RelabellingRound<TModel, TLabels>(
    int Cycle,
    string Phase,
    TLabels Learned,
    TModel Model,
    TLabels Given,
    double Score
);

/// <summary>
/// Teachers and students that change places: each phase is trained on the labels of the one before, and labels the data for the next
/// (Trans-Encoder, arXiv 2109.13059, section 2; with a single phase it is self-training).
/// </summary>
public static class RelabellingCycles
{
    /// <summary>Runs all cycles.</summary>
    /// <param name="labels">The first phase's first labels.</param>
    /// <param name="cycles">How many, at least 1.</param>
    /// <param name="phases">The phases of a cycle in order, each name once.</param>
    /// <param name="done">Called after each round, for tables and pictures; null for nothing.</param>
    /// <returns>All rounds, in the order they ran.</returns>
    /// <exception cref="ArgumentException">There is no cycle or phase, or a name repeats.</exception>
    public static IReadOnlyList<RelabellingRound<TModel, TLabels>> Run<TModel, TLabels>(
        TLabels labels,
        int cycles,
        IReadOnlyList<RelabellingPhase<TModel, TLabels>> phases,
        Action<RelabellingRound<TModel, TLabels>>? done = null
    )
    {
        ArgumentNullException.ThrowIfNull(phases);
        if (cycles < 1 || phases.Count == 0)
            throw new ArgumentException($"At least 1 cycle and 1 phase are needed, but there are {cycles} and {phases.Count}.");
        if (phases.Select(phase => phase.Name).Distinct().Count() != phases.Count)
            throw new ArgumentException($"A phase's name repeats: {string.Join(", ", phases.Select(phase => phase.Name))}.");
        var rounds = new List<RelabellingRound<TModel, TLabels>>();
        var latest = new Dictionary<string, TModel>(StringComparer.Ordinal);
        for (int cycle = 1; cycle <= cycles; cycle++)
            foreach (var phase in phases)
            {
                var model = phase.Train(cycle, labels, latest.GetValueOrDefault(phase.Name));
                latest[phase.Name] = model;
                var given = phase.Label(model);
                var round = new RelabellingRound<TModel, TLabels>(
                    cycle,
                    phase.Name,
                    labels,
                    model,
                    given,
                    phase.Score?.Invoke(model) ?? double.NaN
                );
                rounds.Add(round);
                done?.Invoke(round);
                labels = given;
            }
        return rounds;
    }

    /// <summary>The round of a phase with the highest development score, the earliest of equals.</summary>
    /// <exception cref="ArgumentException">The phase has no round with a score.</exception>
    public static RelabellingRound<TModel, TLabels> Best<TModel, TLabels>(
        IEnumerable<RelabellingRound<TModel, TLabels>> rounds,
        string phase
    )
    {
        ArgumentNullException.ThrowIfNull(rounds);
        return rounds.Where(round => round.Phase == phase && !double.IsNaN(round.Score)).MaxBy(round => round.Score)
            ?? throw new ArgumentException(
                $"No round of phase '{phase}' has a score. Give the phase a Score, and its name as it was given."
            );
    }
}
