using AttentionDistillation.Worlds;

namespace AttentionDistillation.Tests.Worlds;

[Collection(CorpusCollection.Name)]
public sealed class CorpusTests(CorpusFixture corpus, ITestOutputHelper output)
{
    [Fact]
    public void No_held_out_template_resembles_a_training_template()
    {
        double highest = Highest(Of(true, member => member.Template), Of(false, member => member.Template), out _);
        output.WriteLine($"highest similarity of a held-out template to a training template: {highest:F3}");
        Assert.True(highest < CorpusBuilder.NearDuplicate);
    }

    [Fact]
    public void No_held_out_summary_resembles_a_training_passage()
    {
        double highest = Highest(Of(true, member => member.Summary), corpus.Texts.Passages, out _);
        output.WriteLine($"highest similarity of a held-out summary to a training passage: {highest:F3}");
        Assert.True(highest < CorpusBuilder.NearDuplicate);
    }

    [Fact]
    public void No_held_out_summary_as_written_resembles_a_training_summary()
    {
        double highest = Highest(Of(true, member => member.Summary), Of(false, member => member.Summary), out int above);
        output.WriteLine(
            $"highest similarity of a held-out summary to a training summary, as written: {highest:F3}; {above} at or above the bound"
        );
        Assert.True(highest < CorpusBuilder.NearDuplicate);
    }

    private List<string> Of(bool heldOut, Func<DocMember, string> text) =>
        [.. corpus.Texts.Members.Where((_, member) => corpus.Texts.Splits[member] != DocSplit.Train == heldOut).Select(text)];

    // By element, not by the prefix filter that made the groups: every pair that shares any shingle is compared.
    private static double Highest(IReadOnlyList<string> heldOut, IReadOnlyList<string> training, out int above)
    {
        ulong[][] sets = [.. training.Select(NearDuplicates.Shingles)];
        var byShingle = Enumerable
            .Range(0, sets.Length)
            .SelectMany(text => sets[text].Select(one => (one, text)))
            .ToLookup(pair => pair.one, pair => pair.text);
        double[] highest =
        [
            .. heldOut
                .AsParallel()
                .Select(text =>
                {
                    ulong[] own = NearDuplicates.Shingles(text);
                    return own.SelectMany(one => byShingle[one])
                        .Distinct()
                        .Select(other => NearDuplicates.Jaccard(own, sets[other]))
                        .DefaultIfEmpty()
                        .Max();
                }),
        ];
        above = highest.Count(one => one >= CorpusBuilder.NearDuplicate);
        return highest.Max();
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
