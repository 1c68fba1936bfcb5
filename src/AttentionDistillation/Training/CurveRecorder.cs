using AttentionDistillation.Losses;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>
/// Records loss terms without waiting for the device: values stay there until <see cref="Flush"/> reads many at once and checks that they are
/// finite.
/// </summary>
internal sealed class CurveRecorder(string label) : IDisposable
{
    // Few enough that a diverged loss is noticed soon, many enough that reading them costs nothing beside the steps.
    private const int MostPending = 32;

    private readonly List<CurvePoint> points = [];
    private readonly List<(long Step, string[] Terms, Tensor Values)> pending = [];

    public IReadOnlyList<CurvePoint> Points => points;

    /// <summary>How often recorders of the process read from a device, the only waits of a training between checkpoints; for tests.</summary>
    public static long Reads { get; private set; }

    public void Restore(IEnumerable<CurvePoint> earlier) => points.AddRange(earlier);

    /// <summary>Remembers the terms of a step; reads what is waiting when there is much of it, and tells whether it did.</summary>
    /// <exception cref="TrainingDivergedException">A value that was waiting is not finite.</exception>
    public bool Record(long step, LossTerms terms)
    {
        pending.Add((step, Names(terms), Values(terms).DetachFromDisposeScope()));
        if (pending.Count < MostPending)
            return false;
        Flush();
        return true;
    }

    /// <summary>Checks a step's terms at once, for steps after which state is written.</summary>
    /// <exception cref="TrainingDivergedException">A value is not finite.</exception>
    public void Check(long step, LossTerms terms)
    {
        using var values = Values(terms);
        Read(step, Names(terms), Host(values));
    }

    /// <summary>Reads everything that is waiting.</summary>
    /// <exception cref="TrainingDivergedException">A value is not finite.</exception>
    public void Flush()
    {
        if (pending.Count == 0)
            return;
        using var scope = NewDisposeScope();
        double[] values = Host(cat([.. pending.Select(item => item.Values)]));
        var waiting = pending.ToArray();
        Dispose();
        int at = 0;
        foreach (var (step, terms, _) in waiting)
        {
            points.AddRange(Read(step, terms, values.AsSpan(at, terms.Length)));
            at += terms.Length;
        }
    }

    public void Dispose()
    {
        foreach (var (_, _, values) in pending)
            values.Dispose();
        pending.Clear();
    }

    private CurvePoint[] Read(long step, string[] terms, ReadOnlySpan<double> values)
    {
        var read = new CurvePoint[terms.Length];
        for (int i = 0; i < terms.Length; i++)
            read[i] = double.IsFinite(values[i])
                ? new CurvePoint(step, terms[i], values[i])
                : throw new TrainingDivergedException(label, step, terms[i], values[i]);
        return read;
    }

    private static string[] Names(LossTerms terms) =>
        terms.Terms.Any(term => term.Name == TrainingCurve.Total)
            ? throw new ArgumentException(
                $"A loss term is called '{TrainingCurve.Total}', which is the weighted sum's name in curves. Give the term another name."
            )
            : [.. terms.Terms.Select(term => term.Name), TrainingCurve.Total];

    private static Tensor Values(LossTerms terms)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        return stack([
                .. terms
                    .Terms.Select(term => term.Value)
                    .Append(terms.Total)
                    .Select(value => value.detach().reshape([]).to(ScalarType.Float64)),
            ])
            .MoveToOuterDisposeScope();
    }

    private static double[] Host(Tensor values)
    {
        Reads++;
        using var host = values.cpu();
        return host.data<double>().ToArray();
    }
}
