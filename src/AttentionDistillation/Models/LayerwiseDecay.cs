namespace AttentionDistillation.Models;

/// <summary>
/// Factors on the learning rate that shrink towards a model's input, for fine-tuning (Clark et al., "ELECTRA", 2020, section 3; Bao et al., "BEiT",
/// 2021, appendix): what is nearest the output has 1, and every layer below it has the decay once more.
/// </summary>
public static class LayerwiseDecay
{
    /// <summary>The factors of a model's parameters.</summary>
    /// <param name="names">The parameters.</param>
    /// <param name="layers">How many depths there are.</param>
    /// <param name="decay">Above 0, at most 1.</param>
    /// <param name="depthOf">The depth of a parameter, 0 (nearest the input) to <paramref name="layers"/> - 1.</param>
    /// <exception cref="ArgumentException">The decay or a depth is out of its range.</exception>
    public static IReadOnlyDictionary<string, double> Scales(
        IEnumerable<string> names,
        int layers,
        double decay,
        Func<string, int> depthOf
    )
    {
        ArgumentNullException.ThrowIfNull(names);
        ArgumentNullException.ThrowIfNull(depthOf);
        if (!(decay is > 0 and <= 1))
            throw new ArgumentException($"The decay must be above 0 and at most 1, but is {decay}.", nameof(decay));
        return names.ToDictionary(
            name => name,
            name =>
            {
                int depth = depthOf(name);
                return depth >= 0 && depth < layers
                    ? Math.Pow(decay, layers - 1 - depth)
                    : throw new ArgumentException(
                        $"'{name}' has the depth {depth}, but depths are 0 to {layers - 1}.",
                        nameof(depthOf)
                    );
            },
            StringComparer.Ordinal
        );
    }
}
