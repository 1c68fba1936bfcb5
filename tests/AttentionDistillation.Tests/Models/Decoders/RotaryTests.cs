using AttentionDistillation.Models.Blocks;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Decoders;

/// <summary>Every scaling against its formula in float64, written out here a second time.</summary>
public sealed class RotaryTests
{
    private const long Width = 16;
    private const long Maximum = 64;

    /// <summary>Frequencies are float32: a few units in the last place, relative.</summary>
    private const double Tolerance = 1e-6;

    [Fact]
    public void TheDefaultAndTheLinearScaling()
    {
        Check(new RotaryOptions { Theta = 500.0 }, null, pair => Math.Pow(500, -pair / 8.0));
        Check(new RotaryOptions { Scaling = RotaryScaling.Linear, Factor = 4 }, null, pair => Math.Pow(10000, -pair / 8.0) / 4);
        Check(new RotaryOptions { PartialFactor = 0.5 }, null, pair => Math.Pow(10000, -pair / 4.0), pairs: 4);
    }

    [Theory]
    [InlineData(64, 1.0)]
    [InlineData(96, 2.0)]
    public void TheDynamicScalingGrowsItsBaseBeyondTheTrainedLength(long length, double ratio)
    {
        double theta = 10000 * Math.Pow(ratio, 16.0 / 14);
        Check(new RotaryOptions { Scaling = RotaryScaling.Dynamic, Factor = 2 }, length, pair => Math.Pow(theta, -pair / 8.0));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void YarnBlends(bool truncate)
    {
        var options = new RotaryOptions
        {
            Scaling = RotaryScaling.Yarn,
            Factor = 8,
            OriginalPositions = 256,
            BetaFast = 8,
            BetaSlow = 2,
            Truncate = truncate,
        };
        double Dimension(double rotations) => 16 * Math.Log(256 / (rotations * 2 * Math.PI)) / (2 * Math.Log(10000));
        double low = Dimension(8),
            high = Dimension(2);
        if (truncate)
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        Check(
            options,
            null,
            pair =>
            {
                double ramp = Math.Clamp((pair - low) / (high - low), 0, 1);
                return Math.Pow(10000, -pair / 8.0) * (ramp / 8 + 1 - ramp);
            },
            0.1 * Math.Log(8) + 1
        );
        Check(
            options with
            {
                MagnitudeScale = 0.7,
                MagnitudeScaleAll = 0.5,
            },
            null,
            null,
            (0.07 * Math.Log(8) + 1) / (0.05 * Math.Log(8) + 1)
        );
        Check(options with { AttentionFactor = 1.3 }, null, null, 1.3);
        // Without a factor: the ratio of the lengths.
        Check(options with { Factor = null, OriginalPositions = 16 }, null, null, 0.1 * Math.Log(4) + 1);
    }

    [Theory]
    [InlineData(16, 2.0)]
    [InlineData(17, 3.0)]
    public void LongRopeHasFactorsForShortAndLongInputs(long length, double divisor) =>
        Check(
            new RotaryOptions
            {
                Scaling = RotaryScaling.LongRope,
                OriginalPositions = 16,
                ShortFactors = [2, 2, 2, 2, 2, 2, 2, 2],
                LongFactors = [3, 3, 3, 3, 3, 3, 3, 3],
            },
            length,
            pair => Math.Pow(10000, -pair / 8.0) / divisor,
            Math.Sqrt(1 + Math.Log(4) / Math.Log(16))
        );

    [Fact]
    public void Llama3DividesSlowAndBlendsMediumFrequencies() =>
        Check(
            new RotaryOptions
            {
                Scaling = RotaryScaling.Llama3,
                Factor = 8,
                LowFrequencyFactor = 1,
                HighFrequencyFactor = 4,
                OriginalPositions = 64,
            },
            null,
            pair =>
            {
                double frequency = Math.Pow(10000, -pair / 8.0),
                    wavelength = 2 * Math.PI / frequency,
                    smooth = (64 / wavelength - 1) / 3;
                return wavelength < 16 ? frequency
                    : wavelength > 64 ? frequency / 8
                    : (1 - smooth) * frequency / 8 + smooth * frequency;
            }
        );

    [Fact]
    public void VectorsTurnByTheirPositionAndTheRestPasses()
    {
        using var scope = NewDisposeScope();
        using var positions = new RotaryPositions(new RotaryOptions { PartialFactor = 0.5 }, 8, Maximum);
        var vectors = randn(2, 3, 2, 8, dtype: ScalarType.Float64);
        var places = tensor(new long[] { 0, 7, 300, 5, 5, 6 }, 2, 3);
        var turned = positions.At(places, ScalarType.Float64).Apply(vectors);
        for (int sequence = 0; sequence < 2; sequence++)
        for (int token = 0; token < 3; token++)
        for (int channel = 0; channel < 2; channel++)
        {
            double angle = places[sequence, token].ToInt64() * Math.Pow(10000, -channel / 2.0);
            double first = vectors[sequence, token, 1, channel].ToDouble(),
                second = vectors[sequence, token, 1, channel + 2].ToDouble();
            // Angles are float32, as in transformers: 300 radians hold to about 3e-5.
            Assert.Equal(
                first * Math.Cos(angle) - second * Math.Sin(angle),
                turned[sequence, token, 1, channel].ToDouble(),
                1e-4
            );
            Assert.Equal(
                second * Math.Cos(angle) + first * Math.Sin(angle),
                turned[sequence, token, 1, channel + 2].ToDouble(),
                1e-4
            );
        }
        Assert.Equal(0.0, TinyDecoders.Difference(vectors.narrow(3, 4, 4), turned.narrow(3, 4, 4)));
        // Consecutive positions come from a table, which grows.
        var rows = positions.At(290, 20, ScalarType.Float64, CPU);
        var same = positions.At(arange(290, 310, dtype: ScalarType.Int64).unsqueeze(0), ScalarType.Float64);
        Assert.Equal(0.0, TinyDecoders.Difference(rows.Cosines, same.Cosines));
        Assert.Equal(0.0, TinyDecoders.Difference(rows.SignedSines, same.SignedSines));
    }

    [Fact]
    public void MissingOptionsAreNamed()
    {
        foreach (
            var (options, name) in new[]
            {
                (new RotaryOptions { Scaling = RotaryScaling.Linear }, "Factor"),
                (new RotaryOptions { Scaling = RotaryScaling.LongRope, ShortFactors = [1] }, "ShortFactors"),
                (new RotaryOptions { Scaling = RotaryScaling.Llama3, Factor = 2 }, "LowFrequencyFactor"),
                (new RotaryOptions { PartialFactor = 0.2 }, "PartialFactor"),
            }
        )
            Assert.Contains(name, Assert.Throws<ArgumentException>(() => options.Validate(Width)).Message);
    }

    private static void Check(
        RotaryOptions options,
        long? length,
        Func<int, double>? expected,
        double factor = 1.0,
        int pairs = 8
    )
    {
        using var scope = NewDisposeScope();
        var (frequencies, attention) = RotaryFrequencies.Of(options, Width, Maximum, length);
        Assert.Equal(factor, attention, 1e-12);
        Assert.Equal([pairs], frequencies.shape);
        for (int pair = 0; expected is not null && pair < pairs; pair++)
            Assert.Equal(1.0, frequencies[pair].ToSingle() / expected(pair), Tolerance);
    }
}
