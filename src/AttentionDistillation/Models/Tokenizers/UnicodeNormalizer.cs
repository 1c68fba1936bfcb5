using System.Collections.Frozen;
using System.Globalization;
using System.Text;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>
/// Unicode's normalisation forms with alignment. .NET's own leave the text as it is where globalisation is invariant, and do not say which
/// character came from which.
/// </summary>
/// <remarks>Unicode Standard Annex 15; the tables are Unicode's, the Hangul arithmetic is that of the Unicode Standard, section 3.12.</remarks>
internal static class UnicodeNormalizer
{
    private const string Resource = "AttentionDistillation.unicode-normalization.txt";
    private const int HangulFirst = 0xAC00,
        LeadFirst = 0x1100,
        VowelFirst = 0x1161,
        TailFirst = 0x11A7,
        Leads = 19,
        Vowels = 21,
        Tails = 28,
        Syllables = Leads * Vowels * Tails;

    private static readonly Lazy<Tables> Data = new(Tables.Read);

    /// <summary>Normalises a text.</summary>
    /// <param name="source">The text.</param>
    /// <param name="compatible">True for the K forms.</param>
    /// <param name="compose">True for NFC and NFKC.</param>
    public static AlignedText Apply(AlignedText source, bool compatible, bool compose)
    {
        if (Ascii.IsValid(source.Text))
            return source;
        var characters = Decompose(source, compatible);
        var ranges = characters.Select(character => (character.Start, character.End)).ToArray();
        characters = Order(characters);
        if (compose)
            characters = Compose(characters);
        // The tokenizers library goes by position: what was reordered keeps the places, what was composed has the place of its first part.
        var builder = new AlignedTextBuilder(source);
        int place = 0;
        foreach (var character in characters)
        {
            builder.Append(new Rune(character.Value), ranges[place].Start, ranges[place].End);
            place += character.Parts;
        }
        return builder.Build();
    }

    /// <summary>A code point, its combining class, where in the source it comes from, and of how many decomposed ones it is composed.</summary>
    private readonly record struct Character(int Value, int Class, int Start, int End, int Parts = 1);

    private static List<Character> Decompose(AlignedText source, bool compatible)
    {
        var tables = Data.Value;
        var result = new List<Character>(source.Text.Length + 8);
        int position = 0;
        foreach (var rune in source.Text.EnumerateRunes())
        {
            int end = position + rune.Utf16SequenceLength;
            int hangul = rune.Value - HangulFirst;
            if (hangul is >= 0 and < Syllables)
            {
                Add(LeadFirst + hangul / (Vowels * Tails));
                Add(VowelFirst + hangul % (Vowels * Tails) / Tails);
                if (hangul % Tails > 0)
                    Add(TailFirst + hangul % Tails);
            }
            else if (
                (compatible && tables.Compatible.TryGetValue(rune.Value, out int[]? parts))
                || tables.Canonical.TryGetValue(rune.Value, out parts)
            )
                foreach (int part in parts)
                    Add(part);
            else
                Add(rune.Value);
            position = end;

            void Add(int value) => result.Add(new Character(value, tables.Classes.GetValueOrDefault(value), position, end));
        }
        return result;
    }

    /// <summary>Canonical order: a mark goes before marks of higher classes.</summary>
    private static List<Character> Order(List<Character> characters)
    {
        var result = new List<Character>(characters.Count);
        foreach (var character in characters)
        {
            int place = result.Count;
            if (character.Class > 0)
                while (place > 0 && result[place - 1].Class > character.Class)
                    place--;
            result.Insert(place, character);
        }
        return result;
    }

    private static List<Character> Compose(List<Character> characters)
    {
        var tables = Data.Value;
        var result = new List<Character>(characters.Count);
        int starter = -1;
        foreach (var character in characters)
        {
            bool blocked =
                starter >= 0 && starter < result.Count - 1 && (result[^1].Class == 0 || result[^1].Class >= character.Class);
            if (starter >= 0 && !blocked && Pair(tables, result[starter].Value, character.Value) is { } composed)
            {
                result[starter] = result[starter] with { Value = composed, Parts = result[starter].Parts + 1 };
                continue;
            }
            if (character.Class == 0)
                starter = result.Count;
            result.Add(character);
        }
        return result;
    }

    private static int? Pair(Tables tables, int first, int second)
    {
        int lead = first - LeadFirst,
            vowel = second - VowelFirst;
        if (lead is >= 0 and < Leads && vowel is >= 0 and < Vowels)
            return HangulFirst + (lead * Vowels + vowel) * Tails;
        int syllable = first - HangulFirst,
            tail = second - TailFirst;
        if (syllable is >= 0 and < Syllables && syllable % Tails == 0 && tail is > 0 and < Tails)
            return first + tail;
        return tables.Pairs.TryGetValue((first, second), out int composed) ? composed : null;
    }

    private sealed record Tables(
        FrozenDictionary<int, int[]> Canonical,
        FrozenDictionary<int, int[]> Compatible,
        FrozenDictionary<(int, int), int> Pairs,
        FrozenDictionary<int, int> Classes
    )
    {
        public static Tables Read()
        {
            using var stream =
                typeof(UnicodeNormalizer).Assembly.GetManifestResourceStream(Resource)
                ?? throw new InvalidOperationException($"This assembly was built without {Resource}.");
            using var reader = new StreamReader(stream);
            var canonical = new Dictionary<int, int[]>();
            var compatible = new Dictionary<int, int[]>();
            var pairs = new Dictionary<(int, int), int>();
            var classes = new Dictionary<int, int>();
            while (reader.ReadLine() is { } line)
            {
                string[] parts = line.Split(' ');
                if (parts[0] == "#")
                    continue;
                if (parts[0] == "M")
                {
                    int order = int.Parse(parts[1], CultureInfo.InvariantCulture);
                    for (int value = Hex(parts[2]); value <= Hex(parts[3]); value++)
                        classes[value] = order;
                    continue;
                }
                int[] values = [.. parts[1..].Select(Hex)];
                if (parts[0] == "P")
                    pairs[(values[0], values[1])] = values[2];
                else
                    (parts[0] == "C" ? canonical : compatible)[values[0]] = values[1..];
            }
            return new Tables(
                canonical.ToFrozenDictionary(),
                compatible.ToFrozenDictionary(),
                pairs.ToFrozenDictionary(),
                classes.ToFrozenDictionary()
            );
        }

        private static int Hex(string text) => int.Parse(text, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
