using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// MEND (Li et al., "MEND: Meta dEmonstratioN Distillation for Efficient and Effective In-Context Learning", arXiv 2403.06914): a small model turns
/// demonstrations into a few vectors that stand before a query in a frozen language model, which itself, reading the demonstrations in full, is the
/// teacher. Here are its losses and inputs; <see cref="MendDistiller"/> is the small model.
/// </summary>
public static class Mend
{
    /// <summary>The share of a text that stands for demonstrations in the first stage.</summary>
    public const double DemonstrationShare = 0.8;

    /// <summary>The longest input of the teacher, in tokens; what is too much is cut off on the left.</summary>
    public const int LongestTeacherInput = 1024;

    /// <summary>The score of an option that is padding.</summary>
    public const double InvalidScore = -10000.0;

    /// <summary>
    /// KL(teacher || student) over every real token of the query, input and answer, mean over the rows of the batch, logits divided by T without the
    /// factor T². Places are compared one to one in order, the last included.
    /// </summary>
    /// <param name="teacherLogits">[B, Lt, V]; receives no gradient.</param>
    /// <param name="teacherMask">bool [B, Lt], true = token of the query (neither demonstration nor padding).</param>
    /// <param name="studentLogits">[B, Ls, V], the vectors' places cut off.</param>
    /// <param name="studentMask">bool [B, Ls], true = real token; in every sequence as many as the teacher's.</param>
    /// <param name="temperature">T.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or the masks select different numbers of places: was the teacher's query cut?</exception>
    public static Tensor QueryKl(
        Tensor teacherLogits,
        Tensor teacherMask,
        Tensor studentLogits,
        Tensor studentMask,
        double temperature = 1.0
    ) =>
        Divergences.AlignedKlDivergence(
            teacherLogits,
            teacherMask,
            studentLogits,
            studentMask,
            new DivergenceOptions { Temperature = temperature, ScalesByTemperatureSquared = false }
        );

    /// <summary>The second stage: cross-entropy of the answer's tokens (<c>answer</c>) and λ times <see cref="QueryKl"/> (<c>divergence</c>).</summary>
    /// <param name="teacherLogits">[B, Lt, V].</param>
    /// <param name="teacherMask">bool [B, Lt].</param>
    /// <param name="studentLogits">[B, Ls, V].</param>
    /// <param name="studentMask">bool [B, Ls].</param>
    /// <param name="tokens">int64 [B, Ls], the query's tokens.</param>
    /// <param name="isAnswer">bool [B, Ls], true = token of the answer, predicted from the place before.</param>
    /// <param name="divergenceWeight">λ; 0 leaves the answer's loss alone, as HyperTuning has it.</param>
    /// <param name="temperature">T.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or the masks select different numbers of places.</exception>
    public static LossTerms FinetuningLoss(
        Tensor teacherLogits,
        Tensor teacherMask,
        Tensor studentLogits,
        Tensor studentMask,
        Tensor tokens,
        Tensor isAnswer,
        double divergenceWeight = 1.0,
        double temperature = 1.0
    ) =>
        new LossTerms()
            .Add("answer", AnswerLoss(studentLogits, tokens, isAnswer))
            .Add("divergence", QueryKl(teacherLogits, teacherMask, studentLogits, studentMask, temperature), divergenceWeight);

    /// <summary>Mean cross-entropy of the answers' tokens, each predicted from the place before.</summary>
    /// <param name="logits">[B, L, V].</param>
    /// <param name="tokens">int64 [B, L].</param>
    /// <param name="isAnswer">bool [B, L].</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor AnswerLoss(Tensor logits, Tensor tokens, Tensor isAnswer)
    {
        Shapes.Require(logits, "[B, L, V]");
        Shapes.RequireExact(tokens, logits.shape[..2]);
        Shapes.RequireExact(isAnswer, logits.shape[..2]);
        using var scope = NewDisposeScope();
        long predicted = logits.size(1) - 1;
        var labels = tokens.masked_fill(isAnswer.logical_not(), Batch.IgnoredLabel).narrow(1, 1, predicted);
        return TokenPrediction.CrossEntropy(logits.narrow(1, 0, predicted), labels).MoveToOuterDisposeScope();
    }

    /// <summary>The frozen model's input: vectors, then the query's embeddings.</summary>
    /// <param name="vectors">[B, N, C].</param>
    /// <param name="queryEmbeddings">[B, L, C].</param>
    /// <param name="queryMask">bool [B, L], padding on the right; null when nothing is padded.</param>
    /// <returns>[B, N + L, C] and its mask bool [B, N + L].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static (Tensor Embeddings, Tensor Mask) LanguageModelInput(Tensor vectors, Tensor queryEmbeddings, Tensor? queryMask)
    {
        Shapes.Require(vectors, "[B, N, C]");
        Shapes.Require(queryEmbeddings, "[B, L, C]");
        Shapes.RequireSame(vectors, queryEmbeddings, 0, "batch size");
        Shapes.RequireSame(vectors, queryEmbeddings, 2, "width");
        if (queryMask is not null)
            Shapes.RequireExact(queryMask, queryEmbeddings.shape[..2]);
        using var scope = NewDisposeScope();
        long batch = vectors.size(0);
        var device = vectors.device;
        var real = ones(batch, vectors.size(1), dtype: ScalarType.Bool, device: device);
        var query = queryMask?.ne(0) ?? ones(batch, queryEmbeddings.size(1), dtype: ScalarType.Bool, device: device);
        return (
            cat([vectors.to(queryEmbeddings.dtype), queryEmbeddings], 1).MoveToOuterDisposeScope(),
            cat([real, query], 1).MoveToOuterDisposeScope()
        );
    }

    /// <summary>The frozen model's scores of a query behind vectors; the vectors' own places are cut off.</summary>
    /// <param name="model">The language model; gradients pass through it to the vectors.</param>
    /// <param name="vectors">[B, N, C].</param>
    /// <param name="queryIds">int64 [B, L].</param>
    /// <param name="queryMask">bool [B, L], padding on the right; null when nothing is padded.</param>
    /// <param name="trace">Records what it wants, the vectors' places included; null for none.</param>
    /// <returns>[B, L, V].</returns>
    public static Tensor Read(
        CausalLanguageModel model,
        Tensor vectors,
        Tensor queryIds,
        Tensor? queryMask,
        ForwardTrace? trace = null
    )
    {
        ArgumentNullException.ThrowIfNull(model);
        Shapes.Require(queryIds, "[B, L]");
        using var scope = NewDisposeScope();
        var (embeddings, mask) = LanguageModelInput(vectors, model.Embed(queryIds), queryMask);
        var input = DecoderInput.FromEmbeddings(embeddings, queryMask is null ? null : mask) with
        {
            LastScores = queryIds.size(1),
            IsPaddedOnTheRight = true,
        };
        var scores = model.call(input, trace);
        trace?.MoveOut(scope);
        return scores.MoveToOuterDisposeScope();
    }

    /// <summary>The teacher's tokens: demonstrations, then the query, cut off on the left to a length.</summary>
    /// <param name="demonstrations">Tokens of the demonstrations, no separators between them.</param>
    /// <param name="query">Tokens of the query.</param>
    /// <param name="longest">The most tokens.</param>
    /// <exception cref="ArgumentException">The query alone is too long: the teacher would not read all that the student reads.</exception>
    public static long[] TeacherTokens(
        IReadOnlyList<long> demonstrations,
        IReadOnlyList<long> query,
        int longest = LongestTeacherInput
    )
    {
        ArgumentNullException.ThrowIfNull(demonstrations);
        ArgumentNullException.ThrowIfNull(query);
        if (query.Count > longest)
            throw new ArgumentException(
                $"The query has {query.Count} tokens, more than the {longest} of the teacher's input. Shorten it.",
                nameof(query)
            );
        int kept = Math.Min(demonstrations.Count, longest - query.Count);
        return [.. demonstrations.Skip(demonstrations.Count - kept), .. query];
    }

    /// <summary>How many of a text's tokens stand for demonstrations and how many for the query in the first stage.</summary>
    /// <param name="length">Tokens of the text.</param>
    /// <param name="share">The demonstrations' share, from 0 to below 1.</param>
    /// <exception cref="ArgumentException">The share is out of its range.</exception>
    public static (long Demonstration, long Query) Split(long length, double share = DemonstrationShare)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (!(share is >= 0 and < 1))
            throw new ArgumentException($"The share must be from 0 to below 1, but is {share}.", nameof(share));
        long demonstration = (long)(length * share);
        return (demonstration, length - demonstration);
    }

    /// <summary>The mean log-probability of each option's tokens, and the best option.</summary>
    /// <param name="logits">[B N, L, V], a row for every query and option, options of a query side by side.</param>
    /// <param name="tokens">int64 [B N, L], query and option.</param>
    /// <param name="isOption">bool [B N, L], true = token of the option, predicted from the place before.</param>
    /// <param name="isValid">bool [B, N], false = no option but padding, which scores <see cref="InvalidScore"/>.</param>
    /// <returns>Scores [B, N] and the best option int64 [B].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static (Tensor Scores, Tensor Prediction) OptionScores(Tensor logits, Tensor tokens, Tensor isOption, Tensor isValid)
    {
        Shapes.Require(logits, "[B, L, V]");
        Shapes.Require(isValid, "[B, N]");
        Shapes.RequireExact(tokens, logits.shape[..2]);
        Shapes.RequireExact(isOption, logits.shape[..2]);
        if (isValid.numel() != logits.size(0))
            throw new ArgumentException(
                $"There are {logits.size(0)} rows for {isValid.numel()} options ({Shapes.Describe(isValid)}).",
                nameof(isValid)
            );
        using var scope = NewDisposeScope();
        var labels = tokens.masked_fill(isOption.logical_not(), Batch.IgnoredLabel);
        var scores = -NextTokenPrediction.CrossEntropyPerSequence(logits, labels).view(isValid.shape);
        scores = scores.masked_fill(isValid.logical_not(), InvalidScore);
        return (scores.MoveToOuterDisposeScope(), scores.argmax(-1).MoveToOuterDisposeScope());
    }
}
