using AttentionDistillation.Attention;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// FcaFormer: instead of making attention sparser, each block leaves a few merged tokens to all later blocks of its stage, which attend to them as further
/// keys and values. Here are the paper's models, comparison at equal parameters, its cost, and what attention does with the cross tokens.
/// </summary>
/// <remarks>
/// Zhang et al., "Fcaformer: Forward Cross Attention in Hybrid Vision Transformer", ICCV 2023 (arXiv 2211.07198). Symbols: tokens x [B, N, C], cross tokens
/// [B, M, C], scale a [M, 1] (the paper's learnable scale factors, LSF), slot bias e [H, 1, M]; merging and enhancement together are its TME. The mechanisms
/// are <see cref="CrossTokens"/> and <see cref="ForwardCrossBlock"/>.
/// </remarks>
public static class FcaFormer
{
    /// <summary>FcaFormer-L1 (6.2 M parameters) for images of 224 x 224 and 1,000 classes.</summary>
    public static CrossTokenConfig L1 { get; } = Hybrid((64, 2, null), (128, 2, null), (192, 6, 6), (320, 2, 10));

    /// <summary>FcaFormer-L2 (16.3 M parameters).</summary>
    public static CrossTokenConfig L2 { get; } = Hybrid((96, 2, null), (192, 2, null), (320, 7, 10), (480, 2, 15));

    /// <summary>FcaFormer-L3 (28 M parameters).</summary>
    public static CrossTokenConfig L3 { get; } = Hybrid((96, 3, null), (192, 6, null), (320, 12, 10), (512, 3, 16));

    /// <summary>FcaFormer-L4 (66 M parameters).</summary>
    public static CrossTokenConfig L4 { get; } = Hybrid((128, 3, null), (256, 6, null), (512, 12, 16), (768, 3, 24));

    /// <summary>
    /// The same configuration with the feed-forward width that brings its number of parameters closest to a target's: rows of unequal size would compare
    /// nothing.
    /// </summary>
    /// <param name="config">What is to be fitted.</param>
    /// <param name="target">The number of parameters wanted.</param>
    /// <exception cref="ArgumentException">Even the narrowest feed-forward block has too many parameters.</exception>
    public static CrossTokenConfig MatchParameters(CrossTokenConfig config, long target)
    {
        ArgumentNullException.ThrowIfNull(config);
        var attention = config.Stages.Where(stage => stage.Heads is not null).ToArray();
        // Parameters that one unit of the ratio brings: two matrices and the inner bias of every attention block.
        double perRatio = attention.Sum(stage => stage.Depth * (2.0 * stage.Width * stage.Width + stage.Width));
        double ratio = config.FeedForwardRatio + (target - Parameters(config)) / perRatio;
        double step = 1.0 / attention.Max(stage => stage.Width);
        if (ratio < step)
            throw new ArgumentException(
                $"A model of {target:N0} parameters leaves no width for the feed-forward blocks: the rest alone has about {Parameters(config) - config.FeedForwardRatio * perRatio:N0}. Ask for more, or for fewer cross tokens.",
                nameof(target)
            );
        return config with { FeedForwardRatio = Math.Round(ratio / step) * step };
    }

    /// <summary>Trainable parameters of a configuration.</summary>
    public static long Parameters(CrossTokenConfig config)
    {
        using var model = new CrossTokenTransformer(config, 0);
        return model.parameters().Sum(parameter => parameter.numel());
    }

    /// <summary>
    /// Multiply-accumulates of one image in the attention blocks: projections, both products of attention over N + M keys, merging, enhancement and
    /// feed-forward. (Stem, downsampling and convolutional stages are the same in every row of a comparison and not counted.)
    /// </summary>
    public static double MultiplyAccumulates(CrossTokenConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        double total = 0;
        for (int stage = 0; stage < config.Stages.Count; stage++)
        {
            if (config.Stages[stage].Heads is null)
                continue;
            var options = config.BlockOptions(stage);
            double places = options.Grid.Area,
                width = options.Width,
                merged = CrossTokens.MergedGrid(options.Grid, options.MergeStride).Area,
                merging = merged * width * CrossTokens.MergeKernel * CrossTokens.MergeKernel;
            int depth = config.Stages[stage].Depth;
            for (int number = 0; number < depth; number++)
            {
                double slots = options.Sources(number) * merged;
                total += 4 * places * width * width + 2 * slots * width * width + 2 * places * (places + slots) * width;
                total += 2 * places * width * options.InnerWidth;
                if (options.Enhances)
                    total += 9 * places * width;
                if (options.Source == CrossTokenSource.EarlierBlocks && number < depth - 1 && options.Keep > 0)
                    total += merging;
                if (options.Source == CrossTokenSource.SameBlock)
                    total += options.Sources(number) * merging;
            }
        }
        return total;
    }

    /// <summary>Mean share of attention that falls on cross tokens, per block and head.</summary>
    /// <param name="trace">Of a <see cref="CrossTokenTransformer"/>, with all attention recorded.</param>
    /// <returns>[block, head]; 0 in blocks without cross tokens.</returns>
    public static double[,] CrossMass(ForwardTrace trace)
    {
        ArgumentNullException.ThrowIfNull(trace);
        var layers = trace.Attentions.OrderBy(pair => pair.Key).Select(pair => pair.Value).ToArray();
        if (layers.Length == 0)
            throw new ArgumentException("The trace holds no attention. Ask for TraceRequest.AllAttention.", nameof(trace));
        var mass = new double[layers.Length, layers.Max(state => state.Heads)];
        for (int block = 0; block < layers.Length; block++)
        {
            using var scope = NewDisposeScope();
            double[] heads =
            [
                .. CrossTokens.Mass(layers[block]).detach().mean([0L, 2L]).to(ScalarType.Float64).cpu().data<double>(),
            ];
            for (int head = 0; head < heads.Length; head++)
                mass[block, head] = heads[head];
        }
        return mass;
    }

    /// <summary>
    /// Attention maps of one image's query as small images: its own grid, then the merged grids of the earlier blocks, oldest first.
    /// </summary>
    /// <param name="state">A call of an attention block.</param>
    /// <param name="image">Row of the batch.</param>
    /// <param name="head">The head; null for the mean over heads.</param>
    /// <param name="query">The query's place.</param>
    /// <param name="grid">The block's grid.</param>
    /// <param name="merged">The merged grid.</param>
    public static IReadOnlyList<double[,]> MapsOfQuery(
        AttentionState state,
        int image,
        int? head,
        long query,
        ImageSize grid,
        ImageSize merged
    )
    {
        ArgumentNullException.ThrowIfNull(state);
        using var scope = NewDisposeScope();
        var heads = state.Probabilities().detach()[image].select(1, query).to(ScalarType.Float64).cpu();
        double[] row = [.. (head is { } one ? heads[one] : heads.mean([0L])).contiguous().data<double>()];
        var maps = new List<double[,]> { Image(row, 0, grid) };
        for (long start = grid.Area; start + merged.Area <= row.Length; start += merged.Area)
            maps.Add(Image(row, start, merged));
        return maps;
    }

    private static double[,] Image(double[] row, long start, ImageSize grid)
    {
        var image = new double[grid.Height, grid.Width];
        for (long place = 0; place < grid.Area; place++)
            image[place / grid.Width, place % grid.Width] = row[start + place];
        return image;
    }

    private static CrossTokenConfig Hybrid(params (long Width, int Depth, long? Heads)[] stages) =>
        new()
        {
            ImageSize = 224,
            Patch = null,
            Classes = 1000,
            Stages = [.. stages.Select(stage => new CrossTokenStage(stage.Width, stage.Depth, stage.Heads))],
        };
}
