using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>
/// The normalisation rules that a SentencePiece model carries: a double-array trie from byte sequences to places in a list of replacements.
/// </summary>
/// <remarks>Format: darts-clone's double array behind its size in bytes, then replacements that end with a zero byte (sentencepiece, normalizer.cc).</remarks>
internal sealed class PrecompiledNormalizer
{
    /// <summary>The rules are tried on whole clusters of a base character and its marks only up to this many bytes.</summary>
    private const int LongestCluster = 5;

    private readonly uint[] trie;
    private readonly byte[] replacements;

    private PrecompiledNormalizer(uint[] trie, byte[] replacements) => (this.trie, this.replacements) = (trie, replacements);

    /// <summary>Reads the normalizer <c>Precompiled</c> of a tokenizer.json.</summary>
    public static Normalizer Read(JsonPlace place)
    {
        try
        {
            return FromBytes(Convert.FromBase64String(place.Text("precompiled_charsmap") ?? ""), place.Where);
        }
        catch (FormatException error)
        {
            throw new TokenizerFormatException(
                $"{place.Where} has a precompiled_charsmap that is not base64: {error.Message}",
                error
            );
        }
    }

    /// <summary>Reads the rules; none leave texts as they are.</summary>
    /// <exception cref="TokenizerFormatException">They are broken.</exception>
    public static Normalizer FromBytes(byte[] rules, string where)
    {
        if (rules.Length == 0)
            return text => text;
        uint size = rules.Length >= 4 ? BinaryPrimitives.ReadUInt32LittleEndian(rules) : uint.MaxValue;
        if (size > rules.Length - 4 || size % 4 != 0 || size == 0)
            throw new TokenizerFormatException($"{where} has {rules.Length} bytes of normalisation rules, which end too early.");
        var trie = new uint[size / 4];
        for (int i = 0; i < trie.Length; i++)
            trie[i] = BinaryPrimitives.ReadUInt32LittleEndian(rules.AsSpan(4 + 4 * i));
        return new PrecompiledNormalizer(trie, rules[(4 + (int)size)..]).Apply;
    }

    private AlignedText Apply(AlignedText text)
    {
        var builder = new AlignedTextBuilder(text);
        var clusters = StringInfo.GetTextElementEnumerator(text.Text);
        Span<byte> bytes = stackalloc byte[4];
        while (clusters.MoveNext())
        {
            string cluster = clusters.GetTextElement();
            int start = clusters.ElementIndex;
            if (Encoding.UTF8.GetByteCount(cluster) <= LongestCluster && Find(Encoding.UTF8.GetBytes(cluster)) is { } whole)
            {
                builder.Append(whole, start, start + cluster.Length);
                continue;
            }
            foreach (var rune in cluster.EnumerateRunes())
            {
                int end = start + rune.Utf16SequenceLength;
                if (Find(bytes[..rune.EncodeToUtf8(bytes)]) is { } replacement)
                    builder.Append(replacement, start, end);
                else
                    builder.Copy(start, end);
                start = end;
            }
        }
        return builder.Build();
    }

    /// <summary>The replacement of the shortest rule that some bytes begin with; null for none.</summary>
    private string? Find(ReadOnlySpan<byte> key)
    {
        uint node = Offset(At(0));
        foreach (byte part in key)
        {
            if (part == 0)
                return null;
            node ^= part;
            uint unit = At(node);
            if ((unit & ((1u << 31) | 0xFF)) != part)
                return null;
            node ^= Offset(unit);
            if (((unit >> 8) & 1) == 0)
                continue;
            int place = (int)(At(node) & ((1u << 31) - 1));
            if (place >= replacements.Length)
                return null;
            int end = Array.IndexOf(replacements, (byte)0, place);
            return Encoding.UTF8.GetString(replacements, place, (end < 0 ? replacements.Length : end) - place);
        }
        return null;
    }

    private uint At(uint index) => index < trie.Length ? trie[index] : 1u << 31;

    private static uint Offset(uint unit) => (unit >> 10) << (int)((unit & (1u << 9)) >> 6);
}
