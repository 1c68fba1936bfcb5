using AttentionDistillation.Attention;
using AttentionDistillation.Models;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>How MEND's placeholders start.</summary>
public enum MendPlaceholderStart
{
    /// <summary>As the embeddings of words drawn at random.</summary>
    Vocabulary,

    /// <summary>Drawn from N(0, 0.02²).</summary>
    Normal,
}

/// <summary>Sizes and options of MEND's distiller.</summary>
public sealed record MendOptions
{
    /// <summary>N, vectors that replace the demonstrations.</summary>
    public int Vectors { get; init; } = 100;

    /// <summary>How the placeholders start.</summary>
    public MendPlaceholderStart Start { get; init; } = MendPlaceholderStart.Vocabulary;

    /// <summary>The last so many placeholders see only tokens of labels and each other; 0, as in the paper, lets all see everything.</summary>
    public int LabelVectors { get; init; }

    /// <summary>With label vectors: the other placeholders see only tokens that are no labels, and each other.</summary>
    public bool OthersSeeInputsAlone { get; init; }

    internal void Validate()
    {
        if (Vectors < 1)
            throw new ArgumentException($"{nameof(Vectors)} must be 1 or more, but is {Vectors}.");
        if (LabelVectors < 0 || LabelVectors > Vectors)
            throw new ArgumentException(
                $"{nameof(LabelVectors)} must be from 0 to the {Vectors} vectors, but is {LabelVectors}."
            );
        if (OthersSeeInputsAlone && LabelVectors == 0)
            throw new ArgumentException($"{nameof(OthersSeeInputsAlone)} needs {nameof(LabelVectors)} of 1 or more.");
    }
}

/// <summary>What a distiller reads.</summary>
/// <param name="InputIds">int64 [B, L], the demonstrations' tokens one after another, padding on the right.</param>
/// <param name="Mask">bool [B, L], true = real token; null when nothing is padded.</param>
public sealed record MendDemonstrations(Tensor InputIds, Tensor? Mask)
{
    /// <summary>bool [B, L], true = token of a label; needed for separated visibility only.</summary>
    public Tensor? IsLabel { get; init; }
}

/// <summary>
/// MEND's distiller (arXiv 2403.06914, section 3): a small decoder reads demonstrations and then learned placeholders, whose last hidden states,
/// brought to the language model's width, are the vectors that stand for the demonstrations. Attention is causal: placeholders come last and
/// see everything.
/// </summary>
public sealed class MendDistiller : nn.Module<MendDemonstrations, ForwardTrace?, Tensor>
{
    /// <summary>Standard deviation of placeholders and projection.</summary>
    private const double StartDeviation = 0.02;

    private readonly BareDecoder decoder;
    private readonly Parameter placeholders;
    private readonly Linear? projection;
    private readonly SeparatedAttention? separated;

    /// <summary>Builds a distiller around a decoder, which becomes part of it.</summary>
    /// <param name="decoder">The small model.</param>
    /// <param name="languageModelWidth">C of the frozen model; where it is the decoder's, there is no projection.</param>
    /// <param name="options">Sizes and options; null for the paper's.</param>
    /// <param name="seed">Seed of placeholders and projection.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public MendDistiller(BareDecoder decoder, long languageModelWidth, MendOptions? options, long seed)
        : base(nameof(MendDistiller))
    {
        ArgumentNullException.ThrowIfNull(decoder);
        ArgumentOutOfRangeException.ThrowIfLessThan(languageModelWidth, 1);
        Options = options ?? new MendOptions();
        Options.Validate();
        this.decoder = decoder;
        long width = decoder.DecoderConfig.HiddenSize;
        placeholders = nn.Parameter(StartOf(decoder, Options, seed));
        placeholders.DetachFromDisposeScope();
        projection =
            width == languageModelWidth
                ? null
                : new SeededLayers(Seeds.Derive(seed, "mend projection"), StartDeviation).Linear(width, languageModelWidth);
        if (Options.LabelVectors > 0)
        {
            separated = new SeparatedAttention();
            decoder.SetAttention(_ => separated);
        }
        RegisterComponents();
    }

    /// <summary>The options.</summary>
    public MendOptions Options { get; }

    /// <summary>The small model.</summary>
    public BareDecoder Decoder => decoder;

    /// <summary>[N, C] of the decoder.</summary>
    public Parameter Placeholders => placeholders;

    /// <summary>From the decoder's width to the language model's; null where they are equal.</summary>
    public Linear? Projection => projection;

    /// <summary>Demonstrations to vectors.</summary>
    /// <param name="input">The demonstrations.</param>
    /// <param name="trace">Records what it wants of the decoder, placeholders included; null for none.</param>
    /// <returns>[B, N, C of the language model].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or label vectors are asked for and no token is said to be a label.</exception>
    public override Tensor forward(MendDemonstrations input, ForwardTrace? trace)
    {
        ArgumentNullException.ThrowIfNull(input);
        using var scope = NewDisposeScope();
        var (embeddings, mask) = DecoderInputOf(decoder.Embed(input.InputIds), input.Mask, placeholders);
        if (separated is not null)
        {
            var isLabel =
                input.IsLabel
                ?? throw new ArgumentException(
                    $"{nameof(MendOptions.LabelVectors)} is {Options.LabelVectors}, so {nameof(MendDemonstrations)}.{nameof(MendDemonstrations.IsLabel)} must say which tokens are labels."
                );
            separated.Allowed = Visibility(isLabel, input.Mask, Options).unsqueeze(1);
        }
        var hidden = decoder.call(DecoderInput.FromEmbeddings(embeddings, input.Mask is null ? null : mask), trace);
        trace?.MoveOut(scope);
        return VectorsOf(hidden, Options.Vectors, projection?.weight, projection?.bias).MoveToOuterDisposeScope();
    }

    /// <summary>The decoder's input: the demonstrations' embeddings, then the placeholders.</summary>
    /// <param name="demonstrations">[B, L, C].</param>
    /// <param name="mask">bool [B, L]; null when nothing is padded.</param>
    /// <param name="placeholders">[N, C].</param>
    /// <returns>[B, L + N, C] and its mask bool [B, L + N].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static (Tensor Embeddings, Tensor Mask) DecoderInputOf(Tensor demonstrations, Tensor? mask, Tensor placeholders)
    {
        Shapes.Require(demonstrations, "[B, L, C]");
        Shapes.RequireExact(placeholders, [placeholders.size(0), demonstrations.size(2)]);
        if (mask is not null)
            Shapes.RequireExact(mask, demonstrations.shape[..2]);
        using var scope = NewDisposeScope();
        var (batch, count) = (demonstrations.size(0), placeholders.size(0));
        var device = demonstrations.device;
        var real = mask?.ne(0) ?? ones(batch, demonstrations.size(1), dtype: ScalarType.Bool, device: device);
        return (
            cat([demonstrations, placeholders.unsqueeze(0).expand(batch, count, -1)], 1).MoveToOuterDisposeScope(),
            cat([real, ones(batch, count, dtype: ScalarType.Bool, device: device)], 1).MoveToOuterDisposeScope()
        );
    }

    /// <summary>The vectors: the placeholders' last hidden states h, or tanh(W h + b) where widths differ.</summary>
    /// <param name="hidden">[B, L + N, C], after the final norm.</param>
    /// <param name="count">N.</param>
    /// <param name="weight">W, [width of the language model, C]; null for no projection.</param>
    /// <param name="bias">b; null for none.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor VectorsOf(Tensor hidden, long count, Tensor? weight, Tensor? bias)
    {
        Shapes.Require(hidden, "[B, L, C]");
        if (count < 1 || count > hidden.size(1))
            throw new ArgumentException($"Of {hidden.size(1)} places the last {count} cannot be vectors.", nameof(count));
        using var scope = NewDisposeScope();
        var last = hidden.narrow(1, hidden.size(1) - count, count);
        return (weight is null ? last : LinearProduct.Of(last, weight, bias).tanh()).MoveToOuterDisposeScope();
    }

    /// <summary>What each place may see before causality, where visibility is separated by label and input.</summary>
    /// <param name="isLabel">bool [B, L], true = token of a label.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="options">Vectors and label vectors.</param>
    /// <returns>bool [B, L + N, L + N], true = the query (row) may see the key (column).</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or an option is out of its range.</exception>
    public static Tensor Visibility(Tensor isLabel, Tensor? mask, MendOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        Shapes.Require(isLabel, "[B, L]");
        if (mask is not null)
            Shapes.RequireExact(mask, isLabel.shape);
        using var scope = NewDisposeScope();
        var (batch, length) = (isLabel.size(0), isLabel.size(1));
        long all = length + options.Vectors,
            others = options.Vectors - options.LabelVectors;
        Tensor Row(long size, bool value) => full([batch, size], value, dtype: ScalarType.Bool, device: isLabel.device);
        var real = cat([mask?.ne(0) ?? Row(length, true), Row(options.Vectors, true)], 1);
        // Placeholders of labels count as labels, the others as inputs.
        var labels = cat([isLabel.ne(0), Row(others, false), Row(options.LabelVectors, true)], 1);
        var rows = real.unsqueeze(1).expand(batch, all, all);
        var parts = new List<Tensor> { rows.narrow(1, 0, length), rows.narrow(1, length, others) };
        if (options.OthersSeeInputsAlone)
            parts[1] = parts[1].logical_and(labels.logical_not().unsqueeze(1));
        parts.Add(rows.narrow(1, length + others, options.LabelVectors).logical_and(labels.unsqueeze(1)));
        return cat(parts, 1).MoveToOuterDisposeScope();
    }

    private static Tensor StartOf(BareDecoder decoder, MendOptions options, long seed)
    {
        using var guard = no_grad();
        var words = decoder.WordTable;
        if (options.Start == MendPlaceholderStart.Normal)
        {
            using var generator = Seeds.Generator(seed, "mend placeholders");
            return zeros(options.Vectors, words.size(1), dtype: words.dtype)
                .normal_(0.0, StartDeviation, generator)
                .to(words.device)
                .DetachFromDisposeScope();
        }
        var random = Seeds.Random(seed, "mend placeholders");
        using var chosen = tensor(
            [.. Enumerable.Range(0, options.Vectors).Select(_ => random.NextInt64(words.size(0)))],
            device: words.device
        );
        return words.index_select(0, chosen).DetachFromDisposeScope();
    }

    /// <summary>Softmax attention with further pairs hidden, the same in every layer of a pass.</summary>
    private sealed class SeparatedAttention : IAttentionForm
    {
        /// <summary>bool [B, 1, L, L]; the pass owns it.</summary>
        public Tensor? Allowed { get; set; }

        public Tensor Mix(AttentionCall call) => AttentionMixing.Mix(call.State, call.Dropout, Allowed);
    }
}
