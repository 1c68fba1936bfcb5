using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;

namespace AttentionDistillation.Worlds;

/// <summary>Where <see cref="DotNetDocs.Load"/> looks and what it keeps.</summary>
public sealed record DotNetDocsOptions
{
    /// <summary>A packs folder, a dotnet folder or a token cache; null asks the environment variable and then searches.</summary>
    public string? Source { get; init; }

    /// <summary>The folder of automatic caches; null means <c>tokens</c> below <see cref="ResearchCache.Folder"/>.</summary>
    public string? CacheFolder { get; init; }

    /// <summary>Whether automatic caches are read and written.</summary>
    public bool UseCache { get; init; } = true;
}

/// <summary>
/// Real text without a download: the reference documentation that every .NET SDK carries, cleaned, deduplicated, split without near-duplicates
/// across the splits, and tokenised by WordPiece.
/// </summary>
/// <example>
/// <code>
/// var docs = DotNetDocs.Load();
/// Console.WriteLine(docs.Describe());
/// Console.WriteLine(docs.Examples(DocSplit.Validation, 3)[0]);
/// var pretraining = docs.MaskedLanguage(seed: 1, batchSize: 32, length: 64);
/// var kinds = docs.Task(DocTask.Kind);
/// </code>
/// </example>
public sealed class DotNetDocs
{
    /// <summary>The environment variable that names a packs folder or a token cache.</summary>
    public const string SourceVariable = "RESEARCH_DOTNETDOCS";

    /// <summary>Where a cache that travels with the data folder lies, below the working directory or a folder above it.</summary>
    public const string TravellingCache = "data/cache/dotnet-docs.tokens.gz";

    /// <summary>Entries of the committed vocabulary.</summary>
    public const int VocabularySize = 8000;

    // Rarer characters are slips of encoding; they become [UNK].
    internal const int MinimumPieceCount = 5;

    private readonly TokenCorpus corpus;

    private DotNetDocs(TokenCorpus corpus, WordPieceVocabulary vocabulary)
    {
        this.corpus = corpus;
        Vocabulary = vocabulary;
    }

    /// <summary>The vocabulary.</summary>
    public WordPieceVocabulary Vocabulary { get; }

    /// <summary>Names, versions and fingerprint of the packs the texts came from.</summary>
    public string Version => corpus.Version;

    internal TokenCorpus Corpus => corpus;

    internal static DotNetDocs FromCorpus(TokenCorpus corpus) => new(corpus, WordPieceVocabulary.Default);

    /// <summary>Loads the corpus: from the packs (or their automatic cache) where there are any, else from a prepared token cache.</summary>
    /// <exception cref="DirectoryNotFoundException">Neither packs nor a cache; the message says what to install or give.</exception>
    /// <exception cref="InvalidDataException">A named cache or a documentation file is damaged.</exception>
    public static DotNetDocs Load(DotNetDocsOptions? options = null)
    {
        options ??= new();
        string? source = options.Source ?? Environment.GetEnvironmentVariable(SourceVariable);
        if (string.IsNullOrWhiteSpace(source))
            source = null;
        if (source is not null && File.Exists(source))
            return ReadCache(source);
        if (DocPacks.TryFind(source) is { } packs)
            return FromPacks(packs, options);
        string? cache = source is null ? FindPrepared(options) : null;
        return cache is not null ? ReadCache(cache) : FromPacks(DocPacks.Find(source), options);
    }

    /// <summary>Writes the tokenised corpus for machines without an SDK (below 2 MB).</summary>
    public void WriteCache(string path) => TokenCache.Write(path, corpus, Vocabulary.Fingerprint);

    /// <summary>Reads what <see cref="WriteCache"/> wrote.</summary>
    /// <exception cref="InvalidDataException">The file is damaged, or of another format or vocabulary.</exception>
    public static DotNetDocs ReadCache(string path) =>
        new(TokenCache.Read(path, WordPieceVocabulary.Default.Fingerprint), WordPieceVocabulary.Default);

    /// <summary>Trains the vocabulary anew from the training texts of this machine's packs; the committed one was made so.</summary>
    /// <param name="packsFolder">A packs folder, or null to search.</param>
    /// <param name="size">V, special tokens included.</param>
    public static IReadOnlyList<string> TrainVocabulary(string? packsFolder = null, int size = VocabularySize) =>
        WordPieceTrainer.Train(CorpusBuilder.Build(DocPacks.Find(packsFolder)).TrainingTexts(), size, MinimumPieceCount);

    /// <summary>Masked-language-model batches of the training texts (summaries and further passages), packed without padding.</summary>
    /// <param name="seed">The seed of order and masks.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L, with [CLS] and [SEP].</param>
    /// <param name="layout">Packed rows, or one text a row with padding.</param>
    public IBatchSource MaskedLanguage(long seed, int batchSize, int length, RowLayout layout = RowLayout.Packed) =>
        new MaskedLanguageSource(TextsOf(DocSplit.Train), Vocabulary.Size, seed, batchSize, length, layout);

    /// <summary>
    /// Masked-language-model batches of the training texts, one text a row, texts of near lengths together and each batch cut to what its longest text needs:
    /// the rows of <see cref="RowLayout.OneText"/> with less padding.
    /// </summary>
    /// <param name="seed">The seed of order and masks.</param>
    /// <param name="batchSize">The most texts of a batch.</param>
    /// <param name="length">The longest L, with [CLS] and [SEP]; longer texts are cut.</param>
    /// <param name="bucketing">How texts come together; null for multiples of 8 without a limit of tokens.</param>
    /// <exception cref="ArgumentException">The limit of tokens is below a text's length.</exception>
    public BucketedBatches MaskedLanguageBucketed(long seed, int batchSize, int length, LengthBucketing? bucketing = null) =>
        MaskedLanguageSource.Bucketed(TextsOf(DocSplit.Train), Vocabulary.Size, seed, batchSize, length, bucketing);

    /// <summary>Masked-language-model batches over a held-out split, in a fixed order with fixed masks.</summary>
    /// <param name="split">Which texts.</param>
    /// <param name="batchSize">B; the last batch may be smaller.</param>
    /// <param name="length">L, with [CLS] and [SEP].</param>
    /// <param name="layout">Packed rows, or one text a row with padding.</param>
    public EvaluationSource MaskedLanguageEvaluation(
        DocSplit split,
        int batchSize,
        int length,
        RowLayout layout = RowLayout.Packed
    ) => MaskedLanguageSource.Evaluation(TextsOf(split), Vocabulary.Size, batchSize, length, layout);

    /// <summary>A labelled task.</summary>
    public ClassificationTask Task(DocTask task) => DocTasks.Create(corpus, task);

    /// <summary>The text of token numbers.</summary>
    public string Decode(IEnumerable<long> ids) => Vocabulary.Decode(ids);

    /// <summary>The first texts of a split with their signatures, to look at.</summary>
    public IReadOnlyList<string> Examples(DocSplit split, int count) =>
        [
            .. corpus
                .Members(split)
                .Take(count)
                .Select(member =>
                    $"{(MemberKind)corpus.Kinds[member]}: {Decode(Ids(corpus.Signatures[member]))} -- {Decode(Ids(corpus.Summaries[member]))}"
                ),
        ];

    /// <summary>Counts and coverage of the corpus.</summary>
    public DotNetDocsStatistics Statistics() => DotNetDocsStatistics.Of(corpus, Vocabulary);

    /// <summary>The statistics in words.</summary>
    public string Describe() => $"{Version}\n{Statistics()}";

    private IReadOnlyList<ushort[]> TextsOf(DocSplit split)
    {
        IEnumerable<ushort[]> summaries = corpus.Members(split).Select(member => corpus.Summaries[member].ToArray());
        if (split == DocSplit.Train)
            summaries = summaries.Concat(
                Enumerable.Range(0, corpus.Passages.Count).Select(text => corpus.Passages[text].ToArray())
            );
        return [.. summaries.Where(text => text.Length > 0)];
    }

    private static long[] Ids(ReadOnlySpan<ushort> tokens)
    {
        var ids = new long[tokens.Length];
        for (int at = 0; at < ids.Length; at++)
            ids[at] = tokens[at];
        return ids;
    }

    private static DotNetDocs FromPacks(DocPacks packs, DotNetDocsOptions options)
    {
        var vocabulary = WordPieceVocabulary.Default;
        string key = StableHash.Of($"{packs.Version}|{vocabulary.Fingerprint}|{TokenCache.FormatVersion}").ToString("x16");
        string cache = Path.Combine(CacheFolder(options), $"dotnet-docs-{key}.tokens.gz");
        if (options.UseCache && File.Exists(cache))
            try
            {
                return ReadCache(cache);
            }
            catch (InvalidDataException)
            {
                // A damaged automatic cache is only a lost convenience: it is made again below.
            }
        var docs = new DotNetDocs(CorpusBuilder.Tokenise(CorpusBuilder.Build(packs), vocabulary), vocabulary);
        if (options.UseCache)
            try
            {
                docs.WriteCache(cache);
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                // A read-only home costs the next start some seconds, nothing else.
            }
        return docs;
    }

    private static string? FindPrepared(DotNetDocsOptions options)
    {
        for (var folder = new DirectoryInfo(Environment.CurrentDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, TravellingCache)))
                return Path.Combine(folder.FullName, TravellingCache);
        string caches = CacheFolder(options);
        return options.UseCache && Directory.Exists(caches)
            ? Directory.GetFiles(caches, "dotnet-docs-*.tokens.gz").OrderByDescending(File.GetLastWriteTimeUtc).FirstOrDefault()
            : null;
    }

    private static string CacheFolder(DotNetDocsOptions options) => options.CacheFolder ?? ResearchCache.At("tokens");
}
