using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models.Slicing;

public class ImportanceTests
{
    public static TheoryData<ActivationAggregation, ActivationAggregation> Pairs()
    {
        var data = new TheoryData<ActivationAggregation, ActivationAggregation>();
        foreach (var sequence in Enum.GetValues<ActivationAggregation>())
        foreach (var batch in Enum.GetValues<ActivationAggregation>())
            data.Add(sequence, batch);
        return data;
    }

    [Theory]
    [MemberData(nameof(Pairs))]
    public void ScoresDoNotDependOnPaddingOrBatches(ActivationAggregation sequence, ActivationAggregation batch)
    {
        var random = new RandomTensors(1);
        var activations = random.Normal(5, 6, 4);
        var whole = ActivationImportance.Channels(activations, null, sequence, batch);
        var padded = nn.functional.pad(activations, [0, 0, 0, 3], value: 9);
        Check.Close(whole, ActivationImportance.Channels(padded, RandomTensors.Mask(9, 6, 6, 6, 6, 6), sequence, batch), 1e-12);
        using var running = new ImportanceAccumulator(sequence, batch);
        running.Add(activations[..2], null);
        running.Add(padded[2..], RandomTensors.Mask(9, 6, 6, 6));
        Check.Close(whole, running.Scores(), 1e-10);
    }

    [Fact]
    public void BlockInfluenceIsZeroForALayerThatDoesNothing()
    {
        var x = new RandomTensors(2).Normal(2, 3, 5, 4);
        var y = stack([x[0] * 2, -x[1]]);
        var mask = RandomTensors.Mask(5, 5, 2, 1);
        Check.Close(tensor(new[] { 0.0, 2.0 }), ActivationImportance.BlockInfluence(x, y, mask), 1e-12);
        var noise = x.masked_fill(mask.unsqueeze(-1), 0.0) * 7;
        Check.Close(
            ActivationImportance.BlockInfluence(x, y + 1, mask),
            ActivationImportance.BlockInfluence(x + noise, y + 1 - noise, mask),
            1e-12
        );
    }

    [Fact]
    public void RankingIsStable()
    {
        Assert.Equal([1, 3, 0, 2], ImportanceRanking.Descending([1.0, 2.0, 1.0, 2.0]));
        Assert.Equal(
            [
                [1, 0],
                [1, 0],
            ],
            ImportanceRanking.DescendingInGroups([1, 5, 7, 9], 2)
        );
        Assert.Equal([0, 1, 3], LayerSelection.Highest([2.0, 2.0, 1.0, 2.0], 3));
        Assert.Equal([0, 2, 4], LayerSelection.EveryNth(6));
        Assert.Throws<ArgumentException>(() => ImportanceRanking.Descending([double.NaN]));
        Assert.Throws<ArgumentException>(() => LayerSelection.EvenlySpaced(4, 5));
    }
}
