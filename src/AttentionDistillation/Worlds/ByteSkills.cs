using System.Text;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>What a problem of the byte world asks for.</summary>
public enum ByteSkill
{
    /// <summary>How many brackets are open at the end: <c>b(()((=3;</c>.</summary>
    Brackets,

    /// <summary>The value of a key: <c>ra4x7b1k2?x=7;</c>.</summary>
    Recall,

    /// <summary>The word again: <c>cqmzb|qmzb;</c>.</summary>
    Copy,

    /// <summary>The last digit of a sum: <c>s4+9+8=1;</c>.</summary>
    Sums,
}

/// <summary>
/// Text of small problems, a byte a token, for causal language models: every problem is followed by its answer, and every skill needs another part of
/// a model: counting, looking up, copying, arithmetic. Problems are drawn anew, so no answer but those of sums can be learned by heart.
/// </summary>
/// <remarks>
/// A row is problems one after another, cut at its length: <c>s4+9+8=1;cqmzb|qmzb;b(()((=3;ra4x7b1k2?x=7;</c>. Labels are the bytes that
/// follow. Most bytes are random and cannot be told; what can be told are the answers.
/// </remarks>
public sealed class ByteSkills
{
    private const int FewestBrackets = 5;
    private const int MostBrackets = 10;
    private const int MostDepth = 9;
    private const int Pairs = 4;
    private const int ShortestWord = 3;
    private const int LongestWord = 6;
    private const int MostSummands = 3;
    private const int Letters = 26;

    /// <summary>V: the bytes of ASCII.</summary>
    public const int VocabularySize = 128;

    /// <summary>The tensor of a batch that says which skill's answer the next byte belongs to, int64 [B, L]; -1 for none.</summary>
    public const string SkillName = "skills";

    /// <summary>Makes a world.</summary>
    /// <param name="length">L of the rows, at least 24, so that the longest problem fits.</param>
    public ByteSkills(int length)
    {
        if (length < 24)
            throw new ArgumentException(
                $"A row needs at least 24 bytes, so that every problem fits, but has {length}.",
                nameof(length)
            );
        Length = length;
    }

    /// <summary>L.</summary>
    public int Length { get; }

    /// <summary>The skills.</summary>
    public static IReadOnlyList<ByteSkill> Skills { get; } = Enum.GetValues<ByteSkill>();

    /// <summary>Text for training; labels are all following bytes.</summary>
    /// <param name="seed">The seed; different seeds are different texts.</param>
    /// <param name="batchSize">B.</param>
    public IBatchSource Text(long seed, int batchSize)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        return new Source(this, Seeds.Derive(seed, "byte skills"), batchSize, null);
    }

    /// <summary>Held-out text, the same for every model.</summary>
    /// <param name="batches">How many batches.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="skill">Only the answers of this skill are asked for; null asks for every following byte.</param>
    public EvaluationSource HeldOut(int batches, int batchSize, ByteSkill? skill = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(batches, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        var source = new Source(this, Seeds.Derive(0, "byte skills held out"), batchSize, skill);
        return new EvaluationSource(batches, batches * batchSize, batch => source.BatchAt(batch));
    }

    /// <summary>A row of a batch as text.</summary>
    public static string Read(Batch batch, int row)
    {
        ArgumentNullException.ThrowIfNull(batch);
        using var ids = batch.InputIds[row].cpu();
        return Encoding.ASCII.GetString([.. ids.data<long>().Select(value => (byte)value)]);
    }

    // Text, and for each byte the skill whose answer it belongs to.
    private static void Problem(ref SplitMix random, StringBuilder text, List<int> skills)
    {
        var skill = (ByteSkill)random.NextInt(Skills.Count);
        var (question, answer) = skill switch
        {
            ByteSkill.Brackets => Brackets(ref random),
            ByteSkill.Recall => Recall(ref random),
            ByteSkill.Copy => Copy(ref random),
            _ => Sums(ref random),
        };
        text.Append(question).Append(answer).Append(';');
        skills.AddRange(Enumerable.Repeat(-1, question.Length));
        skills.AddRange(Enumerable.Repeat((int)skill, answer.Length));
        skills.Add(-1);
    }

    private static (string, string) Brackets(ref SplitMix random)
    {
        var text = new StringBuilder("b");
        int depth = 0;
        for (int left = FewestBrackets + random.NextInt(MostBrackets - FewestBrackets + 1); left > 0; left--)
        {
            bool opens = depth == 0 || (depth < MostDepth && random.NextInt(3) > 0);
            depth += opens ? 1 : -1;
            text.Append(opens ? '(' : ')');
        }
        return (text.Append('=').ToString(), $"{depth}");
    }

    private static (string, string) Recall(ref SplitMix random)
    {
        int[] keys = [.. Enumerable.Range(0, Letters)];
        random.Shuffle(keys);
        int[] values = new int[Pairs];
        var text = new StringBuilder("r");
        for (int pair = 0; pair < Pairs; pair++)
        {
            values[pair] = random.NextInt(10);
            text.Append((char)('a' + keys[pair])).Append(values[pair]);
        }
        int asked = random.NextInt(Pairs);
        return (text.Append('?').Append((char)('a' + keys[asked])).Append('=').ToString(), $"{values[asked]}");
    }

    private static (string, string) Copy(ref SplitMix random)
    {
        var word = new StringBuilder();
        for (int left = ShortestWord + random.NextInt(LongestWord - ShortestWord + 1); left > 0; left--)
            word.Append((char)('a' + random.NextInt(Letters)));
        return ($"c{word}|", $"{word}");
    }

    private static (string, string) Sums(ref SplitMix random)
    {
        int[] summands = new int[2 + random.NextInt(MostSummands - 1)];
        for (int place = 0; place < summands.Length; place++)
            summands[place] = random.NextInt(10);
        return ($"s{string.Join('+', summands)}=", $"{summands.Sum() % 10}");
    }

    private sealed class Source(ByteSkills world, long seed, int batchSize, ByteSkill? only) : IBatchSource
    {
        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            int length = world.Length;
            long[] ids = new long[batchSize * length],
                labels = new long[batchSize * length],
                kinds = new long[batchSize * length];
            for (int row = 0; row < batchSize; row++)
            {
                var random = SplitMix.At(seed, step * batchSize + row);
                var text = new StringBuilder();
                var skills = new List<int>();
                while (text.Length <= length)
                    Problem(ref random, text, skills);
                for (int place = 0; place < length; place++)
                {
                    int at = row * length + place;
                    ids[at] = text[place];
                    kinds[at] = skills[place + 1];
                    labels[at] = only is null || kinds[at] == (int)only ? text[place + 1] : Batch.IgnoredLabel;
                }
            }
            long[] shape = [batchSize, length];
            return new Batch(
                ("input_ids", tensor(ids, shape)),
                ("labels", tensor(labels, shape)),
                (SkillName, tensor(kinds, shape))
            );
        }
    }
}
