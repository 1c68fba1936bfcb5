using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Multi-head self-attention over the places of a grid, with a learned bias on the scores that depends on how far apart two places are. One
/// projection makes queries, keys and values; its rows are those of all queries, then all keys, then all values, each head by head.
/// </summary>
/// <remarks>Wu et al., "TinyViT", 2022, section 4 (absolute offsets); Liu et al., "Swin Transformer", 2021, equation 4 (signed offsets).</remarks>
public sealed class BiasedAttention : nn.Module<Tensor, Tensor?, ForwardTrace?, Tensor>, IOwnProducts
{
    private readonly Linear qkv;
    private readonly Linear output;
    private readonly Parameter? biases;
    private readonly Tensor? index;
    private readonly double dropout;

    /// <summary>Builds the projections and the table of biases, which starts at 0.</summary>
    /// <param name="width">C.</param>
    /// <param name="heads">H, which must divide <paramref name="width"/>.</param>
    /// <param name="grid">The grid of N places; only its area matters without a bias.</param>
    /// <param name="bias">What the bias depends on.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="layer">The layer's number from 0, under which a trace records the call.</param>
    /// <param name="dropout">Probability with which an attention weight is dropped in training.</param>
    /// <param name="qkvBias">Whether the projection of queries, keys and values has biases.</param>
    /// <exception cref="ArgumentException">The heads do not divide the width, or a number is out of its range.</exception>
    public BiasedAttention(
        long width,
        long heads,
        ImageSize grid,
        PositionBias bias,
        SeededLayers layers,
        int layer,
        double dropout = 0.0,
        bool qkvBias = true
    )
        : base(nameof(BiasedAttention))
    {
        ArgumentNullException.ThrowIfNull(layers);
        if (heads < 1 || width < 1 || width % heads != 0)
            throw new ArgumentException(
                $"The number of heads must divide the width, but there are {heads} heads and the width is {width}. Choose a width of {heads} x head width."
            );
        if (!(dropout is >= 0 and < 1))
            throw new ArgumentException($"Attention dropout must be from 0 to below 1, but is {dropout}.", nameof(dropout));
        (Heads, Width, Layer, Grid, Bias, this.dropout) = (heads, width, layer, grid, bias, dropout);
        qkv = layers.Linear(width, 3 * width, qkvBias);
        output = layers.Linear(width, width);
        if (bias != PositionBias.None)
        {
            var (numbers, count) = NumbersOf(bias, grid);
            biases = bias == PositionBias.Absolute ? layers.ZeroParameter(heads, count) : layers.ZeroParameter(count, heads);
            index = tensor(numbers, dtype: ScalarType.Int64, device: layers.Device).DetachFromDisposeScope();
        }
        RegisterComponents();
    }

    /// <inheritdoc/>
    public long MultiplyAdds(Tensor output) => output.numel() * 3 * Width;

    /// <summary>H.</summary>
    public long Heads { get; }

    /// <summary>C.</summary>
    public long Width { get; }

    /// <summary>The layer's number from 0.</summary>
    public int Layer { get; }

    /// <summary>The grid of places.</summary>
    public ImageSize Grid { get; }

    /// <summary>What the bias depends on.</summary>
    public PositionBias Bias { get; }

    /// <summary>The table of biases: [H, offsets] by absolute offset, [offsets, H] by signed offset; null for none.</summary>
    public Parameter? Biases => biases;

    /// <summary>Attends.</summary>
    /// <param name="tokens">[B, N, C]; without a bias any number of tokens.</param>
    /// <param name="extra">
    /// Added to the scores besides, [windows, N, N], where B is a multiple of windows (see <see cref="Windows.ShiftMask"/>); null for nothing.
    /// </param>
    /// <param name="trace">Records the call if it wants it; null for none.</param>
    /// <returns>[B, N, C].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public override Tensor forward(Tensor tokens, Tensor? extra, ForwardTrace? trace)
    {
        Shapes.Require(tokens, "[B, N, C]");
        if (biases is not null && tokens.size(1) != Grid.Area)
            throw new ArgumentException(
                $"The biases are for a grid of {Grid} = {Grid.Area} places, but there are {tokens.size(1)} tokens. Give images of the configured size, use windows, or leave the bias out.",
                nameof(tokens)
            );
        using var scope = NewDisposeScope();
        var state = State(tokens, qkv.weight, qkv.bias, Heads, ScoreBias(tokens.size(0), extra));
        if (trace?.WantsAttention(Layer) == true)
        {
            trace.RecordAttention(Layer, state);
            MoveOut(state);
        }
        return output.Project(Mix(state, training ? dropout : 0.0)).MoveToOuterDisposeScope();
    }

    /// <summary>The attention call of tokens under given weights.</summary>
    /// <param name="tokens">[B, N, C'].</param>
    /// <param name="weight">[3 C, C']: rows of all queries, all keys, all values, each head by head.</param>
    /// <param name="bias">[3 C] or null.</param>
    /// <param name="heads">H.</param>
    /// <param name="scores">Added to the scaled scores, broadcastable to [B, H, N, N]; null for nothing.</param>
    public static AttentionState State(Tensor tokens, Tensor weight, Tensor? bias, long heads, Tensor? scores)
    {
        using var scope = NewDisposeScope();
        var parts = LinearProduct
            .Of(tokens, weight, bias)
            .view(tokens.size(0), tokens.size(1), 3, heads, -1)
            .permute(2, 0, 3, 1, 4)
            .unbind(0);
        var state = new AttentionState(parts[0], parts[1], parts[2], mask: null, bias: scores);
        return state.MoveToOuterDisposeScope();
    }

    /// <summary>The values mixed by the attention map, heads side by side, [B, N, C]; through libtorch's fused kernel.</summary>
    /// <param name="state">A call without mask.</param>
    /// <param name="dropout">Probability with which an attention weight is dropped.</param>
    public static Tensor Mix(AttentionState state, double dropout = 0.0)
    {
        using var scope = NewDisposeScope();
        var mixed = nn.functional.scaled_dot_product_attention(state.Query, state.Key, state.Value, state.Bias, dropout);
        return mixed.transpose(1, 2).flatten(2).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Rows of a projection as TinyViT's published code lays them out (query, key and value of head 0, then of head 1, ...) in this class's order.
    /// </summary>
    /// <param name="rows">[3 C, ...], weights or biases.</param>
    /// <param name="heads">H.</param>
    public static Tensor FromPerHead(Tensor rows, long heads)
    {
        using var scope = NewDisposeScope();
        long[] rest = rows.shape[1..];
        return rows.reshape([heads, 3, -1, .. rest]).transpose(0, 1).reshape([-1, .. rest]).MoveToOuterDisposeScope();
    }

    /// <summary>Moves a recorded call and its bias, which this class makes for every call, out of the current dispose scope.</summary>
    internal static void MoveOut(AttentionState state)
    {
        state.MoveToOuterDisposeScope();
        state.Bias?.MoveToOuterDisposeScope();
    }

    /// <summary>A table of biases as what is added to the scores of every pair of places.</summary>
    /// <param name="table">[H, offsets] by absolute offset, [offsets, H] by signed offset.</param>
    /// <param name="bias">Which of the two.</param>
    /// <param name="grid">The grid of N places.</param>
    /// <returns>[1, H, N, N].</returns>
    /// <exception cref="ArgumentException">There is no bias, or the table has another number of offsets.</exception>
    public static Tensor ScoresOf(Tensor table, PositionBias bias, ImageSize grid)
    {
        var (numbers, count) = NumbersOf(bias, grid);
        Shapes.RequireExact(table, bias == PositionBias.Absolute ? [-1, count] : [count, -1]);
        using var scope = NewDisposeScope();
        return Gather(table, tensor(numbers, dtype: ScalarType.Int64, device: table.device), bias, grid)
            .MoveToOuterDisposeScope();
    }

    private static (long[] Index, int Count) NumbersOf(PositionBias bias, ImageSize grid) =>
        bias switch
        {
            PositionBias.Absolute => PositionOffsets.Absolute(grid),
            PositionBias.Signed => PositionOffsets.Signed(grid),
            _ => throw new ArgumentException(
                $"The bias must be {PositionBias.Absolute} or {PositionBias.Signed}, but is {bias}.",
                nameof(bias)
            ),
        };

    private static Tensor Gather(Tensor table, Tensor index, PositionBias bias, ImageSize grid) =>
        bias == PositionBias.Absolute
            ? table.index_select(1, index).view(1, -1, grid.Area, grid.Area)
            : table.index_select(0, index).view(1, grid.Area, grid.Area, -1).permute(0, 3, 1, 2).contiguous();

    // Scores [1 or B, H, N, N].
    private Tensor? ScoreBias(long batch, Tensor? extra)
    {
        var learned = biases is null ? null : Gather(biases, index!, Bias, Grid);
        if (extra is null)
            return learned;
        var added = extra.unsqueeze(1);
        if (learned is not null)
            added = added + learned;
        return added.repeat(batch / extra.size(0), 1, 1, 1);
    }
}
