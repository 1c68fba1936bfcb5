using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Signals;

/// <summary>Symbols to complex baseband samples [b, 2, length]: in phase, quadrature.</summary>
public static class Modulation
{
    /// <summary>Taps of a root-raised-cosine pulse with unit energy.</summary>
    /// <param name="rolloff">ρ, above 0 up to 1.</param>
    /// <param name="span">Symbols that the pulse spans.</param>
    /// <param name="perSymbol">Samples a symbol.</param>
    /// <returns>float64 [span · perSymbol + 1].</returns>
    /// <remarks>
    /// With t = (i − span · perSymbol / 2) / perSymbol: h = [sin πt(1 − ρ) + 4ρt cos πt(1 + ρ)] / [πt(1 − (4ρt)²)], its limits at t = 0 and |t| = 1/(4ρ)
    /// (Proakis and Salehi, section 9.2).
    /// </remarks>
    /// <exception cref="ArgumentException">A number is out of its range; the message says which.</exception>
    public static Tensor RootRaisedCosine(double rolloff, int span, int perSymbol)
    {
        if (!(rolloff > 0 && rolloff <= 1))
            throw new ArgumentException($"The roll-off must be above 0 and at most 1, but is {rolloff}.", nameof(rolloff));
        RequirePositive(span, perSymbol);
        double[] taps = new double[span * perSymbol + 1];
        for (int i = 0; i < taps.Length; i++)
            taps[i] = Pulse((i - span * perSymbol / 2.0) / perSymbol, rolloff);
        double energy = Math.Sqrt(taps.Sum(tap => tap * tap));
        return tensor([.. taps.Select(tap => tap / energy)]);
    }

    /// <summary>Linear modulation: y[t] = Σₖ point(sₖ) h[t − k · perSymbol], samples <paramref name="offset"/> to offset + length − 1.</summary>
    /// <param name="symbols">int64 [b, K], numbers of points.</param>
    /// <param name="points">[M, 2], see <see cref="Constellation.Points"/>.</param>
    /// <param name="taps">h, [T] for all bursts, or [b, T], one row each.</param>
    /// <param name="perSymbol">Samples a symbol.</param>
    /// <param name="offset">The first sample taken.</param>
    /// <param name="length">Samples taken.</param>
    /// <returns>[b, 2, length] of the points' type.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, a symbol has no point, or a number is out of its range.</exception>
    public static Tensor Linear(Tensor symbols, Tensor points, Tensor taps, int perSymbol, int offset, int length)
    {
        Shapes.Require(symbols, "[b, K]");
        Shapes.RequireExact(points, [-1, 2]);
        ArgumentNullException.ThrowIfNull(taps);
        RequireWindow(perSymbol, offset, length);
        long batch = symbols.size(0),
            count = symbols.size(1),
            width = taps.size(-1);
        if (taps.dim() == 2)
            Shapes.RequireExact(taps, [batch, -1]);
        else
            Shapes.Require(taps, "[T]");
        using var scope = NewDisposeScope();
        if (symbols.numel() > 0 && (symbols.min().item<long>() < 0 || symbols.max().item<long>() >= points.size(0)))
            throw new ArgumentException(
                $"Symbols must be 0 to {points.size(0) - 1} for {points.size(0)} points, but lie from {symbols.min().item<long>()} to {symbols.max().item<long>()}.",
                nameof(symbols)
            );
        // Tap that symbol k adds to sample t; outside the pulse, one tap of zero behind the others.
        var place = arange(offset, offset + length).unsqueeze(1) - arange(count).unsqueeze(0) * perSymbol;
        var inside = place.ge(0).logical_and(place.lt(width));
        place = where(inside, place, full_like(place, width));
        var pulses = cat([taps.reshape(-1, width), zeros(taps.numel() / width, 1, dtype: taps.dtype)], 1)
            .index_select(1, place.reshape(-1))
            .view(-1, length, count);
        var levels = points.index_select(0, symbols.reshape(-1)).view(batch, count, 2);
        return matmul(pulses, levels).transpose(1, 2).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Continuous-phase frequency-shift keying of two levels: ±1 held for a symbol, smoothed by a Gaussian if asked, phase = π index / perSymbol · running
    /// sum with the sample itself.
    /// </summary>
    /// <param name="symbols">int64 [b, K], 0 or 1.</param>
    /// <param name="index">Modulation index: in a symbol the phase turns by ±π index.</param>
    /// <param name="perSymbol">Samples a symbol.</param>
    /// <param name="offset">The first sample taken.</param>
    /// <param name="length">Samples taken.</param>
    /// <param name="bandwidth">B of the Gaussian, in parts of the symbol rate; null for none.</param>
    /// <param name="span">Symbols that the Gaussian spans.</param>
    /// <returns>float64 [b, 2, length], power 1.</returns>
    /// <remarks>Gaussian taps exp(−2π²B²t² / ln 2), t in symbols, scaled to a sum of 1; beyond the ends the level is 0 (Murota and Hirade 1981).</remarks>
    /// <exception cref="ArgumentException">Shapes do not fit, a symbol is neither 0 nor 1, or the window reaches beyond the symbols.</exception>
    public static Tensor Frequency(
        Tensor symbols,
        double index,
        int perSymbol,
        int offset,
        int length,
        double? bandwidth = null,
        int span = 4
    )
    {
        Shapes.Require(symbols, "[b, K]");
        RequireWindow(perSymbol, offset, length);
        RequirePositive(span, perSymbol);
        if (bandwidth is not null and not > 0)
            throw new ArgumentException(
                $"The bandwidth must be above 0, but is {bandwidth}. Null means no smoothing.",
                nameof(bandwidth)
            );
        long samples = symbols.size(1) * perSymbol;
        if (offset + length > samples)
            throw new ArgumentException(
                $"Samples {offset} to {offset + length - 1} were asked for, but {symbols.size(1)} symbols of {perSymbol} samples end at {samples - 1}. Give more symbols.",
                nameof(length)
            );
        using var scope = NewDisposeScope();
        if (symbols.eq(0).logical_or(symbols.eq(1)).logical_not().any().item<bool>())
            throw new ArgumentException("Symbols of a frequency modulation of two levels must be 0 or 1.", nameof(symbols));
        var level = (symbols * 2 - 1).to(ScalarType.Float64).repeat_interleave(perSymbol, 1);
        if (bandwidth is { } wide)
        {
            int width = span * perSymbol + 1;
            var time = (arange(width, dtype: ScalarType.Float64) - span * perSymbol / 2.0) / perSymbol;
            var taps = (time.square() * (-2 * Math.PI * Math.PI * wide * wide / Math.Log(2))).exp();
            level = nn
                .functional.conv1d(level.unsqueeze(1), (taps / taps.sum()).view(1, 1, -1), padding: width / 2)
                .squeeze(1)
                .narrow(1, 0, samples);
        }
        var phase = (level.cumsum(1) * (Math.PI * index / perSymbol)).narrow(1, offset, length);
        return stack([phase.cos(), phase.sin()], 1).MoveToOuterDisposeScope();
    }

    private static double Pulse(double time, double rolloff)
    {
        if (Math.Abs(time) < 1e-9)
            return 1 - rolloff + 4 * rolloff / Math.PI;
        if (Math.Abs(Math.Abs(4 * rolloff * time) - 1) < 1e-9)
        {
            double angle = Math.PI / (4 * rolloff);
            return rolloff / Math.Sqrt(2) * ((1 + 2 / Math.PI) * Math.Sin(angle) + (1 - 2 / Math.PI) * Math.Cos(angle));
        }
        double turn = Math.PI * time,
            wide = 4 * rolloff * time;
        return (Math.Sin(turn * (1 - rolloff)) + wide * Math.Cos(turn * (1 + rolloff))) / (turn * (1 - wide * wide));
    }

    private static void RequirePositive(int span, int perSymbol)
    {
        if (span < 1 || perSymbol < 1)
            throw new ArgumentException($"Span and samples a symbol must be 1 or more, but are {span} and {perSymbol}.");
    }

    private static void RequireWindow(int perSymbol, int offset, int length)
    {
        if (perSymbol < 1 || offset < 0 || length < 1)
            throw new ArgumentException(
                $"Samples a symbol and length must be 1 or more and the offset 0 or more, but are {perSymbol}, {length} and {offset}."
            );
    }
}
