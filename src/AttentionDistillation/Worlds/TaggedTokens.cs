using System.Text.Json;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>One document of tagged words.</summary>
/// <param name="Words">The words.</param>
/// <param name="Tags">A tag a word: numbers of <see cref="TaggedTokens.TagNames"/>, in the order 0 outside, 2c + 1 begins class c, 2c + 2 continues it.</param>
public sealed record TaggedDocument(IReadOnlyList<string> Words, IReadOnlyList<long> Tags);

/// <summary>
/// Documents of tagged words from JSON, as Hugging Face's viewers and <c>datasets</c> export CoNLL-2003 and GONERD: objects with <c>tokens</c> and <c>ner_tags</c>, one a line or in an
/// array. Tags are numbers or names (<c>B-PER</c>).
/// </summary>
public sealed class TaggedTokens
{
    /// <summary>Classes of CoNLL-2003 in the order of its tag numbers, which files with numbers alone follow.</summary>
    public static IReadOnlyList<string> Conll2003Tags { get; } =
    ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"];

    private TaggedTokens(IReadOnlyList<TaggedDocument> documents, IReadOnlyList<string> tagNames) =>
        (Documents, TagNames) = (documents, tagNames);

    /// <summary>The documents.</summary>
    public IReadOnlyList<TaggedDocument> Documents { get; }

    /// <summary>Names of the tags: O, then B and I of each class.</summary>
    public IReadOnlyList<string> TagNames { get; }

    /// <summary>Reads a file.</summary>
    /// <param name="path">A JSON array or JSON lines.</param>
    /// <param name="tagNames">Names of the tags by number, where the file has numbers; null means those of CoNLL-2003.</param>
    /// <exception cref="InvalidDataException">The file is not JSON of this form; the message names the document.</exception>
    public static TaggedTokens Read(string path, IReadOnlyList<string>? tagNames = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        var given = tagNames ?? Conll2003Tags;
        var read = new List<(List<string> Words, List<string> Tags)>();
        foreach (var (item, number) in JsonRecords.Read(path).Select((item, number) => (item, number)))
        {
            string place = $"{path}, document {number + 1}";
            var words = Strings(item, "tokens", place, _ => throw new InvalidDataException($"{place}: a token is no text."));
            var tags = Strings(
                item,
                "ner_tags",
                place,
                value =>
                    value >= 0 && value < given.Count
                        ? given[(int)value]
                        : throw new InvalidDataException(
                            $"{place}: tag {value} has no name; there are {given.Count} ({string.Join(", ", given)}). Name all tags in tagNames."
                        )
            );
            if (words.Count != tags.Count)
                throw new InvalidDataException($"{place}: {words.Count} tokens, but {tags.Count} tags.");
            read.Add((words, tags));
        }
        if (read.Count == 0)
            throw new InvalidDataException($"{path} holds no document.");
        string[] classes =
        [
            .. read.SelectMany(document => document.Tags)
                .Where(tag => tag != "O")
                .Select(tag =>
                    tag.Length > 2 && tag[1] == '-' && tag[0] is 'B' or 'I'
                        ? tag[2..]
                        : throw new InvalidDataException($"{path}: the tag '{tag}' is neither O nor B-... nor I-....")
                )
                .Distinct()
                .Order(StringComparer.Ordinal),
        ];
        string[] names = ["O", .. classes.SelectMany(name => new[] { $"B-{name}", $"I-{name}" })];
        var numbers = names.Select((name, number) => (name, number)).ToDictionary(pair => pair.name, pair => (long)pair.number);
        return new TaggedTokens(
            [.. read.Select(document => new TaggedDocument(document.Words, [.. document.Tags.Select(tag => numbers[tag])]))],
            names
        );
    }

    /// <summary>The words that occur often enough, the most frequent first; of equal counts in ordinal order.</summary>
    /// <param name="most">How many words.</param>
    public IReadOnlyList<string> FrequentWords(int most) =>
        [
            .. Documents
                .SelectMany(document => document.Words)
                .GroupBy(word => word, StringComparer.Ordinal)
                .OrderByDescending(group => group.Count())
                .ThenBy(group => group.Key, StringComparer.Ordinal)
                .Take(most)
                .Select(group => group.Key),
        ];

    /// <summary>
    /// Windows of at most <paramref name="length"/> tokens as batches in the document's order: begin and end token around the words, tokens 4 and up the given words, 3 (the mask token's
    /// place) for any other.
    /// </summary>
    /// <param name="words">The vocabulary, for example <see cref="FrequentWords"/> of the training documents.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="length">L.</param>
    public EvaluationSource Windows(IReadOnlyList<string> words, int batchSize, int length)
    {
        ArgumentNullException.ThrowIfNull(words);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 3);
        var numbers = words.Select((word, number) => (word, number)).ToDictionary(pair => pair.word, pair => pair.number + 4L);
        var rows = Documents
            .SelectMany(document => document.Words.Zip(document.Tags).Chunk(length - 2).Select(part => part.ToArray()))
            .ToArray();
        int batches = (rows.Length + batchSize - 1) / batchSize;
        return new EvaluationSource(
            batches,
            rows.Length,
            number =>
            {
                var chosen = rows.Skip(number * batchSize).Take(batchSize).ToArray();
                using var scope = NewDisposeScope();
                long[] Filled(IEnumerable<long> inner, long first, long last, long filling)
                {
                    long[] values = [first, .. inner, last];
                    return [.. values, .. Enumerable.Repeat(filling, length - values.Length)];
                }
                var tokens = tensor([
                        .. chosen.SelectMany(row =>
                            Filled(
                                row.Select(pair => numbers.GetValueOrDefault(pair.First, LongEntities.Mask)),
                                LongEntities.Begin,
                                LongEntities.End,
                                LongEntities.Padding
                            )
                        ),
                    ])
                    .view(chosen.Length, length);
                var labels = tensor([
                        .. chosen.SelectMany(row => Filled(row.Select(pair => pair.Second), 0, 0, Batch.IgnoredLabel)),
                    ])
                    .view(chosen.Length, length);
                return new Batch(
                    ("input_ids", tokens.MoveToOuterDisposeScope()),
                    ("attention_mask", tokens.ne(LongEntities.Padding).MoveToOuterDisposeScope()),
                    ("labels", labels.MoveToOuterDisposeScope())
                );
            }
        );
    }

    private static List<string> Strings(JsonElement item, string name, string place, Func<long, string> ofNumber)
    {
        if (
            item.ValueKind != JsonValueKind.Object
            || !item.TryGetProperty(name, out var list)
            || list.ValueKind != JsonValueKind.Array
        )
            throw new InvalidDataException($"{place} has no list '{name}'. Expected objects with \"tokens\" and \"ner_tags\".");
        return
        [
            .. list.EnumerateArray()
                .Select(value =>
                    value.ValueKind switch
                    {
                        JsonValueKind.String => value.GetString()!,
                        JsonValueKind.Number => ofNumber(value.GetInt64()),
                        _ => throw new InvalidDataException($"{place}: '{name}' holds {value.ValueKind}."),
                    }
                ),
        ];
    }
}
