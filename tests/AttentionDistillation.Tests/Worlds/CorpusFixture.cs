using AttentionDistillation.Worlds;

namespace AttentionDistillation.Tests.Worlds;

/// <summary>The whole corpus of this machine's SDK, read once for all tests.</summary>
public sealed class CorpusFixture
{
    public CorpusFixture()
    {
        Texts = CorpusBuilder.Build(DocPacks.Find());
        Docs = DotNetDocs.FromCorpus(CorpusBuilder.Tokenise(Texts, WordPieceVocabulary.Default));
    }

    internal TextCorpus Texts { get; }

    public DotNetDocs Docs { get; }
}
