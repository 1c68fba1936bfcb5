using System.Text;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds.Signals;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public sealed class RadioBurstsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void BurstsAreBalancedAndNeitherLoudnessNorTheNumberAskedForMatters()
    {
        using var scope = NewDisposeScope();
        var world = new RadioBursts();
        var set = world.Bursts(3, SignalSplit.Train, 112);
        Assert.All(set.Labels.GroupBy(label => label), group => Assert.Equal(14, group.Count()));
        Assert.All(set.Labels.Zip(set.Ratios).GroupBy(pair => pair), group => Assert.Equal(2, group.Count()));
        var all = stack([.. Enumerable.Range(0, set.Count).Select(set.Burst)]);
        Check.Close(ones(112), all.square().sum([1L]).mean([1L]), 1e-5);
        // The same bursts again, and as the first of more; another seed or split gives others.
        var again = world.Bursts(3, SignalSplit.Train, 112);
        var more = world.Bursts(3, SignalSplit.Train, 1000);
        for (int index = 0; index < set.Count; index++)
        {
            Assert.Equal(set.Burst(index).data<float>().ToArray(), again.Burst(index).data<float>().ToArray());
            Check.Close(set.Burst(index), more.Burst(index), 1e-6);
        }
        Assert.False(set.Burst(0).allclose(world.Bursts(4, SignalSplit.Train, 1).Burst(0)));
        Assert.False(set.Burst(0).allclose(world.Bursts(3, SignalSplit.Test, 1).Burst(0)));
    }

    [Fact]
    public void WithoutNoiseAndEchoesAMatchedFilterFindsThePoints()
    {
        using var scope = NewDisposeScope();
        // With one roll-off, no echo, no offset and no noise to speak of, the matched filter's output at one phase of the symbol is the constellation,
        // turned by the carrier's phase.
        var world = new RadioBursts(
            new()
            {
                Classes = ["qpsk", "bpsk"],
                TapSizes = [1],
                LargestShift = 0,
                SnrDb = [80],
                LeastRolloff = 0.35,
                LargestRolloff = 0.35,
                Length = 256,
            }
        );
        var taps = Modulation.RootRaisedCosine(0.35, 8, 8).view(1, 1, -1).to(ScalarType.Float32);
        var burst = world.Bursts(1, SignalSplit.Train, 1).Burst(0);
        var filtered = nn.functional.conv1d(burst.unsqueeze(1), taps).squeeze(1); // [2, 192]
        double best = Enumerable
            .Range(0, 8)
            .Min(phase =>
            {
                var power = filtered[.., TensorIndex.Slice(phase, null, 8)].square().sum([0L]);
                return (power.std() / power.mean()).item<float>();
            });
        Assert.InRange(best, 0, 0.03); // four points of one radius
        var anyPhase = filtered.square().sum([0L]);
        Assert.True((anyPhase.std() / anyPhase.mean()).item<float>() > 0.2);
    }

    [Fact]
    public void FrequencyModulationTurnsByItsIndexInASymbol()
    {
        using var scope = NewDisposeScope();
        var signal = Modulation.Frequency(
            tensor(
                new long[,]
                {
                    { 1, 1, 0, 1 },
                }
            ),
            0.5,
            8,
            0,
            32
        );
        Check.Close(ones(1, 32, dtype: ScalarType.Float64), signal.square().sum([1L]), 1e-12);
        double Angle(int sample) => Math.Atan2(signal[0, 1, sample].item<double>(), signal[0, 0, sample].item<double>());
        Assert.Equal(Math.PI / 2, Angle(7), 1e-9);
        Assert.Equal(Math.PI / 2, Angle(23), 1e-9); // after +90, +90, -90 degrees
        var smooth = Modulation.Frequency(
            tensor(
                new long[,]
                {
                    { 1, 1, 1, 1, 1, 1 },
                }
            ),
            0.5,
            8,
            16,
            16,
            0.35
        );
        Check.Close(ones(1, 16, dtype: ScalarType.Float64), smooth.square().sum([1L]), 1e-12);
    }

    [Fact]
    public void AChannelOfEchoesIsAConvolutionAndNoiseHasItsRatio()
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        var signal = randn(2, 2, 4000, dtype: ScalarType.Float64);
        var none = zeros(2, dtype: ScalarType.Float64);
        var taps = tensor(
            new double[,,]
            {
                {
                    { 1, 0 },
                    { 0, 1 },
                },
                {
                    { 1, 0 },
                    { 0, 0 },
                },
            }
        );
        var clean = RadioChannel.Apply(signal, zeros_like(signal), none + 10, none, none, taps);
        var unit = RadioChannel.UnitPower(signal);
        // Second tap j: I'[t] = I[t] - Q[t - 1], Q'[t] = Q[t] + I[t - 1].
        var expected = unit[0].clone();
        expected[0, 1..] -= unit[0, 1, ..^1];
        expected[1, 1..] += unit[0, 0, ..^1];
        Check.Close(RadioChannel.UnitPower(expected.unsqueeze(0))[0], clean[0], 1e-12);
        Check.Close(unit[1], clean[1], 1e-12);
        var noisy = RadioChannel.Apply(signal, randn_like(signal), none + 10, none, none, null);
        // At 10 dB a part 1 / 11 of the received power is noise.
        var residue = noisy * Math.Sqrt(1.1) - unit;
        Assert.InRange(residue.square().sum([1L]).mean().item<double>(), 0.095, 0.105);
        var turned = RadioChannel.Apply(signal, zeros_like(signal), none, none + 0.25, none, null);
        Check.Close(-unit[0, 1, 1], turned[0, 0, 1], 1e-12);
    }

    [Fact]
    public void TrainingBatchesRepeatByTheirSeedAndAugmentationKeepsTheSignal()
    {
        using var scope = NewDisposeScope();
        var set = new RadioBursts().Bursts(1, SignalSplit.Train, 56);
        var source = set.Training(5, 16, BurstAugmentation.Standard);
        using var batch = source.BatchAt(7);
        using var twice = source.BatchAt(7);
        Assert.True(batch[BurstSet.Signals].eq(twice[BurstSet.Signals]).all().ToBoolean());
        for (int row = 0; row < 16; row++)
        {
            int index = (int)batch["index"][row].item<long>();
            var again = set.Augmented(index, BurstAugmentation.Standard, batch["augmentation_seed"][row].item<long>());
            Assert.True(again.eq(batch[BurstSet.Signals][row]).all().ToBoolean());
            Assert.Equal(set.Labels[index], batch.Labels[row].item<long>());
            Assert.Equal(set.Ratios[index], batch[BurstSet.SnrDb][row].item<float>());
            // Rotation and shift leave the sorted powers of the samples.
            var (before, after) = (set.Burst(index).square().sum([0L]).sort().Values, again.square().sum([0L]).sort().Values);
            Check.Close(before, after, 1e-4);
        }
        int steps = set.StepsPerEpoch(8);
        var seen = Enumerable
            .Range(0, steps)
            .SelectMany(step => set.Training(2, 8).BatchAt(step)["index"].data<long>().ToArray());
        Assert.Equal(Enumerable.Range(0, 56).Select(index => (long)index), seen.Order());
        Assert.Equal(56, set.Evaluation(10).All().Sum(part => (int)part.Size));
    }

    [Fact]
    public void AFileHoldsWhatWasWritten()
    {
        using var scope = NewDisposeScope();
        var set = new RadioBursts().Bursts(1, SignalSplit.Test, 60);
        string path = Path.Combine(folder.Path, "bursts.bin");
        BurstFiles.Write(path, set);
        var read = BurstFiles.Read(path);
        Assert.Equal(set.Labels, read.Labels);
        Assert.Equal(set.Ratios, read.Ratios);
        Assert.Equal(set.ClassNames, read.ClassNames);
        Assert.True(set.Burst(59).eq(read.Burst(59)).all().ToBoolean());
        byte[] whole = File.ReadAllBytes(path);
        string Refusal(byte[] bytes)
        {
            string bad = Path.Combine(folder.Path, "bad.bin");
            File.WriteAllBytes(bad, bytes);
            return Assert.Throws<InvalidDataException>(() => BurstFiles.Read(bad)).Message;
        }
        Assert.Contains("ends inside its decibels", Refusal(whole[..^1]));
        Assert.Contains("ends inside its samples", Refusal(whole[..2000]));
        Assert.Contains("1 bytes after", Refusal([.. whole, 0]));
        Assert.Contains("not a file of bursts", Refusal(Encoding.ASCII.GetBytes("something else entirely")));
        byte[] wrong = [.. whole];
        wrong[^(60 + 3)] = 200;
        Assert.Contains("label 200", Refusal(wrong));
        Assert.Throws<FileNotFoundException>(() => BurstFiles.Read(Path.Combine(folder.Path, "none.bin")));
    }

    [Fact]
    public void WhatCannotBeIsRefused()
    {
        using var scope = NewDisposeScope();
        Assert.Contains("There are: bpsk", Assert.Throws<ArgumentException>(() => Constellation.Points("qam32")).Message);
        Assert.Contains(
            "no modulation 'fm'",
            Assert.Throws<ArgumentException>(() => new RadioBursts(new() { Classes = ["bpsk", "fm"] })).Message
        );
        Assert.Throws<ArgumentException>(() => Modulation.RootRaisedCosine(0, 4, 4));
        Assert.Contains(
            "0 to 3",
            Assert
                .Throws<ArgumentException>(() =>
                    Modulation.Linear(
                        tensor(
                            new long[,]
                            {
                                { 4 },
                            }
                        ),
                        Constellation.Points("qpsk"),
                        ones(5, dtype: ScalarType.Float64),
                        4,
                        0,
                        4
                    )
                )
                .Message
        );
        Assert.Contains(
            "more symbols",
            Assert
                .Throws<ArgumentException>(() =>
                    Modulation.Frequency(
                        tensor(
                            new long[,]
                            {
                                { 1 },
                            }
                        ),
                        0.5,
                        4,
                        0,
                        5
                    )
                )
                .Message
        );
        Assert.Contains(
            "0 or 1",
            Assert
                .Throws<ArgumentException>(() =>
                    Modulation.Frequency(
                        tensor(
                            new long[,]
                            {
                                { 2 },
                            }
                        ),
                        0.5,
                        4,
                        0,
                        4
                    )
                )
                .Message
        );
        foreach (string name in Constellation.Names)
            Assert.Equal(1, Constellation.Points(name).square().sum([1L]).mean().item<double>(), 1e-12);
    }
}
