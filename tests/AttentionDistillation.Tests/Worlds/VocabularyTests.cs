using AttentionDistillation.Worlds;

namespace AttentionDistillation.Tests.Worlds;

[Collection(CorpusCollection.Name)]
public sealed class VocabularyTests(CorpusFixture corpus, ITestOutputHelper output)
{
    /// <summary>Names a file to which the retrained vocabulary is written: the way to renew the committed one.</summary>
    private const string WriteVariable = "WRITE_VOCABULARY";

    [Fact]
    public void Trainer_learns_frequent_pairs_first()
    {
        var tokens = WordPieceTrainer.Train(["low low low lower lower newest newest newest newest"], 40);
        Assert.Equal(WordPieceTrainer.SpecialTokens, tokens.Take(5));
        Assert.Contains("newest", tokens);
        Assert.Contains("low", tokens);
        Assert.Equal(tokens, WordPieceTrainer.Train(["low low low lower lower newest newest newest newest"], 40));
    }

    [Fact]
    public void Retraining_from_the_packs_gives_the_committed_vocabulary()
    {
        var trained = WordPieceTrainer.Train(
            corpus.Texts.TrainingTexts(),
            DotNetDocs.VocabularySize,
            DotNetDocs.MinimumPieceCount
        );
        if (Environment.GetEnvironmentVariable(WriteVariable) is { Length: > 0 } path)
            File.WriteAllText(path, string.Join('\n', trained) + "\n");
        output.WriteLine($"{trained.Count} entries from {corpus.Texts.Version}");
        // Another patch release of the SDK has other texts; then the vocabularies only agree in most entries.
        if (corpus.Texts.Version.Contains(MadeFrom, StringComparison.Ordinal))
            Assert.Equal(WordPieceVocabulary.Default.Tokens, trained);
        else
            Assert.True(trained.Intersect(WordPieceVocabulary.Default.Tokens).Count() > 0.9 * trained.Count);
    }

    // The SDK's packs from which the committed vocabulary was trained (data/vocabulary/README.md).
    private const string MadeFrom = "(92f49cfd58f4)";
}
