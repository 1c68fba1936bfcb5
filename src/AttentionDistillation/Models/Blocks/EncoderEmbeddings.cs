using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>The sum of word, position and (if there are any) segment embeddings, normalised, with dropout.</summary>
public sealed class EncoderEmbeddings : nn.Module<Tensor, Tensor?, Tensor>
{
    private readonly Embedding words;
    private readonly Embedding positions;
    private readonly Embedding? tokenTypes;
    private readonly LayerNorm norm;
    private readonly Dropout dropout;
    private readonly long? positionPadding;
    private readonly long longest;

    /// <summary>Builds the tables.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="layers">Makes the weights.</param>
    public EncoderEmbeddings(TextEncoderConfig config, SeededLayers layers)
        : base(nameof(EncoderEmbeddings))
    {
        positionPadding = config.PositionPadding;
        longest = config.LongestInput;
        words = layers.Embedding(config.VocabularySize, config.HiddenSize, config.PaddingToken);
        positions = layers.Embedding(config.MaximumPositions, config.HiddenSize, positionPadding);
        tokenTypes = config.TokenTypes > 0 ? layers.Embedding(config.TokenTypes, config.HiddenSize) : null;
        norm = layers.LayerNorm(config.HiddenSize, config.NormEpsilon);
        dropout = nn.Dropout(config.HiddenDropout);
        RegisterComponents();
    }

    /// <summary>The word table [V, C], to which a language-model head may be tied.</summary>
    public Parameter WordTable => words.weight!;

    /// <summary>The position table [positions, C].</summary>
    internal Parameter PositionTable => positions.weight!;

    /// <summary>Looks tokens up.</summary>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <param name="tokenTypeIds">int64 [B, L], or null for segment 0 everywhere.</param>
    /// <returns>[B, L, C].</returns>
    /// <exception cref="ArgumentException">The input is too long, or has segments that the model does not know.</exception>
    public override Tensor forward(Tensor inputIds, Tensor? tokenTypeIds)
    {
        Shapes.Require(inputIds, "[B, L]");
        long length = inputIds.size(1);
        if (length > longest)
            throw new ArgumentException(
                $"The input has {length} tokens, but the model has positions for {longest}. Truncate it.",
                nameof(inputIds)
            );
        if (tokenTypeIds is not null && tokenTypes is null)
            throw new ArgumentException("This model has no segments: pass null for the token type ids.", nameof(tokenTypeIds));
        using var scope = NewDisposeScope();
        var sum = words.call(inputIds);
        if (tokenTypes is not null)
            sum = sum + tokenTypes.call(tokenTypeIds ?? zeros_like(inputIds));
        sum = sum + positions.call(PositionsOf(inputIds));
        return dropout.call(norm.call(sum)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Positions from 0; or, where padding has a position of its own (RoBERTa), real tokens are counted from the padding's number + 1 and padding
    /// stays at the padding's number.
    /// </summary>
    private Tensor PositionsOf(Tensor inputIds)
    {
        if (positionPadding is not { } padding)
            return arange(inputIds.size(1), dtype: ScalarType.Int64, device: inputIds.device).unsqueeze(0);
        var real = inputIds.ne(padding).to(ScalarType.Int64);
        return real.cumsum(1) * real + padding;
    }
}
