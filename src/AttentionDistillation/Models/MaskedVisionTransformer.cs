using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>Sizes of a <see cref="MaskedVisionTransformer"/>.</summary>
public sealed record MaskedVisionConfig
{
    /// <summary>Pixels of the images.</summary>
    public ImageSize ImageSize { get; init; } = 32;

    /// <summary>Channels of the images.</summary>
    public long Channels { get; init; } = 3;

    /// <summary>Side of a patch.</summary>
    public long Patch { get; init; } = 4;

    /// <summary>C.</summary>
    public long Width { get; init; } = 48;

    /// <summary>Number of layers.</summary>
    public int Layers { get; init; } = 4;

    /// <summary>H.</summary>
    public long Heads { get; init; } = 4;

    /// <summary>Inner width of the feed-forward blocks over C.</summary>
    public long FeedForwardRatio { get; init; } = 4;

    /// <summary>Standard deviation of the initial weights.</summary>
    public double InitializerRange { get; init; } = 0.02;

    /// <summary>
    /// Positions of patches by fixed sines and cosines, as masked autoencoders have them; else a learned table. With them a patch finds its neighbours from
    /// the first step; a learned table has to find out first which places lie side by side. The width must then be divisible by 4.
    /// </summary>
    public bool FixedPositions { get; init; } = true;

    /// <summary>Epsilon of the layer normalisations.</summary>
    public double NormEpsilon { get; init; } = 1e-6;

    /// <summary>The grid of N patches.</summary>
    public ImageSize Grid => ImageSize.Whole(Patch);

    /// <summary>Checks the sizes.</summary>
    /// <exception cref="ArgumentException">A size is out of its range; the message names it.</exception>
    public void Validate()
    {
        if (Patch < 1 || ImageSize.Height % Patch != 0 || ImageSize.Width % Patch != 0)
            throw new ArgumentException($"A patch of {Patch} does not divide images of {ImageSize}.");
        if (Heads < 1 || Width % Heads != 0)
            throw new ArgumentException(
                $"The heads must divide the width, but there are {Heads} heads and the width is {Width}."
            );
        if (FixedPositions && Width % 4 != 0)
            throw new ArgumentException(
                $"Fixed positions need a width divisible by 4, but it is {Width}. Choose another, or FixedPositions = false."
            );
        if (Layers < 1 || Channels < 1 || FeedForwardRatio < 1)
            throw new ArgumentException("Layers, Channels and FeedForwardRatio must be 1 or more.");
        if (!(InitializerRange > 0))
            throw new ArgumentException($"InitializerRange is {InitializerRange}. It must be above 0.");
    }

    internal PreNormOptions LayerOptions =>
        new()
        {
            Width = Width,
            Heads = Heads,
            InnerWidth = Width * FeedForwardRatio,
            Layers = Layers,
            Activation = "gelu",
            NormEpsilon = NormEpsilon,
        };
}

/// <summary>
/// A vision transformer whose sequence may lose tokens on the way: before chosen layers only some patches are kept, each with the position it had. Its output is
/// the normalised tokens [B, 1 + M, C], class token first.
/// </summary>
public sealed class MaskedVisionTransformer : ImageModel
{
    private readonly VisionEmbeddings embeddings;
    private readonly ModuleList<PreNormLayer> layers;
    private readonly LayerNorm norm;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what.</exception>
    public MaskedVisionTransformer(MaskedVisionConfig config, long seed)
        : base(Describe(config), config.Channels)
    {
        Config = config;
        var make = new SeededLayers(seed, config.InitializerRange);
        embeddings = new VisionEmbeddings(
            config.ImageSize,
            config.Channels,
            config.Patch,
            config.Width,
            make,
            config.InitializerRange,
            interpolates: false
        );
        if (config.FixedPositions)
            embeddings.FixPositions();
        layers = new ModuleList<PreNormLayer>([
            .. Enumerable.Range(0, config.Layers).Select(number => new PreNormLayer(config.LayerOptions, make, number)),
        ]);
        norm = make.LayerNorm(config.Width, config.NormEpsilon);
        RegisterComponents();
    }

    /// <summary>The sizes the model was built from.</summary>
    public MaskedVisionConfig Config { get; }

    /// <summary>A pass in which tokens leave.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="visible">
    /// By layer (from 0): the places of the N patches that are kept from there on, int64 [B, M], ascending, among those kept before. The class token stays.
    /// </param>
    /// <param name="trace">Records attention and hidden states it wants, of the tokens that are there; null for none.</param>
    /// <returns>[B, 1 + M, C].</returns>
    /// <exception cref="ArgumentException">A layer does not exist, or shapes do not fit.</exception>
    public Tensor Encode(Tensor images, IReadOnlyDictionary<int, Tensor> visible, ForwardTrace? trace = null)
    {
        ArgumentNullException.ThrowIfNull(visible);
        foreach (int layer in visible.Keys)
            if (layer < 0 || layer >= Config.Layers)
                throw new ArgumentException(
                    $"Tokens are to leave before layer {layer}, but there are layers 0 to {Config.Layers - 1}."
                );
        using var scope = NewDisposeScope();
        var hidden = embeddings.call(images);
        Tensor? places = null;
        trace?.RecordHidden(0, hidden.alias());
        for (int layer = 0; layer < Config.Layers; layer++)
        {
            if (visible.TryGetValue(layer, out var kept))
            {
                hidden = Keep(hidden, places, kept);
                places = kept;
            }
            hidden = layers[layer].call(hidden, null, trace);
            trace?.RecordHidden(layer + 1, hidden.alias());
        }
        var output = norm.call(hidden);
        trace?.MoveOut(scope);
        return output.MoveToOuterDisposeScope();
    }

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace)
    {
        var hidden = LayerStack.Run(layers, embeddings.call(images), null, trace);
        return trace is null || trace.RunsToTheEnd ? norm.call(hidden) : Nothing(images);
    }

    // Rows of the class token and of the places wanted, found among those that are there.
    private Tensor Keep(Tensor hidden, Tensor? places, Tensor wanted)
    {
        Shapes.RequireExact(wanted, [hidden.size(0), -1]);
        var rows = wanted;
        if (places is not null)
        {
            var there = arange(places.size(1), dtype: ScalarType.Int64, device: places.device).expand_as(places);
            var rowOf = full([places.size(0), Config.Grid.Area], -1L, dtype: ScalarType.Int64, device: places.device)
                .scatter(1, places, there);
            rows = rowOf.gather(1, wanted);
        }
        var index = cat([zeros_like(wanted.narrow(1, 0, 1)), rows + 1], 1);
        return TokenPlaces.At(hidden, index);
    }

    private static TraceCapabilities Describe(MaskedVisionConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        return new TraceCapabilities(nameof(MaskedVisionTransformer), config.Layers)
        {
            Heads = (int)config.Heads,
            HiddenWidth = (int)config.Width,
        };
    }
}

/// <summary>
/// Fills in what an encoder has not seen: its tokens at their places, a learned token everywhere else, positions, a few layers, a linear layer to the target's
/// width (pixels of a patch, or another model's features).
/// </summary>
/// <remarks>He et al., "Masked Autoencoders Are Scalable Vision Learners", 2021, section 3.</remarks>
public sealed class MaskedDecoder : nn.Module<Tensor, Tensor, Tensor>
{
    private readonly Linear entry;
    private readonly Parameter maskToken;
    private readonly GridPositions positions;
    private readonly ModuleList<PreNormLayer> layers;
    private readonly LayerNorm norm;
    private readonly Linear exit;
    private readonly ImageSize grid;

    /// <summary>Builds a decoder.</summary>
    /// <param name="encoder">The encoder's sizes.</param>
    /// <param name="width">The decoder's C; the encoder's heads must divide it.</param>
    /// <param name="depth">Its layers.</param>
    /// <param name="output">Width of the target.</param>
    /// <param name="seed">Seed of the weights.</param>
    public MaskedDecoder(MaskedVisionConfig encoder, long width, int depth, long output, long seed)
        : base(nameof(MaskedDecoder))
    {
        ArgumentNullException.ThrowIfNull(encoder);
        encoder.Validate();
        var make = new SeededLayers(seed, encoder.InitializerRange);
        grid = encoder.Grid;
        var options = (encoder with { Width = width, Layers = depth }).LayerOptions;
        entry = make.Linear(encoder.Width, width);
        maskToken = make.NormalParameter(encoder.InitializerRange, 1, 1, width);
        positions = new GridPositions(grid, 1, width, make, encoder.InitializerRange);
        if (encoder.FixedPositions)
            positions.FixSineCosine();
        layers = new ModuleList<PreNormLayer>([
            .. Enumerable.Range(0, depth).Select(number => new PreNormLayer(options, make, number)),
        ]);
        norm = make.LayerNorm(width, encoder.NormEpsilon);
        exit = make.Linear(width, output);
        RegisterComponents();
    }

    /// <summary>Predicts for every place.</summary>
    /// <param name="tokens">The encoder's output [B, 1 + M, C], class token first.</param>
    /// <param name="visible">The places of its tokens, int64 [B, M].</param>
    /// <returns>[B, N, output].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public override Tensor forward(Tensor tokens, Tensor visible)
    {
        Shapes.Require(tokens, "[B, L, C]");
        Shapes.RequireExact(visible, [tokens.size(0), tokens.size(1) - 1]);
        using var scope = NewDisposeScope();
        var entered = entry.Project(tokens);
        long width = entered.size(2);
        var index = visible.unsqueeze(-1).expand(-1, -1, width);
        var places = maskToken.expand(tokens.size(0), grid.Area, width).scatter(1, index, entered.narrow(1, 1, visible.size(1)));
        var hidden = cat([entered.narrow(1, 0, 1), places], 1) + positions.call(grid);
        hidden = LayerStack.Run(layers, hidden, null, null);
        return exit.Project(norm.call(hidden.narrow(1, 1, grid.Area))).MoveToOuterDisposeScope();
    }
}
