using System.Buffers.Binary;
using System.Text;

namespace AttentionDistillation.Models.Tokenizers;

/// <summary>What a piece of a SentencePiece model is for.</summary>
internal enum SentencePieceType
{
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// <summary>A piece of a SentencePiece model.</summary>
/// <param name="Text">Its text, with the sign for spaces.</param>
/// <param name="Score">Its log probability, or minus its rank among the merges.</param>
/// <param name="Type">What it is for.</param>
internal sealed record SentencePiece(string Text, float Score, SentencePieceType Type);

/// <summary>A SentencePiece model (<c>tokenizer.model</c>): pieces, kind of model, and normalisation.</summary>
/// <remarks>Format: the protocol buffer of sentencepiece_model.proto, of which only the fields that encoding needs are read.</remarks>
internal sealed class SentencePieceFile
{
    private const int Unigram = 1,
        BytePair = 2;

    private int kind = Unigram;
    private byte[] rules = [];
    private bool removeExtraSpaces = true;

    /// <summary>The pieces, in the order of their numbers.</summary>
    public List<SentencePiece> Pieces { get; } = [];

    /// <summary>True for a byte-pair model, false for a unigram model.</summary>
    public bool IsBytePair => kind == BytePair;

    /// <summary>Whether unknown characters become byte pieces.</summary>
    public bool ByteFallback { get; private set; }

    /// <summary>Whether a space is put before a text.</summary>
    public bool AddDummyPrefix { get; private set; } = true;

    public int UnknownId { get; private set; }

    public int BeginId { get; private set; } = 1;

    public int EndId { get; private set; } = 2;

    public int PaddingId { get; private set; } = -1;

    /// <summary>The model's own normalisation.</summary>
    public Normalizer Normalizer { get; private set; } = text => text;

    /// <summary>Spaces become their sign.</summary>
    public Normalizer Escape { get; } = Normalizers.Replace(new Pattern.Literal(" "), PreTokenizers.SpaceSign);

    /// <summary>A piece's text; null when there is no such number.</summary>
    public string? Piece(int id) => id >= 0 && id < Pieces.Count ? Pieces[id].Text : null;

    /// <summary>Reads a file.</summary>
    /// <exception cref="TokenizerFormatException">It is broken or of another kind.</exception>
    public static SentencePieceFile Read(string path)
    {
        var file = new SentencePieceFile();
        try
        {
            file.ReadModel(File.ReadAllBytes(path));
        }
        catch (Exception error) when (error is ArgumentException or OverflowException or InvalidDataException)
        {
            throw new TokenizerFormatException($"'{path}' is no SentencePiece model: {error.Message}", error);
        }
        if (file.Pieces.Count == 0)
            throw new TokenizerFormatException($"'{path}' is no SentencePiece model: it holds no pieces.");
        if (file.kind is not (Unigram or BytePair))
            throw new NotSupportedException(
                $"'{path}' is a SentencePiece model of kind {file.kind}; supported are unigram and BPE."
            );
        var own = PrecompiledNormalizer.FromBytes(file.rules, $"'{path}'");
        file.Normalizer = file.removeExtraSpaces
            ? Normalizers.Sequence(
                own,
                Normalizers.Strip(left: true, right: true),
                Normalizers.Replace(new Pattern.Expression(" {2,}", path), " ")
            )
            : own;
        return file;
    }

    /// <summary>The pieces' numbers.</summary>
    public Dictionary<string, int> Vocabulary()
    {
        var vocabulary = new Dictionary<string, int>(Pieces.Count, StringComparer.Ordinal);
        foreach (var (id, piece) in Pieces.Index())
            if (!vocabulary.TryAdd(piece.Text, id))
                throw new TokenizerFormatException(
                    $"The SentencePiece model holds '{piece.Text}' as pieces {vocabulary[piece.Text]} and {id}."
                );
        return vocabulary;
    }

    /// <summary>
    /// The merges behind a byte-pair model, which keeps only their results: every way to make a piece of two others, the better piece first
    /// (transformers, convert_slow_tokenizer.py).
    /// </summary>
    public List<(string Left, string Right)> Merges(Dictionary<string, int> vocabulary)
    {
        var merges = new List<(string Left, string Right, float Score)>();
        foreach (var piece in Pieces.Where(piece => piece.Type is SentencePieceType.Normal or SentencePieceType.UserDefined))
        {
            var ways = new List<(string Left, string Right)>();
            for (int cut = 1; cut < piece.Text.Length; cut++)
                if (
                    !char.IsLowSurrogate(piece.Text[cut])
                    && vocabulary.ContainsKey(piece.Text[..cut])
                    && vocabulary.ContainsKey(piece.Text[cut..])
                )
                    ways.Add((piece.Text[..cut], piece.Text[cut..]));
            merges.AddRange(
                ways.OrderBy(way => vocabulary[way.Left])
                    .ThenBy(way => vocabulary[way.Right])
                    .Select(way => (way.Left, way.Right, piece.Score))
            );
        }
        return
        [
            .. merges
                .OrderByDescending(merge => merge.Score)
                .ThenByDescending(merge => merge.Left.Length)
                .ThenByDescending(merge => merge.Right.Length)
                .Select(merge => (merge.Left, merge.Right)),
        ];
    }

    private void ReadModel(byte[] bytes)
    {
        foreach (var field in Fields(bytes))
            switch (field.Number)
            {
                case 1:
                    Pieces.Add(ReadPiece(field.Bytes(bytes)));
                    break;
                case 2:
                    ReadTrainer(field.Bytes(bytes));
                    break;
                case 3:
                    ReadNormalizer(field.Bytes(bytes));
                    break;
            }
    }

    private static SentencePiece ReadPiece(byte[] bytes)
    {
        string text = "";
        float score = 0;
        var type = SentencePieceType.Normal;
        foreach (var field in Fields(bytes))
            switch (field.Number)
            {
                case 1:
                    text = Encoding.UTF8.GetString(field.Bytes(bytes));
                    break;
                case 2:
                    score = BitConverter.UInt32BitsToSingle((uint)field.Value);
                    break;
                case 3:
                    type = (SentencePieceType)field.Value;
                    break;
            }
        return new SentencePiece(text, score, type);
    }

    private void ReadTrainer(byte[] bytes)
    {
        foreach (var field in Fields(bytes))
            switch (field.Number)
            {
                case 3:
                    kind = (int)field.Value;
                    break;
                case 35:
                    ByteFallback = field.Value != 0;
                    break;
                case 40:
                    UnknownId = (int)field.Value;
                    break;
                case 41:
                    BeginId = (int)field.Value;
                    break;
                case 42:
                    EndId = (int)field.Value;
                    break;
                case 43:
                    PaddingId = (int)field.Value;
                    break;
            }
    }

    private void ReadNormalizer(byte[] bytes)
    {
        foreach (var field in Fields(bytes))
            switch (field.Number)
            {
                case 2:
                    rules = field.Bytes(bytes);
                    break;
                case 3:
                    AddDummyPrefix = field.Value != 0;
                    break;
                case 4:
                    removeExtraSpaces = field.Value != 0;
                    break;
            }
    }

    /// <summary>A field of a protocol buffer: its number and either a value or the place of its bytes.</summary>
    private readonly record struct Field(int Number, long Value, int Start, int Length)
    {
        public byte[] Bytes(byte[] message) =>
            Length >= 0 ? message[Start..(Start + Length)] : throw new InvalidDataException($"field {Number} is no text");
    }

    private static IEnumerable<Field> Fields(byte[] message)
    {
        int position = 0;
        while (position < message.Length)
        {
            ulong tag = Varint(message, ref position);
            int number = checked((int)(tag >> 3));
            switch (tag & 7)
            {
                case 0:
                    yield return new Field(number, unchecked((long)Varint(message, ref position)), 0, -1);
                    break;
                case 1:
                    yield return new Field(number, BinaryPrimitives.ReadInt64LittleEndian(Take(message, ref position, 8)), 0, -1);
                    break;
                case 2:
                    ulong length = Varint(message, ref position);
                    int start = position;
                    _ = Take(message, ref position, length > int.MaxValue ? int.MaxValue : (int)length);
                    yield return new Field(number, 0, start, (int)length);
                    break;
                case 5:
                    yield return new Field(
                        number,
                        BinaryPrimitives.ReadUInt32LittleEndian(Take(message, ref position, 4)),
                        0,
                        -1
                    );
                    break;
                default:
                    throw new InvalidDataException($"byte {position} begins a field of unknown type {tag & 7}");
            }
        }
    }

    private static byte[] Take(byte[] message, ref int position, int count)
    {
        if (count > message.Length - position)
            throw new InvalidDataException($"it ends {count - (message.Length - position)} bytes too early");
        byte[] part = message[position..(position + count)];
        position += count;
        return part;
    }

    private static ulong Varint(byte[] message, ref int position)
    {
        ulong value = 0;
        for (int shift = 0; shift < 64; shift += 7)
        {
            if (position >= message.Length)
                throw new InvalidDataException("it ends inside a number");
            byte part = message[position++];
            value |= (ulong)(part & 0x7F) << shift;
            if (part < 0x80)
                return value;
        }
        throw new InvalidDataException($"byte {position} ends a number that is too long");
    }
}
