using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Signals;

/// <summary>The points of linear modulations in the complex plane, scaled to a mean power of 1.</summary>
/// <remarks>
/// Textbook forms (Proakis and Salehi, "Digital Communications", 5th edition, section 3.2). Phase-shift keying of M points lies at angles 2πk/M, of four
/// points turned by π/4; pulse amplitudes are the odd numbers from -(M - 1) to M - 1 on the in-phase axis; square quadrature amplitudes of M = m² points
/// have the in-phase level k div m and the quadrature level k mod m. No Gray labelling: symbol numbers carry no bits here.
/// </remarks>
public static class Constellation
{
    private static readonly Dictionary<string, Func<(double I, double Q)[]>> All = new(StringComparer.Ordinal)
    {
        ["bpsk"] = () => Phases(2, 0),
        ["qpsk"] = () => Phases(4, Math.PI / 4),
        ["8psk"] = () => Phases(8, 0),
        ["pam4"] = () => Amplitudes(4),
        ["qam16"] = () => Squares(4),
        ["qam64"] = () => Squares(8),
    };

    /// <summary>The names there are.</summary>
    public static IReadOnlyCollection<string> Names => All.Keys;

    /// <summary>The points of a modulation, float64 [M, 2]: in phase and quadrature; the caller disposes them.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <exception cref="ArgumentException">No such modulation; the message lists those there are.</exception>
    public static Tensor Points(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (!All.TryGetValue(name, out var make))
            throw new ArgumentException(
                $"There is no constellation '{name}'. There are: {string.Join(", ", Names)}. Frequency modulations have none.",
                nameof(name)
            );
        var points = make();
        double scale = 1 / Math.Sqrt(points.Average(point => point.I * point.I + point.Q * point.Q));
        return tensor([.. points.SelectMany(point => new[] { point.I * scale, point.Q * scale })], points.Length, 2);
    }

    private static (double, double)[] Phases(int count, double turn) =>
        [
            .. Enumerable
                .Range(0, count)
                .Select(k => (Math.Cos(2 * Math.PI * k / count + turn), Math.Sin(2 * Math.PI * k / count + turn))),
        ];

    private static (double, double)[] Amplitudes(int count) =>
        [.. Enumerable.Range(0, count).Select(k => (2.0 * k - count + 1, 0.0))];

    private static (double, double)[] Squares(int side) =>
        [.. Enumerable.Range(0, side * side).Select(k => (2.0 * (k / side) - side + 1, 2.0 * (k % side) - side + 1))];
}
