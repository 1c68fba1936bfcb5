namespace AttentionDistillation.Training;

/// <summary>
/// Teachers in a row: the first teaches the second, which then teaches the third. With one model between it is the teacher assistant of Mirzadeh et al.
/// 2020 (arXiv 1902.03393) and of MiniLM (arXiv 2002.10957, section 3.4).
/// </summary>
public static class DistillationChain
{
    /// <summary>Distils along the chain; every model is a teacher only after it was a student.</summary>
    /// <param name="models">The teacher, any number of assistants, the student: at least two.</param>
    /// <param name="distil">Distils a teacher into a student; also given the link's number from 0.</param>
    /// <returns>What each link did.</returns>
    /// <exception cref="ArgumentException">There are fewer than two models, or one occurs twice.</exception>
    public static IReadOnlyList<TResult> Run<TModel, TResult>(
        IReadOnlyList<TModel> models,
        Func<TModel, TModel, int, TResult> distil
    )
        where TModel : class
    {
        ArgumentNullException.ThrowIfNull(models);
        ArgumentNullException.ThrowIfNull(distil);
        if (models.Count < 2)
            throw new ArgumentException($"A chain needs a teacher and a student, but has {models.Count} models.", nameof(models));
        if (models.Distinct(ReferenceEqualityComparer.Instance).Count() != models.Count)
            throw new ArgumentException(
                "A model occurs twice in the chain. Build one of its own for each place.",
                nameof(models)
            );
        var results = new TResult[models.Count - 1];
        for (int link = 0; link < results.Length; link++)
            results[link] = distil(models[link], models[link + 1], link);
        return results;
    }
}
