using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using static TorchSharp.torch;

namespace AttentionDistillation.Worlds;

/// <summary>
/// Sums of digits modulo 10, answered at once or with intermediate results. Two digits can be learned by heart; a sum of several digits needs the sums of its beginnings
/// written out, unless a model adds them all in one pass.
/// </summary>
/// <remarks>
/// The sum 7 + 5 + 9 reads <c>&lt;s&gt; 7 + 5 + 9 =</c>. Answered at once it goes on <c>! 1 .</c>; worked out it goes on <c>? 2 1 ! 1 .</c>: the question mark opens the thinking, then come the
/// sums of the first two and the first three digits, the exclamation mark opens the answer, the point ends. All sums of a batch have equally many digits, so that
/// nothing is padded.
/// </remarks>
public static class DigitSums
{
    /// <summary>Begins a text.</summary>
    public const long Begin = 10;

    /// <summary>Between digits.</summary>
    public const long Plus = 11;

    /// <summary>Ends the problem.</summary>
    public const long Equal = 12;

    /// <summary>Opens the thinking.</summary>
    public const long Think = 13;

    /// <summary>Opens the answer.</summary>
    public const long Answer = 14;

    /// <summary>Ends a text.</summary>
    public const long End = 15;

    /// <summary>Padding, after an end.</summary>
    public const long Padding = 16;

    /// <summary>V.</summary>
    public const int VocabularySize = 17;

    /// <summary>The batch's tensor, int64 [B]: the sums.</summary>
    public const string Sums = "sums";

    private const int Base = 10;

    // Of a hundred sums, the ones whose number modulo this is 0 are held out.
    private const int HeldOutShare = 5;

    /// <summary>Tokens of a problem, up to the equals sign.</summary>
    /// <param name="digits">How many digits are added.</param>
    public static int PromptLength(int digits) => 2 * digits + 1;

    /// <summary>Tokens of a worked solution, from the question mark to the point.</summary>
    /// <param name="digits">How many digits are added.</param>
    public static int SolutionLength(int digits) => digits + 3;

    /// <summary>Training texts; with three digits or more, no held-out problem is among them.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="digits">How many digits are added; several lengths take turns from step to step.</param>
    /// <param name="worked">True for worked solutions, false for answers at once.</param>
    /// <returns>Batches of <c>input_ids</c> [B, L] and <c>labels</c>, which ask for the solution's tokens alone, shifted so that a place's label is the next token.</returns>
    public static IBatchSource Texts(long seed, int batchSize, IReadOnlyList<int> digits, bool worked)
    {
        ArgumentNullException.ThrowIfNull(digits);
        foreach (int count in digits)
            Require(count);
        return new Source(batchSize, Seeds.Derive(seed, "digit sums"), step => digits[(int)(step % digits.Count)], worked, false);
    }

    /// <summary>Problems with their sums, as prompts for a model's own solutions.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="batchSize">B.</param>
    /// <param name="digits">How many digits are added.</param>
    /// <param name="heldOut">True for problems that training texts leave out (of two digits there is nothing to leave out).</param>
    public static IBatchSource Problems(long seed, int batchSize, int digits, bool heldOut)
    {
        Require(digits);
        return new Source(batchSize, Seeds.Derive(seed, $"digit problems {heldOut}"), _ => digits, true, heldOut);
    }

    /// <summary>Tokens of problems and the right solutions, for given digits.</summary>
    /// <param name="problems">int64 [N, digits].</param>
    /// <param name="worked">True for worked solutions, false for answers at once.</param>
    /// <returns>Prompts [N, P] and solutions [N, T].</returns>
    public static (Tensor Prompts, Tensor Solutions) Tokens(Tensor problems, bool worked)
    {
        Shapes.Require(problems, "[N, digits]");
        using var scope = NewDisposeScope();
        long count = problems.size(0),
            digits = problems.size(1);
        Tensor Sign(long token) => full([count, 1], token, dtype: ScalarType.Int64);
        var parts = new List<Tensor> { Sign(Begin) };
        for (long number = 0; number < digits; number++)
        {
            if (number > 0)
                parts.Add(Sign(Plus));
            parts.Add(problems.narrow(1, number, 1));
        }
        parts.Add(Sign(Equal));
        var sums = problems.cumsum(1).remainder(Base);
        var answer = cat([Sign(Answer), sums.narrow(1, digits - 1, 1), Sign(End)], 1);
        var solution = worked ? cat([Sign(Think), sums.narrow(1, 1, digits - 1), answer], 1) : answer;
        return (cat([.. parts], 1).MoveToOuterDisposeScope(), solution.MoveToOuterDisposeScope());
    }

    /// <summary>What a solution answers: the digit after the first exclamation mark, if it ends right after it; -1 where there is none.</summary>
    /// <param name="solutions">int64 [N, T], generated tokens.</param>
    /// <returns>int64 [N] on the CPU.</returns>
    public static Tensor Answers(Tensor solutions)
    {
        Shapes.Require(solutions, "[N, T]");
        using var scope = NewDisposeScope();
        long[] flat = [.. solutions.cpu().contiguous().view(-1).data<long>()];
        long[] answers =
        [
            .. flat.Chunk((int)solutions.size(1))
                .Select(row =>
                {
                    int at = Array.IndexOf(row, Answer);
                    return at >= 0 && at + 2 < row.Length && row[at + 1] < Base && row[at + 2] == End ? row[at + 1] : -1L;
                }),
        ];
        return tensor(answers).MoveToOuterDisposeScope();
    }

    /// <summary>Tokens in words, up to the end.</summary>
    /// <param name="tokens">int64 [L].</param>
    public static string Read(Tensor tokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        using var scope = NewDisposeScope();
        return string.Join(" ", tokens.cpu().contiguous().data<long>().ToArray().Where(token => token != Padding).Select(Word));
    }

    /// <summary>A token in words.</summary>
    public static string Word(long token) =>
        token switch
        {
            >= 0 and < Base => $"{token}",
            Begin => "<s>",
            Plus => "+",
            Equal => "=",
            Think => "?",
            Answer => "!",
            End => ".",
            _ => "·",
        };

    private static void Require(int digits)
    {
        if (digits is < 2 or > 9)
            throw new ArgumentException($"Sums have 2 to 9 digits, not {digits}.", nameof(digits));
    }

    private sealed class Source : IBatchSource
    {
        private readonly int batchSize;
        private readonly long seed;
        private readonly Func<long, int> digitsOf;
        private readonly bool worked;
        private readonly bool heldOut;

        public Source(int batchSize, long seed, Func<long, int> digitsOf, bool worked, bool heldOut)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
            (this.batchSize, this.seed, this.digitsOf, this.worked, this.heldOut) = (batchSize, seed, digitsOf, worked, heldOut);
        }

        public Batch BatchAt(long step)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(step);
            int digits = digitsOf(step);
            var random = SplitMix.At(seed, step);
            var rows = new List<long>();
            while (rows.Count < batchSize * digits)
            {
                long[] problem = new long[digits];
                for (int number = 0; number < digits; number++)
                    problem[number] = random.NextInt(Base);
                long name = problem.Aggregate(0L, (sum, digit) => sum * Base + digit);
                bool isHeldOut = digits > 2 && StableHash.Mix((ulong)name + (ulong)digits * 1_000_003) % HeldOutShare == 0;
                if (digits == 2 || isHeldOut == heldOut)
                    rows.AddRange(problem);
            }
            using var scope = NewDisposeScope();
            var problems = tensor([.. rows]).view(batchSize, digits);
            var (prompts, solutions) = Tokens(problems, worked);
            var labels = cat(
                [
                    full([batchSize, prompts.size(1) - 1], Batch.IgnoredLabel, dtype: ScalarType.Int64),
                    solutions,
                    full([batchSize, 1], Batch.IgnoredLabel, dtype: ScalarType.Int64),
                ],
                1
            );
            return new Batch(
                ("input_ids", cat([prompts, solutions], 1).MoveToOuterDisposeScope()),
                ("labels", labels.MoveToOuterDisposeScope()),
                ("prompts", prompts.MoveToOuterDisposeScope()),
                ("problems", problems.MoveToOuterDisposeScope()),
                (Sums, problems.sum(1).remainder(Base).MoveToOuterDisposeScope())
            );
        }
    }
}
