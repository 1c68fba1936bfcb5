using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Trained input embeddings that stand before a text in place of words.</summary>
/// <remarks>Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", 2021, section 2.</remarks>
public sealed class SoftPrompt : nn.Module
{
    private const string Stream = "soft-prompt";

    private readonly Parameter embeddings;

    private SoftPrompt(Tensor start)
        : base(nameof(SoftPrompt))
    {
        embeddings = nn.Parameter(start.DetachFromDisposeScope());
        embeddings.DetachFromDisposeScope();
        RegisterComponents();
    }

    /// <summary>A prompt drawn at random.</summary>
    /// <param name="model">The model it is for: gives width, element type and device.</param>
    /// <param name="length">Tokens of the prompt.</param>
    /// <param name="seed">Seed of the draw.</param>
    /// <param name="standardDeviation">Of the entries; null means the words' own.</param>
    public static SoftPrompt Random(TextDecoder model, long length, long seed, double? standardDeviation = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var words = model.WordTable;
        double deviation = standardDeviation ?? words.to(ScalarType.Float32).std().ToDouble();
        var start = zeros(length, words.size(1)).normal_(0.0, deviation, Seeds.Generator(seed, Stream));
        return new SoftPrompt(start.to(words.dtype, words.device));
    }

    /// <summary>A prompt that starts as the embeddings of words.</summary>
    /// <param name="model">The model it is for.</param>
    /// <param name="tokens">int64 [tokens of the prompt].</param>
    public static SoftPrompt FromWords(TextDecoder model, Tensor tokens)
    {
        ArgumentNullException.ThrowIfNull(model);
        Shapes.Require(tokens, "[N]");
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        return new SoftPrompt(model.WordTable.index_select(0, tokens).clone());
    }

    /// <summary>[tokens of the prompt, C].</summary>
    public Parameter Embeddings => embeddings;

    /// <summary>A text with the prompt before it, as embeddings.</summary>
    /// <param name="model">Looks the words up.</param>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <returns>Input of length (tokens of the prompt) + L; its tensors belong to the caller's scope.</returns>
    public DecoderInput Before(TextDecoder model, Tensor inputIds, Tensor? mask)
    {
        ArgumentNullException.ThrowIfNull(model);
        Shapes.Require(inputIds, "[B, L]");
        using var scope = NewDisposeScope();
        long batch = inputIds.size(0),
            length = embeddings.size(0);
        var words = model.Embed(inputIds);
        var whole = cat([embeddings.to(words.dtype).unsqueeze(0).expand(batch, length, words.size(2)), words], 1);
        var wholeMask = mask is null
            ? null
            : cat([ones(batch, length, dtype: ScalarType.Bool, device: mask.device), mask.ne(0)], 1);
        return DecoderInput.FromEmbeddings(whole.MoveToOuterDisposeScope(), wholeMask?.MoveToOuterDisposeScope());
    }
}
