using System.Text;
using System.Text.RegularExpressions;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>A token that is found in the text before anything else happens to it.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Content">Its text.</param>
/// <param name="Special">Whether decoding may leave it out.</param>
/// <param name="Normalized">Whether it is looked for in the normalised text.</param>
/// <param name="SingleWord">Whether letters may not touch it.</param>
/// <param name="StripLeft">Whether it takes the white space before it.</param>
/// <param name="StripRight">Whether it takes the white space behind it.</param>
public sealed record AddedToken(
    int Id,
    string Content,
    bool Special = true,
    bool Normalized = false,
    bool SingleWord = false,
    bool StripLeft = false,
    bool StripRight = false
);

/// <summary>Finds added tokens in texts.</summary>
internal sealed class AddedTokens
{
    private readonly Dictionary<string, AddedToken> plain;
    private readonly Dictionary<string, AddedToken> normalized;
    private readonly Regex? plainSearch;
    private readonly Regex? normalizedSearch;
    private readonly Normalizer normalizer;

    /// <summary>Prepares the search.</summary>
    public AddedTokens(IReadOnlyList<AddedToken> tokens, Normalizer normalizer)
    {
        (All, this.normalizer) = (tokens, normalizer);
        plain = Table(tokens.Where(token => !token.Normalized), token => token.Content);
        normalized = Table(tokens.Where(token => token.Normalized), token => normalizer(AlignedText.Of(token.Content)).Text);
        (plainSearch, normalizedSearch) = (Search(plain.Keys), Search(normalized.Keys));
    }

    /// <summary>The tokens.</summary>
    public IReadOnlyList<AddedToken> All { get; }

    /// <summary>A token as decoding shows it: one that is looked for in normalised texts, normalised.</summary>
    public string Shown(AddedToken token) => token.Normalized ? normalizer(AlignedText.Of(token.Content)).Text : token.Content;

    /// <summary>Splits a text into added tokens and what is between them, which is normalised.</summary>
    public IEnumerable<(AlignedText Text, AddedToken? Token)> Split(AlignedText text)
    {
        foreach (var (part, token) in Find(text, plainSearch, plain))
            if (token is not null)
                yield return (part, token);
            else
                foreach (var inner in Find(normalizer(part), normalizedSearch, normalized))
                    yield return inner;
    }

    private static IEnumerable<(AlignedText Text, AddedToken? Token)> Find(
        AlignedText text,
        Regex? search,
        Dictionary<string, AddedToken> table
    )
    {
        string characters = text.Text;
        int done = 0;
        for (var match = search?.Match(characters); match is { Success: true }; match = match.NextMatch())
        {
            var token = table[match.Value];
            int start = match.Index,
                end = match.Index + match.Length;
            if (start < done || (token.SingleWord && (WordBefore(characters, start) || WordAt(characters, end))))
                continue;
            if (token.StripLeft)
                while (start > done && char.IsWhiteSpace(characters[start - 1]))
                    start--;
            if (token.StripRight)
                while (end < characters.Length && char.IsWhiteSpace(characters[end]))
                    end++;
            if (start > done)
                yield return (text.Slice(done, start - done), null);
            yield return (text.Slice(start, end - start), token);
            done = end;
        }
        if (done < characters.Length)
            yield return (text.Slice(done, characters.Length - done), null);
    }

    private static bool WordBefore(string text, int position) =>
        position > 0
        && Rune.DecodeLastFromUtf16(text.AsSpan(0, position), out var rune, out _) == System.Buffers.OperationStatus.Done
        && CharacterClasses.IsWord(rune);

    private static bool WordAt(string text, int position) =>
        position < text.Length
        && Rune.DecodeFromUtf16(text.AsSpan(position), out var rune, out _) == System.Buffers.OperationStatus.Done
        && CharacterClasses.IsWord(rune);

    private static Dictionary<string, AddedToken> Table(IEnumerable<AddedToken> tokens, Func<AddedToken, string> content)
    {
        var table = new Dictionary<string, AddedToken>(StringComparer.Ordinal);
        foreach (var token in tokens)
            if (content(token) is { Length: > 0 } key)
                table.TryAdd(key, token);
        return table;
    }

    /// <summary>The leftmost, and of those that begin together the longest.</summary>
    private static Regex? Search(IReadOnlyCollection<string> contents) =>
        contents.Count == 0
            ? null
            : new Regex(
                string.Join('|', contents.OrderByDescending(content => content.Length).Select(Regex.Escape)),
                RegexOptions.CultureInvariant | RegexOptions.Compiled
            );
}
