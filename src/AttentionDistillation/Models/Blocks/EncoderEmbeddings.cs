using AttentionDistillation.Runtime;
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
    private readonly long? padding;
    private readonly long? positionPadding;
    private readonly long longest;

    /// <summary>Builds the tables.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="layers">Makes the weights.</param>
    public EncoderEmbeddings(TextEncoderConfig config, SeededLayers layers)
        : base(nameof(EncoderEmbeddings))
    {
        padding = config.PaddingToken;
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
        var sum = FastPaths.DirectTables ? DirectSum(inputIds, tokenTypeIds) : LookedUpSum(inputIds, tokenTypeIds);
        return dropout.call(norm.call(sum)).MoveToOuterDisposeScope();
    }

    private Tensor LookedUpSum(Tensor inputIds, Tensor? tokenTypeIds)
    {
        var sum = Words(inputIds);
        if (tokenTypes is not null)
            sum = sum + tokenTypes.call(tokenTypeIds ?? zeros_like(inputIds));
        return sum + positions.call(PositionsOf(inputIds));
    }

    // Rows that every example shares are added up first, [L, C] or [C]: one addition of full size fewer, and a gradient that is a plain sum over
    // the batch. A look-up's would gather all tokens of a segment into one row, which libtorch does one after the other on CUDA.
    private Tensor DirectSum(Tensor inputIds, Tensor? tokenTypeIds)
    {
        Tensor? shared = positionPadding is null ? PositionTable.narrow(0, 0, inputIds.size(1)) : null;
        Tensor? own = positionPadding is null ? null : positions.call(PositionsOf(inputIds));
        if (tokenTypes is not null && tokenTypeIds is null)
        {
            var first = tokenTypes.weight!.select(0, 0);
            shared = shared is null ? first : shared + first;
        }
        else if (tokenTypes is not null)
        {
            var segments = Segments(tokenTypeIds!);
            own = own is null ? segments : own + segments;
        }
        var sum = Words(inputIds);
        if (own is not null)
            sum = sum + own;
        return shared is null ? sum : sum + shared;
    }

    // As a product with ones and zeros where gradients are wanted on CUDA, for the reason above; the few segments make it cheap.
    private Tensor Segments(Tensor tokenTypeIds)
    {
        if (tokenTypeIds.device_type != DeviceType.CUDA || !is_grad_enabled())
            return tokenTypes!.call(tokenTypeIds);
        var table = tokenTypes!.weight!;
        var numbers = arange(table.size(0), dtype: tokenTypeIds.dtype, device: tokenTypeIds.device);
        return matmul(tokenTypeIds.unsqueeze(-1).eq(numbers).to(table.dtype), table);
    }

    private Tensor Words(Tensor inputIds) =>
        FastPaths.WordGradient == TableGradient.Accumulated && inputIds.device_type == DeviceType.CUDA && is_grad_enabled()
            ? AccumulatedLookup.Of(WordTable, inputIds, padding)
            : words.call(inputIds);

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
