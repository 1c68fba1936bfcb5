using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Cross tokens: what earlier blocks leave behind, few and merged, for later blocks to attend to as further keys and values. The number of tokens that a
/// block gives on does not change.
/// </summary>
/// <remarks>Zhang et al., "Fcaformer: Forward Cross Attention in Hybrid Vision Transformer", 2023 (arXiv 2211.07198), and its authors' code.</remarks>
public static class CrossTokens
{
    /// <summary>The merging kernel's side in the authors' code.</summary>
    public const long MergeKernel = 7;

    /// <summary>The merging kernel's step in the authors' code.</summary>
    public const long MergeStride = 4;

    /// <summary>How many cross tokens a block leaves: ceil(height / stride) ceil(width / stride).</summary>
    /// <param name="grid">The block's grid of tokens.</param>
    /// <param name="stride">Step of the merging kernel.</param>
    /// <exception cref="ArgumentException">The stride is below 1.</exception>
    public static ImageSize MergedGrid(ImageSize grid, long stride = MergeStride) =>
        stride >= 1
            ? new((grid.Height + stride - 1) / stride, (grid.Width + stride - 1) / stride)
            : throw new ArgumentException($"The stride of merging must be 1 or more, but is {stride}.", nameof(stride));

    /// <summary>Merges neighbouring tokens by a depthwise convolution with a long step, without bias and norm.</summary>
    /// <param name="tokens">[B, N, C], row by row of the grid.</param>
    /// <param name="grid">The grid of N places.</param>
    /// <param name="kernel">[C, 1, side, side], side odd; the map is padded by half of it.</param>
    /// <param name="stride">Step in both directions.</param>
    /// <returns>[B, M, C], row by row, M as <see cref="MergedGrid"/> says.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the kernel's side is even.</exception>
    public static Tensor Merge(Tensor tokens, ImageSize grid, Tensor kernel, long stride = MergeStride)
    {
        using var scope = NewDisposeScope();
        return Tokens(Depthwise(Map(tokens, grid), kernel, stride)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Enhances tokens by their neighbours: a depthwise convolution without bias, and a batch normalisation. The result replaces the tokens; there is no
    /// residual path.
    /// </summary>
    /// <param name="tokens">[B, N, C], row by row of the grid.</param>
    /// <param name="grid">The grid of N places.</param>
    /// <param name="kernel">[C, 1, side, side], side odd.</param>
    /// <param name="norm">Weight, bias, running mean and running variance of the normalisation, [C] each.</param>
    /// <param name="training">True to normalise by the batch and to move the running numbers; false to normalise by these.</param>
    /// <returns>[B, N, C].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the kernel's side is even.</exception>
    public static Tensor Enhance(Tensor tokens, ImageSize grid, Tensor kernel, BatchNormTensors norm, bool training)
    {
        ArgumentNullException.ThrowIfNull(norm);
        using var scope = NewDisposeScope();
        var map = Depthwise(Map(tokens, grid), kernel, 1);
        var normalised = nn.functional.batch_norm(map, norm.Mean, norm.Variance, norm.Weight, norm.Bias, training);
        return Tokens(normalised).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Cross tokens scaled slot by slot and then normalised: LN'(a · cross). The norm undoes the scale's size up to epsilon, so that the scale acts by its
    /// sign, and by its size only on tokens whose deviation is near sqrt(epsilon).
    /// </summary>
    /// <remarks>
    /// For that reason the scale's gradient is what is left when two terms of the size of the loss's gradient cancel: in float32 its digits would be noise.
    /// Here it is LN'(a c) = (c - mean) r w + b with r = a / sqrt(a² var + epsilon), and r, one number a token, is computed in float64.
    /// </remarks>
    /// <param name="cross">[B, M, C].</param>
    /// <param name="scale">a, [M, 1]; null for a fixed 1.</param>
    /// <param name="weight">w of the norm, [C].</param>
    /// <param name="bias">b of the norm, [C].</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <returns>[B, M, C].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Calibrate(Tensor cross, Tensor? scale, Tensor weight, Tensor bias, double epsilon = 1e-5)
    {
        Shapes.Require(cross, "[B, M, C]");
        if (scale is null)
            return nn.functional.layer_norm(cross, [cross.size(-1)], weight, bias, epsilon);
        Shapes.RequireExact(scale, [cross.size(1), 1]);
        using var scope = NewDisposeScope();
        var centred = cross - cross.mean([-1L], keepdim: true);
        var variance = centred.square().mean([-1L], keepdim: true).to(ScalarType.Float64);
        var exact = scale.to(ScalarType.Float64);
        var factor = exact * (exact.square() * variance + epsilon).rsqrt();
        return (centred * factor.to(cross.dtype) * weight + bias).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// One attention call over a block's tokens and the cross tokens of earlier blocks: one softmax over both. The same projection serves both; the
    /// cross tokens' queries are not computed.
    /// </summary>
    /// <param name="tokens">[B, N, C], normalised.</param>
    /// <param name="cross">[B, M, C], scaled and normalised; null for a block without.</param>
    /// <param name="weight">[3 C, C]: rows of all queries, all keys, all values, each head by head.</param>
    /// <param name="bias">[3 C], or null.</param>
    /// <param name="heads">H.</param>
    /// <param name="placeScores">Added to the scaled scores of tokens, broadcastable to [B, H, N, N]; null for nothing.</param>
    /// <param name="slotScores">Added to the scaled scores of cross tokens, [H, 1, M]; null for nothing.</param>
    /// <returns>Queries [B, H, N, D], keys and values [B, H, N + M, D].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static AttentionState State(
        Tensor tokens,
        Tensor? cross,
        Tensor weight,
        Tensor? bias,
        long heads,
        Tensor? placeScores,
        Tensor? slotScores
    )
    {
        Shapes.Require(tokens, "[B, N, C]");
        if (cross is null)
            return BiasedAttention.State(tokens, weight, bias, heads, placeScores?.alias());
        long batch = tokens.size(0),
            places = tokens.size(1),
            width = tokens.size(2),
            slots = cross.size(1);
        Shapes.RequireExact(cross, [batch, -1, width]);
        if (slotScores is not null)
            Shapes.RequireExact(slotScores, [heads, 1, slots]);
        using var scope = NewDisposeScope();
        var own = LinearProduct.Of(tokens, weight, bias).view(batch, places, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0);
        var earlier = LinearProduct
            .Of(cross, weight.narrow(0, width, 2 * width), bias?.narrow(0, width, 2 * width))
            .view(batch, slots, 2, heads, -1)
            .permute(2, 0, 3, 1, 4)
            .unbind(0);
        Tensor? scores = null;
        if (placeScores is not null || slotScores is not null)
        {
            var ofPlaces = placeScores ?? zeros(1, 1, 1, 1, dtype: tokens.dtype, device: tokens.device);
            var ofSlots = slotScores?.unsqueeze(0) ?? zeros(1, 1, 1, 1, dtype: tokens.dtype, device: tokens.device);
            long rows = ofPlaces.size(0);
            scores = cat([ofPlaces.expand(rows, heads, places, places), ofSlots.expand(rows, heads, places, slots)], -1);
            scores.MoveToOuterDisposeScope();
        }
        var state = new AttentionState(
            own[0],
            cat([own[1], earlier[0]], 2),
            cat([own[2], earlier[1]], 2),
            mask: null,
            bias: scores
        );
        return state.MoveToOuterDisposeScope();
    }

    /// <summary>Share of each query's attention that falls on cross tokens, [B, H, N].</summary>
    /// <param name="state">A call of <see cref="State"/>.</param>
    public static Tensor Mass(AttentionState state)
    {
        ArgumentNullException.ThrowIfNull(state);
        using var scope = NewDisposeScope();
        long places = state.Query.size(2);
        return state.Probabilities().narrow(-1, places, state.Key.size(2) - places).sum(-1).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Numbers of cross-token slots (scales or biases) for another resolution: each block's slots are a small image and are resized bilinearly.
    /// </summary>
    /// <param name="slots">[..., blocks M], block by block, row by row of the merged grid.</param>
    /// <param name="from">The merged grid they were learned on.</param>
    /// <param name="to">The merged grid wanted.</param>
    /// <exception cref="ArgumentException">The slots are no whole number of grids.</exception>
    public static Tensor ResizeSlots(Tensor slots, ImageSize from, ImageSize to)
    {
        ArgumentNullException.ThrowIfNull(slots);
        if (slots.dim() < 1 || slots.size(-1) % from.Area != 0)
            throw new ArgumentException(
                $"The last axis must hold whole grids of {from} = {from.Area} slots, but the slots are {Shapes.Describe(slots)}.",
                nameof(slots)
            );
        using var scope = NewDisposeScope();
        var images = slots.reshape(-1, 1, from.Height, from.Width);
        var resized = nn.functional.interpolate(
            images,
            [to.Height, to.Width],
            mode: InterpolationMode.Bilinear,
            align_corners: false
        );
        return resized.reshape([.. slots.shape[..^1], slots.size(-1) / from.Area * to.Area]).MoveToOuterDisposeScope();
    }

    private static Tensor Map(Tensor tokens, ImageSize grid)
    {
        Shapes.Require(tokens, "[B, N, C]");
        if (tokens.size(1) != grid.Area)
            throw new ArgumentException(
                $"There are {tokens.size(1)} tokens, but the grid is {grid} = {grid.Area} places. Leave class tokens out, or give the grid of these tokens.",
                nameof(tokens)
            );
        return tokens.view(tokens.size(0), grid.Height, grid.Width, tokens.size(2)).permute(0, 3, 1, 2);
    }

    private static Tensor Tokens(Tensor map) => map.permute(0, 2, 3, 1).flatten(1, 2);

    private static Tensor Depthwise(Tensor map, Tensor kernel, long stride)
    {
        long channels = map.size(1);
        Shapes.RequireExact(kernel, [channels, 1, -1, kernel.size(-2)]);
        if (kernel.size(-1) % 2 == 0)
            throw new ArgumentException(
                $"The kernel's side must be odd, so that the grid keeps its middle, but is {kernel.size(-1)}.",
                nameof(kernel)
            );
        long padding = kernel.size(-1) / 2;
        return nn.functional.conv2d(
            ImageLayout.ChannelsLast(map),
            kernel,
            null,
            [stride, stride],
            [padding, padding],
            [1, 1],
            channels
        );
    }
}

/// <summary>The numbers of a batch normalisation, [C] each.</summary>
/// <param name="Weight">Factor after normalising.</param>
/// <param name="Bias">Added at last.</param>
/// <param name="Mean">Running mean.</param>
/// <param name="Variance">Running variance.</param>
public sealed record BatchNormTensors(Tensor Weight, Tensor Bias, Tensor Mean, Tensor Variance);
