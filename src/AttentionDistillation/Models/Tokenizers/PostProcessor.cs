using System.Text.Json.Nodes;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>A place in a template: a special token, or one of the texts.</summary>
/// <param name="Sequence">0 or 1 for a text; null for special tokens.</param>
/// <param name="Tokens">The special tokens and their numbers.</param>
/// <param name="Type">The segment number.</param>
internal sealed record TemplatePart(int? Sequence, IReadOnlyList<(int Id, string Token)> Tokens, int Type);

/// <summary>Puts special tokens around texts, and trims offsets where the tokenizer says so.</summary>
internal sealed class PostProcessor
{
    private static readonly IReadOnlyList<TemplatePart> Bare = [new(0, [], 0)];
    private static readonly IReadOnlyList<TemplatePart> BarePair = [new(0, [], 0), new(1, [], 1)];

    private readonly IReadOnlyList<TemplatePart> single;
    private readonly IReadOnlyList<TemplatePart> pair;

    /// <summary>Keeps the templates.</summary>
    /// <param name="single">Around a text; null for nothing.</param>
    /// <param name="pair">Around a pair; null for nothing.</param>
    /// <param name="trimOffsets">Whether offsets leave out the white space that tokens hold; null for no, else whether a space was added before texts.</param>
    public PostProcessor(IReadOnlyList<TemplatePart>? single, IReadOnlyList<TemplatePart>? pair, bool? trimOffsets = null) =>
        (this.single, this.pair, TrimWithPrefix) = (single ?? Bare, pair ?? BarePair, trimOffsets);

    /// <summary>Not null when offsets are trimmed; then, whether a space was added before texts.</summary>
    public bool? TrimWithPrefix { get; }

    /// <summary>Special tokens that are added.</summary>
    public int AddedCount(bool isPair) => (isPair ? pair : single).Sum(part => part.Tokens.Count);

    /// <summary>Joins.</summary>
    public List<EncodedToken> Apply(List<EncodedToken> first, List<EncodedToken>? second, bool addSpecialTokens)
    {
        if (TrimWithPrefix is { } prefix)
        {
            Trim(first, prefix);
            if (second is not null)
                Trim(second, prefix);
        }
        var parts =
            addSpecialTokens ? (second is null ? single : pair)
            : second is null ? Bare
            : BarePair;
        var result = new List<EncodedToken>();
        foreach (var part in parts)
            if (part.Sequence is { } sequence)
                result.AddRange(
                    (sequence == 0 ? first : second!).Select(token => token with { Type = part.Type, Sequence = sequence })
                );
            else
                result.AddRange(
                    part.Tokens.Select(token => new EncodedToken(token.Id, token.Token, 0, 0, part.Type, Special: true))
                );
        return result;
    }

    /// <summary>Reads the member <c>post_processor</c>; null adds nothing.</summary>
    /// <exception cref="TokenizerFormatException">The file is wrong.</exception>
    /// <exception cref="NotSupportedException">The processor is not built.</exception>
    public static PostProcessor Read(JsonPlace? place)
    {
        if (place is null)
            return new PostProcessor(null, null);
        switch (place.Type)
        {
            case "TemplateProcessing":
                var tokens = SpecialTokens(place);
                return new PostProcessor(Template(place, "single", tokens), Template(place, "pair", tokens));
            case "BertProcessing":
                var (separator, classify) = (Named(place, "sep"), Named(place, "cls"));
                return Bert(classify, separator);
            case "RobertaProcessing":
                return Roberta(
                    Named(place, "cls"),
                    Named(place, "sep"),
                    place.Flag("trim_offsets", true) ? place.Flag("add_prefix_space", true) : null
                );
            case "ByteLevel":
                return new PostProcessor(
                    null,
                    null,
                    place.Flag("trim_offsets", true) ? place.Flag("add_prefix_space", true) : null
                );
            case "Sequence":
                PostProcessor[] steps = [.. place.Objects("processors").Select(Read)];
                var templates = steps.LastOrDefault(step => step.single != Bare);
                return new PostProcessor(
                    templates?.single,
                    templates?.pair,
                    steps.Select(step => step.TrimWithPrefix).FirstOrDefault(trims => trims is not null)
                );
            default:
                throw place.Unsupported(
                    "post-processor",
                    "TemplateProcessing",
                    "BertProcessing",
                    "RobertaProcessing",
                    "ByteLevel",
                    "Sequence"
                );
        }
    }

    /// <summary>[CLS] A [SEP] B [SEP], with B in segment 1.</summary>
    public static PostProcessor Bert((int Id, string Token) classify, (int Id, string Token) separator)
    {
        TemplatePart first = new(null, [classify], 0),
            end = new(null, [separator], 0);
        TemplatePart[] single = [first, new(0, [], 0), end];
        return new PostProcessor(single, [.. single, new(1, [], 1), new(null, [separator], 1)]);
    }

    /// <summary>&lt;s&gt; A &lt;/s&gt; &lt;/s&gt; B &lt;/s&gt;, all in segment 0.</summary>
    public static PostProcessor Roberta((int Id, string Token) start, (int Id, string Token) end, bool? trimOffsets)
    {
        TemplatePart first = new(null, [start], 0),
            last = new(null, [end], 0);
        TemplatePart[] single = [first, new(0, [], 0), last];
        return new PostProcessor(single, [.. single, last, new(1, [], 0), last], trimOffsets);
    }

    /// <summary>Special tokens before and behind each text.</summary>
    public static PostProcessor Around(IReadOnlyList<(int Id, string Token)> before, IReadOnlyList<(int Id, string Token)> behind)
    {
        TemplatePart[] Of(int sequence, int type) =>
            [
                .. before.Count > 0 ? [new TemplatePart(null, before, type)] : (TemplatePart[])[],
                new(sequence, [], type),
                .. behind.Count > 0 ? [new TemplatePart(null, behind, type)] : (TemplatePart[])[],
            ];
        return new PostProcessor(Of(0, 0), [.. Of(0, 0), .. Of(1, 1)]);
    }

    private static void Trim(List<EncodedToken> tokens, bool prefix)
    {
        for (int i = 0; i < tokens.Count; i++)
        {
            var token = tokens[i];
            int leading = token.Token.TakeWhile(IsSpace).Count(),
                trailing = token.Token.Reverse().TakeWhile(IsSpace).Count();
            // The space that was added before the text is not in it.
            bool added = leading > 0 && prefix && (i == 0 || token.Start == 0);
            if (added)
                leading--;
            int start = Math.Min(token.Start + leading, token.End);
            int end =
                added && token.Token.Length == 1 ? start
                : trailing > 0 && token.End >= trailing ? Math.Max(token.End - trailing, start)
                : token.End;
            tokens[i] = token with { Start = start, End = end };
        }
    }

    private static bool IsSpace(char character) => character == ByteLevel.Space || char.IsWhiteSpace(character);

    private static (int Id, string Token) Named(JsonPlace place, string name) =>
        place.Json[name] is JsonArray { Count: 2 } array
        && array[0] is JsonValue text
        && text.TryGetValue(out string? token)
        && array[1] is JsonValue number
        && number.TryGetValue(out int id)
            ? (id, token)
            : throw place.Wrong(name, "a token and its number");

    private static Dictionary<string, IReadOnlyList<(int Id, string Token)>> SpecialTokens(JsonPlace place)
    {
        var tokens = new Dictionary<string, IReadOnlyList<(int Id, string Token)>>(StringComparer.Ordinal);
        foreach (var (name, _) in place.Object("special_tokens")?.Json ?? [])
        {
            var entry = new JsonPlace(place.Json["special_tokens"]!.AsObject(), $"{place.Where}, special_tokens").Object(name)!;
            int[] ids = [.. (entry.Array("ids") ?? []).Select(node => node!.GetValue<int>())];
            string[] texts = [.. (entry.Array("tokens") ?? []).Select(node => node!.GetValue<string>())];
            tokens[name] =
                ids.Length == texts.Length ? [.. ids.Zip(texts)] : throw entry.Wrong("tokens", $"{ids.Length} tokens, one an id");
        }
        return tokens;
    }

    private static List<TemplatePart> Template(
        JsonPlace place,
        string name,
        Dictionary<string, IReadOnlyList<(int Id, string Token)>> tokens
    )
    {
        var parts = new List<TemplatePart>();
        foreach (var item in place.Objects(name))
            if (item.Object("SpecialToken") is { } special)
            {
                string id = special.RequiredText("id");
                parts.Add(
                    new TemplatePart(
                        null,
                        tokens.TryGetValue(id, out var found)
                            ? found
                            : throw special.Wrong("id", "one of " + string.Join(", ", tokens.Keys)),
                        special.Integer("type_id") ?? 0
                    )
                );
            }
            else if (item.Object("Sequence") is { } sequence)
                parts.Add(
                    new TemplatePart(
                        sequence.Text("id") switch
                        {
                            "A" => 0,
                            "B" => 1,
                            _ => throw sequence.Wrong("id", "A or B"),
                        },
                        [],
                        sequence.Integer("type_id") ?? 0
                    )
                );
            else
                throw item.Wrong("SpecialToken", "a special token or a Sequence");
        if (!parts.Any(part => part.Sequence == 0) || (name == "pair") != parts.Any(part => part.Sequence == 1))
            throw place.Wrong(name, name == "pair" ? "a template with the sequences A and B" : "a template with the sequence A");
        return parts;
    }
}
