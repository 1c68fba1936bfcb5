using AttentionDistillation.Analysis;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Worlds;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Worlds;

public class LongEntitiesTests
{
    private static readonly LongEntities World = new();

    [Fact]
    public void DocumentsAreAFunctionOfTheSeed()
    {
        using var first = World.Long(3, 4, 64).BatchAt(7);
        using var second = World.Long(3, 4, 64).BatchAt(7);
        using var other = World.Long(4, 4, 64).BatchAt(7);
        Assert.True(first.InputIds.equal(second.InputIds).all().item<bool>());
        Assert.False(first.InputIds.equal(other.InputIds).all().item<bool>());
        Assert.True(first.Mask!.eq(first.InputIds.ne(LongEntities.Padding)).all().item<bool>());
        Assert.True(first.Labels.masked_select(first.Mask.logical_not()).eq(Batch.IgnoredLabel).all().item<bool>());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void EveryMentionFollowsItsDeclaration(bool isLong)
    {
        using var batch = World.HeldOut(isLong, 1, 64, isLong ? 128 : 32).BatchAt(0);
        int mentions = 0;
        for (int row = 0; row < 64; row++)
        {
            long[] distances = [.. batch[LongEntities.Distance][row].data<long>()],
                tokens = [.. batch.InputIds[row].data<long>()],
                tags = [.. batch.Labels[row].data<long>()];
            for (int place = 0; place < tokens.Length; place++)
            {
                Assert.Equal(distances[place] >= 0, tags[place] > 0 && tags[place] % 2 == 1);
                if (distances[place] < 0)
                    continue;
                mentions++;
                string kind = World.Word(tokens[place])[..1],
                    name = World.Tags[(int)tags[place]][2..];
                bool Declares(long at) =>
                    at >= 0
                    && at < tokens.Length
                    && World.Word(tokens[at]).StartsWith(kind, StringComparison.Ordinal)
                    && World.Word(tokens[at]).EndsWith("=" + name, StringComparison.Ordinal);
                Assert.True(Declares(place - distances[place]) || (isLong && Declares(place + distances[place])));
                if (!isLong)
                    Assert.InRange(distances[place], 1, 2);
            }
        }
        Assert.True(mentions > 100);
    }

    [Fact]
    public void WhoDoesNotSeeTheDeclarationGuesses()
    {
        // The best rule without declarations: the most frequent class. A third of the classes is right, the entities' places are known.
        using var batch = World.HeldOut(true, 1, 256, 96).BatchAt(0);
        var tags = batch.Labels.masked_fill(batch.Labels.lt(0), 0);
        var guessed = where(tags.gt(0), where(tags.remainder(2).eq(1), ones_like(tags), full_like(tags, 2)), tags);
        var score = SpanMetrics.EntityF1(guessed, tags, batch.Mask);
        Assert.InRange(score.F1, 0.25, 0.42);
        Assert.Equal(1.0, SpanMetrics.EntityF1(tags, tags, batch.Mask).F1);
    }

    [Fact]
    public void MixturesTakeTurns()
    {
        var mixture = LongEntities.Mixture(World.Long(1, 2, 64), World.Short(1, 2, 32), 3);
        long[] lengths = [.. Enumerable.Range(0, 6).Select(step => mixture.BatchAt(step).InputIds.size(1))];
        Assert.Equal([64L, 64, 32, 64, 64, 32], lengths);
        Assert.Throws<ArgumentException>(() => World.Long(1, 2, 8));
        Assert.Throws<ArgumentException>(() => new LongEntities(new LongEntityOptions { Kinds = 9 }));
    }

    [Fact]
    public void DocumentsCanBeRead()
    {
        using var batch = World.Short(1, 1, 32).BatchAt(0);
        string text = World.Read(batch, 0);
        Assert.StartsWith("<s> ", text, StringComparison.Ordinal);
        Assert.Contains("/B-", text, StringComparison.Ordinal);
    }

    [Fact]
    public void TaggedWordsAreReadAndCutIntoWindows()
    {
        using var folder = new TemporaryFolder();
        string lines = folder.At("gonerd.jsonl"),
            array = folder.At("conll.json");
        File.WriteAllText(
            lines,
            """
            {"id": 1, "tokens": ["Ada", "Byron", "met", "Babbage"], "ner_tags": ["B-PERSON", "I-PERSON", "O", "B-PERSON"]}

            {"id": 2, "tokens": ["in", "London"], "ner_tags": ["O", "B-PLACE"]}
            """
        );
        File.WriteAllText(array, """[{"tokens": ["EU", "rejects"], "ner_tags": [3, 0]}]""");
        var read = TaggedTokens.Read(lines);
        Assert.Equal(["O", "B-PERSON", "I-PERSON", "B-PLACE", "I-PLACE"], read.TagNames);
        Assert.Equal([1L, 2, 0, 1], read.Documents[0].Tags);
        Assert.Equal(["O", "B-ORG", "I-ORG"], TaggedTokens.Read(array).TagNames);
        var windows = read.Windows(read.FrequentWords(4), 2, 5);
        Assert.Equal(3, windows.Examples);
        using var batch = windows.BatchAt(0);
        Assert.Equal([0L, 1, 2, 0, 0], batch.Labels[0].data<long>().ToArray());
        Assert.Equal(LongEntities.Padding, batch.InputIds[1, 4].item<long>());
        File.WriteAllText(lines, """{"tokens": ["a"], "ner_tags": ["B-X", "O"]}""");
        Assert.Contains(
            "1 tokens, but 2 tags",
            Assert.Throws<InvalidDataException>(() => TaggedTokens.Read(lines)).Message,
            StringComparison.Ordinal
        );
        File.WriteAllText(lines, "{");
        Assert.Contains(
            "line 1",
            Assert.Throws<InvalidDataException>(() => TaggedTokens.Read(lines)).Message,
            StringComparison.Ordinal
        );
        File.WriteAllText(array, """[{"tokens": ["a"], "ner_tags": [12]}]""");
        Assert.Contains(
            "no name",
            Assert.Throws<InvalidDataException>(() => TaggedTokens.Read(array)).Message,
            StringComparison.Ordinal
        );
    }
}
