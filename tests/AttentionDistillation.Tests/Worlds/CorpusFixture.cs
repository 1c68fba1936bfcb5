using System.Diagnostics;
using AttentionDistillation.Worlds;

namespace AttentionDistillation.Tests.Worlds;

/// <summary>The whole corpus of this machine's SDK, read once for all tests.</summary>
public sealed class CorpusFixture
{
    public CorpusFixture()
    {
        var watch = Stopwatch.StartNew();
        Texts = CorpusBuilder.Build(DocPacks.Find());
        BuildTime = watch.Elapsed;
        Docs = DotNetDocs.FromCorpus(CorpusBuilder.Tokenise(Texts, WordPieceVocabulary.Default));
        TokeniseTime = watch.Elapsed - BuildTime;
    }

    internal TextCorpus Texts { get; }

    public DotNetDocs Docs { get; }

    public TimeSpan BuildTime { get; }

    public TimeSpan TokeniseTime { get; }
}

/// <summary>The tests that share the corpus.</summary>
[CollectionDefinition(Name)]
public sealed class CorpusCollection : ICollectionFixture<CorpusFixture>
{
    public const string Name = "DotNetDocs corpus";
}
