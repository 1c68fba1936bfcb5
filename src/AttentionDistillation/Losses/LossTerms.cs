using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>Named scalar loss terms with weights, and their weighted total: every curve can be plotted by term.</summary>
[TypeFormatterSource(typeof(HtmlFormatterSource))]
public sealed class LossTerms : IHtmlValue
{
    private readonly List<(string Name, Tensor Value, double Weight)> terms = [];
    private Tensor? total;

    /// <summary>A single term of weight 1.</summary>
    public static LossTerms Of(string name, Tensor value) => new LossTerms().Add(name, value);

    /// <summary>Adds a term and returns the same object.</summary>
    /// <param name="name">The term's name in curves, unique.</param>
    /// <param name="value">A scalar tensor.</param>
    /// <param name="weight">Its factor in the total.</param>
    /// <exception cref="ArgumentException">The value is no scalar, or the name was used before.</exception>
    public LossTerms Add(string name, Tensor value, double weight = 1.0)
    {
        ArgumentNullException.ThrowIfNull(value);
        if (value.numel() != 1)
            throw new ArgumentException(
                $"Loss term '{name}' must be a scalar, but has shape [{string.Join(", ", value.shape)}].",
                nameof(value)
            );
        if (terms.Any(term => term.Name == name))
            throw new ArgumentException($"Loss term '{name}' was added before. Give each term a name of its own.", nameof(name));
        terms.Add((name, value, weight));
        total = null;
        return this;
    }

    /// <summary>The terms in the order they were added, unweighted.</summary>
    public IReadOnlyList<(string Name, Tensor Value, double Weight)> Terms => terms;

    /// <summary>The value of a term, unweighted.</summary>
    /// <exception cref="KeyNotFoundException">No such term; the message lists the terms there are.</exception>
    public Tensor this[string name] =>
        terms.FirstOrDefault(term => term.Name == name).Value
        ?? throw new KeyNotFoundException(
            $"No loss term '{name}'. There are: {string.Join(", ", terms.Select(term => term.Name))}."
        );

    /// <summary>The weighted sum, a scalar tensor.</summary>
    /// <exception cref="InvalidOperationException">There are no terms.</exception>
    public Tensor Total
    {
        get
        {
            if (terms.Count == 0)
                throw new InvalidOperationException("A loss has no terms. Add at least one.");
            return total ??= terms
                .Select(term => term.Weight == 1.0 ? term.Value : term.Value * term.Weight)
                .Aggregate((sum, term) => sum + term);
        }
    }

    /// <summary>Terms, weights and what each adds to the total, as a table.</summary>
    public string ToHtml()
    {
        using var scope = NewDisposeScope();
        var rows = terms
            .Select(term => (term.Name, Value: term.Value.detach().to(ScalarType.Float64).cpu().item<double>(), term.Weight))
            .ToList();
        return HtmlTable.Of(
            "Loss",
            ["Term", "Value", "Weight", "Weighted"],
            [
                .. rows.Select(row =>
                    (string[])
                        [
                            row.Name,
                            HtmlTable.Short(row.Value),
                            HtmlTable.Short(row.Weight),
                            HtmlTable.Short(row.Value * row.Weight),
                        ]
                ),
                ["total", "", "", HtmlTable.Short(rows.Sum(row => row.Value * row.Weight))],
            ]
        );
    }
}
