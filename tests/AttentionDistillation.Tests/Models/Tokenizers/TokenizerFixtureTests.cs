using System.Runtime.CompilerServices;
using System.Text.Json;
using AttentionDistillation.Models.Tokenizers;

namespace AttentionDistillation.Tests.Models.Tokenizers;

/// <summary>
/// Every folder of <see cref="Variable"/> (default: the committed ones): a tokenizer, and what Hugging Face's own library makes of texts
/// (tests/AttentionDistillation.Benchmarks/Peers/make_tokenizer_fixtures.mjs).
/// </summary>
[Trait("Kind", "Interop")]
public sealed class TokenizerFixtureTests
{
    public const string Variable = "TOKENIZER_FIXTURES";

    private const int MostShown = 5;

    private static readonly string Root = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } folder
        ? folder
        : Default();

    public static TheoryData<string> Names() =>
        [
            .. Directory
                .EnumerateDirectories(Root)
                .Where(folder => File.Exists(Path.Combine(folder, "expected.json")))
                .Select(folder => Path.GetFileName(folder)!)
                .Order(StringComparer.Ordinal),
        ];

    [Theory]
    [MemberData(nameof(Names))]
    public void EncodingsEqualThoseOfTheTokenizersLibrary(string name)
    {
        string folder = Path.Combine(Root, name);
        var tokenizer = Tokenizer.Load(folder);
        using var document = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "expected.json")));
        var failures = new List<string>();
        int count = 0;
        foreach (var item in document.RootElement.EnumerateArray())
        {
            count++;
            string text = item.GetProperty("text").GetString()!;
            string? pair = item.GetProperty("pair").GetString();
            var options = new EncodeOptions
            {
                AddSpecialTokens = item.GetProperty("special").GetBoolean(),
                MaximumLength = item.TryGetProperty("length", out var length) ? length.GetInt32() : null,
                Truncation = item.TryGetProperty("strategy", out var strategy)
                    ? Enum.Parse<TruncationStrategy>(strategy.GetString()!)
                    : TruncationStrategy.LongestFirst,
                TruncationSide = item.TryGetProperty("side", out var side)
                    ? Enum.Parse<TextSide>(side.GetString()!)
                    : TextSide.Right,
            };
            var actual = tokenizer.Encode(text, pair, options);
            var expected = item.GetProperty("expected");
            Compare("ids", Numbers(expected, "ids"), actual.Ids);
            Compare("tokens", Strings(expected, "tokens"), actual.Tokens);
            Compare("type ids", Numbers(expected, "type_ids"), actual.TypeIds);
            Compare("special", Numbers(expected, "special"), [.. actual.SpecialTokensMask.Select(special => special ? 1 : 0)]);
            // Cut at the left, that library numbers words from somewhere in what is left; here a word keeps its number.
            if (options.TruncationSide == TextSide.Right)
                Compare(
                    "words",
                    [
                        .. expected
                            .GetProperty("words")
                            .EnumerateArray()
                            .Select(word => word.ValueKind == JsonValueKind.Null ? -1 : word.GetInt32()),
                    ],
                    [.. actual.WordIds.Select(word => word ?? -1)]
                );
            Compare("offsets", Offsets(expected, text, pair, actual), actual.Offsets);
            Compare("decoded", [item.GetProperty("decoded").GetString()!], [tokenizer.Decode(actual.Ids)]);
            Compare(
                "decoded with special tokens",
                [item.GetProperty("decoded_all").GetString()!],
                [tokenizer.Decode(actual.Ids, false)]
            );

            void Compare<T>(string what, IReadOnlyList<T> wanted, IReadOnlyList<T> got)
            {
                if (!wanted.SequenceEqual(got))
                    failures.Add(
                        $"{what} of {JsonSerializer.Serialize(text)}{(pair is null ? "" : " + " + JsonSerializer.Serialize(pair))} ({options}):\n"
                            + $"  expected {string.Join(' ', wanted)}\n  actual   {string.Join(' ', got)}"
                    );
            }
        }
        Assert.True(count > 0);
        Assert.True(
            failures.Count == 0,
            $"{name}: {failures.Count} differences in {count} cases, the first:\n{string.Join('\n', failures.Take(MostShown))}"
        );
    }

    private static int[] Numbers(JsonElement item, string name) =>
        [.. item.GetProperty(name).EnumerateArray().Select(value => value.GetInt32())];

    private static string[] Strings(JsonElement item, string name) =>
        [.. item.GetProperty(name).EnumerateArray().Select(value => value.GetString()!)];

    /// <summary>Their offsets count code points, ours UTF-16 units.</summary>
    private static List<(int Start, int End)> Offsets(JsonElement item, string text, string? pair, TokenEncoding actual)
    {
        int[] first = Units(text),
            second = Units(pair ?? "");
        var result = new List<(int Start, int End)>();
        foreach (var (index, offset) in item.GetProperty("offsets").EnumerateArray().Index())
        {
            int[] units = index < actual.Length && actual.SequenceIds[index] == 1 ? second : first;
            int start = offset[0].GetInt32(),
                end = offset[1].GetInt32();
            result.Add(end < units.Length && start < units.Length ? (units[start], units[end]) : (-start, -end));
        }
        return result;
    }

    private static int[] Units(string text)
    {
        var units = new List<int> { 0 };
        foreach (var rune in text.EnumerateRunes())
            units.Add(units[^1] + rune.Utf16SequenceLength);
        return [.. units];
    }

    private static string Default([CallerFilePath] string here = "") =>
        Path.Combine(Path.GetDirectoryName(here)!, "..", "..", "Fixtures", "tokenizers");
}
