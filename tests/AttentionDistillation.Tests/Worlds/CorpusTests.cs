using AttentionDistillation.Worlds;

namespace AttentionDistillation.Tests.Worlds;

[Collection(CorpusCollection.Name)]
public sealed class CorpusTests(CorpusFixture corpus, ITestOutputHelper output)
{
    [Fact]
    public void No_held_out_summary_resembles_a_training_text()
    {
        var texts = corpus.Texts;
        var shingles = texts.Members.Select(member => NearDuplicates.Shingles(member.Template)).ToList();
        var train = Enumerable.Range(0, shingles.Count).Where(member => texts.Splits[member] == DocSplit.Train).ToList();
        // By element, not by the prefix filter that made the groups: every pair that shares any shingle is compared.
        var byShingle = train
            .SelectMany(member => shingles[member].Select(one => (one, member)))
            .ToLookup(pair => pair.one, pair => pair.member);
        var heldOut = Enumerable.Range(0, shingles.Count).Where(member => texts.Splits[member] != DocSplit.Train);
        double highest = heldOut
            .AsParallel()
            .Max(member =>
                shingles[member]
                    .SelectMany(one => byShingle[one])
                    .Distinct()
                    .Select(other => NearDuplicates.Jaccard(shingles[member], shingles[other]))
                    .DefaultIfEmpty()
                    .Max()
            );
        output.WriteLine($"highest similarity of a held-out summary to a training summary: {highest:F3}");
        Assert.True(highest < CorpusBuilder.NearDuplicate);
    }

    [Fact]
    public void Statistics_are_plausible()
    {
        output.WriteLine(corpus.Docs.Describe());
        output.WriteLine(string.Join("\n", corpus.Docs.Examples(DocSplit.Validation, 12)));
        output.WriteLine($"build {corpus.BuildTime.TotalSeconds:F1} s, tokenise {corpus.TokeniseTime.TotalSeconds:F1} s");
        var statistics = corpus.Docs.Statistics();
        double all = statistics.Texts.Values.Sum();
        Assert.InRange(statistics.Texts[DocSplit.Test] / all, 0.03, 0.07);
        Assert.InRange(statistics.Texts[DocSplit.Validation] / all, 0.03, 0.07);
        Assert.True(statistics.UnknownRate < 0.001);
        Assert.InRange(statistics.TokensPerWord, 1, 1.6);
    }

    [Fact]
    public void Tokenising_again_gives_the_same_corpus()
    {
        string first = Write(corpus.Docs.Corpus),
            second = Write(CorpusBuilder.Tokenise(corpus.Texts, WordPieceVocabulary.Default));
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(second));
        output.WriteLine($"cache of {new FileInfo(first).Length / 1e6:F1} MB");
        Assert.True(new FileInfo(first).Length < 12_000_000);
        var again = DotNetDocs.ReadCache(first);
        Assert.Equal(corpus.Docs.Describe(), again.Describe());
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(Write(again.Corpus)));
        byte[] torn = File.ReadAllBytes(first)[..^1000];
        File.WriteAllBytes(second, torn);
        Assert.Contains("WriteCache", Assert.Throws<InvalidDataException>(() => DotNetDocs.ReadCache(second)).Message);
        File.WriteAllText(second, "not a cache");
        Assert.Contains(second, Assert.Throws<InvalidDataException>(() => DotNetDocs.ReadCache(second)).Message);
        TokenCache.Write(second, corpus.Docs.Corpus, "another vocabulary");
        Assert.Contains("vocabulary", Assert.Throws<InvalidDataException>(() => DotNetDocs.ReadCache(second)).Message);
        File.Delete(first);
        File.Delete(second);
    }

    private static string Write(TokenCorpus tokens)
    {
        string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():N}.tokens.gz");
        TokenCache.Write(path, tokens, WordPieceVocabulary.Default.Fingerprint);
        return path;
    }
}
