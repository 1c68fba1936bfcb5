using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>A decoder with a language-model head: scores [B, L, V] of each next token.</summary>
public abstract class CausalLanguageModel : TextDecoder, IOwnProducts
{
    private const string HeadName = "lm_head.weight";

    private readonly Linear? head;

    private protected CausalLanguageModel(DecoderConfig config, string architecture, DecoderNames names, SeededLayers make)
        : base(config, architecture, names, make)
    {
        head = config.TieWordEmbeddings ? null : make.Linear(config.HiddenSize, config.VocabularySize, hasBias: false);
        RegisterComponents();
    }

    /// <summary>The head's weight [V, C]: the word table when they are tied.</summary>
    public Parameter HeadWeight => head?.weight ?? WordTable;

    /// <summary>The vocabulary's scores for hidden states after the final norm.</summary>
    /// <param name="hidden">[..., C].</param>
    /// <returns>[..., V].</returns>
    public Tensor Scores(Tensor hidden) => head is null ? LinearProduct.Of(hidden, WordTable, null) : head.Project(hidden);

    /// <inheritdoc/>
    public long MultiplyAdds(Tensor output) => head is null ? output.numel() * WordTable.size(1) : 0;

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> TiedNames =>
        head is null ? new Dictionary<string, string> { [HeadName] = WordTableName } : HubNames.NothingTied;

    private protected override IEnumerable<(string Name, Tensor Tensor)> HeadParameters =>
        head is null ? [] : [(HeadName, head.weight!)];

    private protected override Tensor Head(Tensor hidden, DecoderInput input, ForwardTrace? trace)
    {
        long length = hidden.size(1);
        return input.LastScores is { } last && last < length ? Scores(hidden.narrow(1, length - last, last)) : Scores(hidden);
    }
}

/// <summary>A decoder without a head: its output is the last hidden state [B, L, C], after the final norm.</summary>
public abstract class BareDecoder : TextDecoder
{
    private protected BareDecoder(DecoderConfig config, string architecture, DecoderNames names, SeededLayers make)
        : base(config, architecture, names, make) => RegisterComponents();

    private protected override Tensor Head(Tensor hidden, DecoderInput input, ForwardTrace? trace) => hidden.alias();
}

/// <summary>A decoder with a classifier on the last token that is not padding: scores [B, classes].</summary>
public abstract class DecoderForSequenceClassification : TextDecoder
{
    private readonly Linear score;

    private protected DecoderForSequenceClassification(
        DecoderConfig config,
        string architecture,
        DecoderNames names,
        SeededLayers make
    )
        : base(config, architecture, names, make)
    {
        score = make.Linear(config.HiddenSize, config.Labels.Count, hasBias: false);
        RegisterComponents();
    }

    private protected override IEnumerable<(string Name, Tensor Tensor)> HeadParameters => [("score.weight", score.weight!)];

    private protected override Tensor Head(Tensor hidden, DecoderInput input, ForwardTrace? trace)
    {
        using var scope = NewDisposeScope();
        long batch = hidden.size(0);
        Tensor last;
        if (DecoderConfig.PaddingToken is not { } padding)
        {
            if (batch != 1)
                throw new ArgumentException(
                    $"{Architecture} finds the last token of each of {batch} sequences by the padding token, and its configuration has none. Set PaddingToken, or give one sequence at a time.",
                    nameof(input)
                );
            last = hidden.select(1, -1);
        }
        else if (input.InputIds is null)
            last = hidden.select(1, -1);
        else
        {
            // The rightmost token that is not padding, wherever padding stands; the first token where all is padding.
            var places = arange(hidden.size(1), dtype: ScalarType.Int64, device: hidden.device);
            var found = (places * input.InputIds.ne(padding).to(ScalarType.Int64)).argmax(-1);
            last = hidden.gather(1, found.view(-1, 1, 1).expand(batch, 1, hidden.size(2))).squeeze(1);
        }
        return score.call(last).MoveToOuterDisposeScope();
    }
}

/// <summary>A decoder with a classifier on every token: scores [B, L, classes].</summary>
public abstract class DecoderForTokenClassification : TextDecoder
{
    private readonly TokenClassifier head;
    private readonly string headName;

    private protected DecoderForTokenClassification(
        DecoderConfig config,
        string architecture,
        DecoderNames names,
        string headName,
        SeededLayers make
    )
        : base(config, architecture, names, make)
    {
        this.headName = headName;
        head = new TokenClassifier(config.HiddenSize, config.Labels.Count, config.ClassifierDropout, make);
        RegisterComponents();
    }

    private protected override IEnumerable<(string Name, Tensor Tensor)> HeadParameters =>
        head.named_parameters().Select(pair => ($"{headName}.{pair.name.Split('.')[^1]}", (Tensor)pair.parameter));

    private protected override Tensor Head(Tensor hidden, DecoderInput input, ForwardTrace? trace) => head.call(hidden);
}

/// <summary>A decoder with a span head: scores of an answer's first and last token [B, L, 2].</summary>
public abstract class DecoderForQuestionAnswering : TextDecoder
{
    private const int SpanEnds = 2;

    private readonly TokenClassifier head;

    private protected DecoderForQuestionAnswering(
        DecoderConfig config,
        string architecture,
        DecoderNames names,
        SeededLayers make
    )
        : base(config, architecture, names, make, TextEncoder.StartLogits, TextEncoder.EndLogits)
    {
        head = new TokenClassifier(config.HiddenSize, SpanEnds, 0.0, make);
        RegisterComponents();
    }

    private protected override IReadOnlyList<string> HeadFeatures => [TextEncoder.StartLogits, TextEncoder.EndLogits];

    private protected override IEnumerable<(string Name, Tensor Tensor)> HeadParameters =>
        head.named_parameters().Select(pair => ($"qa_outputs.{pair.name.Split('.')[^1]}", (Tensor)pair.parameter));

    private protected override Tensor Head(Tensor hidden, DecoderInput input, ForwardTrace? trace)
    {
        var scores = head.call(hidden);
        trace?.RecordFeature(TextEncoder.StartLogits, scores.select(-1, 0));
        trace?.RecordFeature(TextEncoder.EndLogits, scores.select(-1, 1));
        return scores;
    }
}
