using System.Text;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>
/// GPT-2's alphabet: every byte of the UTF-8 text is one printable character (Radford et al., 2019, section 2.2, and encoder.py).
/// </summary>
internal static class ByteLevel
{
    /// <summary>GPT-2's split into words, in .NET's notation.</summary>
    public const string Words = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    private static readonly char[] Characters = Alphabet();
    private static readonly Dictionary<char, byte> Bytes = Characters
        .Index()
        .ToDictionary(pair => pair.Item, pair => (byte)pair.Index);

    /// <summary>The character of the space.</summary>
    public static char Space => Characters[' '];

    /// <summary>A text in the alphabet; each character comes from the whole code point that its byte is part of.</summary>
    public static AlignedText Map(AlignedText text)
    {
        var builder = new AlignedTextBuilder(text);
        Span<byte> bytes = stackalloc byte[4];
        Span<char> characters = stackalloc char[4];
        int position = 0;
        foreach (var rune in text.Text.EnumerateRunes())
        {
            int count = rune.EncodeToUtf8(bytes);
            for (int i = 0; i < count; i++)
                characters[i] = Characters[bytes[i]];
            int end = position + rune.Utf16SequenceLength;
            builder.Append(characters[..count], position, end);
            position = end;
        }
        return builder.Build();
    }

    /// <summary>Tokens back to text; bytes that are no UTF-8 become U+FFFD.</summary>
    public static string Decode(IEnumerable<string> tokens)
    {
        var bytes = new List<byte>();
        foreach (string token in tokens)
            if (token.All(Bytes.ContainsKey))
                bytes.AddRange(token.Select(character => Bytes[character]));
            else
                bytes.AddRange(Encoding.UTF8.GetBytes(token));
        return Encoding.UTF8.GetString([.. bytes]);
    }

    /// <summary>Printable bytes stand for themselves, the others for the characters from U+0100 on, in order.</summary>
    private static char[] Alphabet()
    {
        var result = new char[256];
        int next = 256;
        for (int value = 0; value < 256; value++)
            result[value] = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF)
                ? (char)value
                : (char)next++;
        return result;
    }
}
