using AttentionDistillation.Tensors;
using AttentionDistillation.Worlds;
using TorchSharp;

namespace AttentionDistillation.Tests.Worlds;

public class HintedLookupTests
{
    private static readonly HintedLookup World = new();

    // Looks the answer up: the value after the last token's key.
    private static long LookUp(HintedPrompt prompt)
    {
        var tokens = prompt.Tokens.ToList();
        return tokens[tokens.IndexOf(tokens[^1]) + 1];
    }

    [Theory]
    [InlineData(HintTruth.Biased, 0.87, 0.93)]
    [InlineData(HintTruth.Random, 0.17, 0.25)]
    [InlineData(HintTruth.Contrary, 0, 0)]
    public void HintsAreRightAsOftenAsTheyShallAndAnswersCanBeLookedUp(HintTruth truth, double least, double most)
    {
        var prompts = World.Prompts(1, 2000, truth);
        Assert.All(prompts, prompt => Assert.Equal(prompt.Answer, LookUp(prompt)));
        Assert.InRange(prompts.Average(prompt => prompt.NamesAnswer ? 1.0 : 0.0), least, most);
        Assert.All(
            prompts,
            prompt =>
            {
                string named = World.Word(prompt.Tokens[prompt.HintStart]);
                Assert.Equal(prompt.NamesAnswer, named == $"says-{World.Word(prompt.Answer)}");
                // The hint names a value of the prompt, so that it cannot be told by its looks.
                Assert.Contains(prompt.Tokens, token => $"says-{World.Word(token)}" == named);
                Assert.Equal(1, prompt.IsHint.Count(hint => hint));
                Assert.True(prompt.Tokens.Count < World.LongestPrompt);
            }
        );
        Assert.Equal(World.Read(prompts[7].Tokens), World.Read(World.Prompts(1, 8, truth)[7].Tokens));
        Assert.NotEqual(World.Read(prompts[7].Tokens), World.Read(World.Prompts(2, 8, truth)[7].Tokens));
    }

    [Fact]
    public void LongHintsOfSeveralKindsStandBetweenMarks()
    {
        var world = new HintedLookup(new HintedLookupOptions { HintLength = 3, HintKinds = 2 });
        var prompts = world.Prompts(1, 200, HintTruth.Random);
        Assert.All(
            prompts,
            prompt =>
                Assert.Equal(
                    ("«", "»"),
                    (world.Word(prompt.Tokens[prompt.HintStart]), world.Word(prompt.Tokens[prompt.HintStart + 2]))
                )
        );
        Assert.Equal(
            2,
            prompts.Select(prompt => world.Word(prompt.Tokens[prompt.HintStart + 1]).Split('-')[0]).Distinct().Count()
        );
        Assert.All(prompts, prompt => Assert.InRange(prompt.Tokens.Max(), 0, world.VocabularySize - 1));
        Assert.Throws<ArgumentException>(() => new HintedLookup(new HintedLookupOptions { MostPairs = 20 }));
    }

    [Fact]
    public void JoinedPairsAreTheSamePromptsInFewerTokens()
    {
        var joined = new HintedLookup(new HintedLookupOptions { JoinsPairs = true });
        foreach (var (whole, one) in World.Prompts(1, 50, HintTruth.Biased).Zip(joined.Prompts(1, 50, HintTruth.Biased)))
        {
            Assert.Equal(World.Word(whole.Answer), joined.Word(one.Answer));
            Assert.Equal(World.Word(whole.Tokens[whole.HintStart]), joined.Word(one.Tokens[one.HintStart]));
            Assert.Contains($"{joined.Word(one.Tokens[^1])}={joined.Word(one.Answer)}", joined.Read(one.Tokens));
            Assert.InRange(one.Tokens.Max(), 0, joined.VocabularySize - 1);
        }
    }

    [Fact]
    public void TextAsksForSeveralKeysAndKnowsItsStep()
    {
        using var batch = World.Text(1, 8, HintTruth.Absent, 3).BatchAt(5);
        using var again = World.Text(1, 8, HintTruth.Absent, 3).BatchAt(5);
        Assert.True(batch.InputIds.Equals(again.InputIds));
        Assert.Equal(24, batch.Labels.ne(Batch.IgnoredLabel).sum().item<long>());
        Assert.Equal(24, batch[PromptBatches.ResponseMask].sum().item<long>());
        // Labels stand one place before the tokens they ask for.
        using var before = batch.Labels[.., ..^1];
        using var after = batch[PromptBatches.ResponseMask][.., 1..];
        Assert.True(before.masked_select(after).Equals(batch.InputIds[.., 1..].masked_select(after)));
    }

    [Fact]
    public void MixedBatchesHoldBothKindsInOrder()
    {
        PromptExample[] first = [new([1, 2], [3]), new([1, 2, 4], [5, 6])],
            second = [new([9], [8])];
        using var batch = PromptBatches.Mixed(first, 2, second, 1, 1, 0).BatchAt(3);
        Assert.Equal([3, 5], batch.InputIds.shape);
        Assert.Equal(9, batch.InputIds[2, 0].item<long>());
        Assert.Equal([10L], batch.Mask!.sum().data<long>());
        var source = PromptBatches.Evaluation(first, 1, 0);
        Assert.Equal(2, source.Count);
        using var last = source.BatchAt(1);
        Assert.Equal([-100, -100, 5, 6, -100], last.Labels.data<long>());
        Assert.Equal([2, 4, 5, 6, -100], last[PromptBatches.TextLabels].data<long>());
        Assert.Throws<ArgumentException>(() => PromptBatches.Of([new([], [1])], 0));
    }
}
