using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds.Signals;

/// <summary>What happens to a burst between transmitter and receiver. Every draw is an input, so that it is repeatable.</summary>
public static class RadioChannel
{
    /// <summary>
    /// Power 1, complex causal taps, rotation by 2π · shift · t + phase, power 1, noise of deviation √(10^(−SNR/10) / 2) in each component, power 1. The
    /// last step keeps loudness from giving the signal-to-noise ratio away.
    /// </summary>
    /// <param name="signal">[b, 2, L]: in phase, quadrature.</param>
    /// <param name="noise">Standard normal draws [b, 2, L].</param>
    /// <param name="snrDb">Signal-to-noise ratio in decibels, [b].</param>
    /// <param name="shift">Carrier offset in cycles a sample, [b].</param>
    /// <param name="phase">Carrier phase in radians, [b].</param>
    /// <param name="taps">Complex taps [b, T, 2], the first for the sample itself; null for a path without echoes.</param>
    /// <returns>[b, 2, L] with a mean power of 1 in each burst.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Apply(Tensor signal, Tensor noise, Tensor snrDb, Tensor shift, Tensor phase, Tensor? taps)
    {
        Shapes.RequireExact(signal, [-1, 2, -1]);
        long batch = signal.size(0),
            length = signal.size(2);
        Shapes.RequireExact(noise, signal.shape);
        Shapes.RequireExact(snrDb, [batch]);
        Shapes.RequireExact(shift, [batch]);
        Shapes.RequireExact(phase, [batch]);
        using var scope = NewDisposeScope();
        var (real, imaginary) = Parts(UnitPower(signal));
        if (taps is not null)
        {
            Shapes.RequireExact(taps, [batch, -1, 2]);
            Tensor ofReal = zeros_like(real),
                ofImaginary = zeros_like(imaginary);
            for (long tap = 0; tap < taps.size(1); tap++)
            {
                long kept = length - tap;
                if (kept < 1)
                    break;
                Tensor a = taps.select(1, tap).narrow(1, 0, 1),
                    b = taps.select(1, tap).narrow(1, 1, 1);
                Tensor x = Later(real, tap, kept),
                    y = Later(imaginary, tap, kept);
                ofReal += a * x - b * y;
                ofImaginary += a * y + b * x;
            }
            (real, imaginary) = (ofReal, ofImaginary);
        }
        var time = arange(length, dtype: signal.dtype, device: signal.device);
        var angle = shift.unsqueeze(1) * time * (2 * Math.PI) + phase.unsqueeze(1);
        Tensor cosine = angle.cos(),
            sine = angle.sin();
        var turned = UnitPower(stack([real * cosine - imaginary * sine, real * sine + imaginary * cosine], 1));
        var deviation = (pow(10.0, snrDb * -0.1) / 2).sqrt();
        return UnitPower(turned + noise * deviation.view(-1, 1, 1)).MoveToOuterDisposeScope();
    }

    /// <summary>Bursts [b, 2, L] scaled to a mean of I² + Q² of 1 each.</summary>
    public static Tensor UnitPower(Tensor signal)
    {
        Shapes.RequireExact(signal, [-1, 2, -1]);
        using var scope = NewDisposeScope();
        var power = signal.square().sum(1, keepdim: true).mean([2L], keepdim: true);
        return (signal / power.sqrt()).MoveToOuterDisposeScope();
    }

    private static (Tensor Real, Tensor Imaginary) Parts(Tensor signal) => (signal.select(1, 0), signal.select(1, 1));

    private static Tensor Later(Tensor part, long by, long kept) =>
        by == 0 ? part : nn.functional.pad(part.narrow(1, 0, kept), [by, 0]);
}
