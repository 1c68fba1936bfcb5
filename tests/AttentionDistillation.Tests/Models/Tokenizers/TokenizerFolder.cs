using System.Text;
using System.Text.Json.Nodes;
using AttentionDistillation.Models.Tokenizers;
using AttentionDistillation.Tests.Support;

namespace AttentionDistillation.Tests.Models.Tokenizers;

/// <summary>A folder with the files of a small tokenizer.</summary>
internal sealed class TokenizerFolder : IDisposable
{
    private readonly TemporaryFolder temporary = new();

    public string Path => temporary.Path;

    /// <summary>Writes a file.</summary>
    public TokenizerFolder With(string name, string content)
    {
        File.WriteAllText(temporary.At(name), content);
        return this;
    }

    public TokenizerFolder With(string name, byte[] content)
    {
        File.WriteAllBytes(temporary.At(name), content);
        return this;
    }

    public Tokenizer Load() => Tokenizer.Load(Path);

    public void Dispose() => temporary.Dispose();

    /// <summary>A tokenizer.json with the given members (JSON text).</summary>
    public static TokenizerFolder Json(
        string model,
        string normalizer = "null",
        string pre = "null",
        string post = "null",
        string decoder = "null",
        string added = "[]"
    ) =>
        new TokenizerFolder().With(
            "tokenizer.json",
            $$"""
            {"version":"1.0","truncation":null,"padding":null,"added_tokens":{{added}},"normalizer":{{normalizer}},
             "pre_tokenizer":{{pre}},"post_processor":{{post}},"decoder":{{decoder}},"model":{{model}}}
            """
        );

    /// <summary>GPT-2's character for a byte, by its definition: printable bytes stand for themselves, the others follow from U+0100.</summary>
    public static string ByteCharacter(int value)
    {
        static bool Printable(int b) => b is (>= 33 and <= 126) or (>= 161 and <= 172) or (>= 174 and <= 255);
        return ((char)(Printable(value) ? value : 256 + Enumerable.Range(0, value).Count(b => !Printable(b)))).ToString();
    }

    /// <summary>A byte-level vocabulary: the 256 bytes in order, then the results of the merges.</summary>
    public static (string Vocabulary, string Merges) ByteLevel(params (string Left, string Right)[] merges)
    {
        var vocabulary = new JsonObject();
        for (int value = 0; value < 256; value++)
            vocabulary[ByteCharacter(value)] = value;
        foreach (var (left, right) in merges)
            vocabulary[left + right] = vocabulary.Count;
        return (
            vocabulary.ToJsonString(),
            string.Join('\n', ["#version: 0.2", .. merges.Select(pair => $"{pair.Left} {pair.Right}"), ""])
        );
    }

    /// <summary>A SentencePiece model: the protocol buffer that sentencepiece_model.proto describes.</summary>
    public static byte[] SentencePiece(
        IEnumerable<(string Text, float Score, int Type)> pieces,
        int kind,
        bool byteFallback,
        bool removeExtraSpaces = false,
        bool dummyPrefix = true
    )
    {
        var model = new List<byte>();
        foreach (var (text, score, type) in pieces)
            Message(model, 1, [.. Text(1, text), (2 << 3) | 5, .. BitConverter.GetBytes(score), .. Number(3, type)]);
        Message(
            model,
            2,
            [.. Number(3, kind), .. Number(35, byteFallback ? 1 : 0), .. Number(40, 0), .. Number(41, 1), .. Number(42, 2)]
        );
        Message(
            model,
            3,
            [.. Text(1, "identity"), .. Number(3, dummyPrefix ? 1 : 0), .. Number(4, removeExtraSpaces ? 1 : 0), .. Number(5, 1)]
        );
        return [.. model];

        static IEnumerable<byte> Varint(long value)
        {
            for (; value >= 0x80; value >>= 7)
                yield return (byte)(value | 0x80);
            yield return (byte)value;
        }
        static IEnumerable<byte> Number(int field, long value) => [.. Varint(field << 3), .. Varint(value)];
        static IEnumerable<byte> Text(int field, string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            return [.. Varint((field << 3) | 2), .. Varint(bytes.Length), .. bytes];
        }
        static void Message(List<byte> into, int field, byte[] bytes) =>
            into.AddRange([.. Varint((field << 3) | 2), .. Varint(bytes.Length), .. bytes]);
    }
}
