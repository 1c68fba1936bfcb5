using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Driving;

/// <summary>What a <see cref="SceneModel"/> says of a batch of scenes.</summary>
/// <param name="Classes">Scores of every instance, [B, N, classes].</param>
/// <param name="Relevance">How much each instance matters, logits [B, N].</param>
/// <param name="Trajectory">The planned places in metres, [B, steps, 2]: across, ahead.</param>
/// <param name="Instances">Fused features, [B, N, C].</param>
/// <param name="Gates">Shares of geometry, vision and text at each level, [B, N, 3] each; empty without gates.</param>
/// <param name="Visual">Each level's attention to patches, view by view, row by row; empty without vision.</param>
/// <param name="Textual">Each level's attention to words; empty without text.</param>
public sealed record SceneOutput(
    Tensor Classes,
    Tensor Relevance,
    Tensor Trajectory,
    Tensor Instances,
    IReadOnlyList<Tensor> Gates,
    IReadOnlyList<AttentionState> Visual,
    IReadOnlyList<AttentionState> Textual
);

/// <summary>
/// A small driving model: a patch encoder for each view, instance queries from measured places, a text encoder, fusion of the three, and heads for class,
/// relevance and the own trajectory.
/// </summary>
/// <remarks>
/// In the spirit of OmniScene's stack (arXiv 2509.19973), of which no size was seen (†). A query knows where its measured place would lie in each camera, by the
/// same sines and cosines that mark the patches' columns, as sparse detectors project reference points. Gates start as zero: all modalities count alike.
/// </remarks>
public sealed class SceneModel : nn.Module
{
    private const int Frequencies = 6;

    private readonly Linear geometryIn;
    private readonly Linear geometryOut;
    private readonly PreNormLayer before;
    private readonly PreNormLayer after;
    private readonly PatchEmbedding? patches;
    private readonly Linear? patchPlaces;
    private readonly Linear? queryPlaces;
    private readonly ModuleList<PreNormLayer> vision;
    private readonly ConditionLayerList visualQueries;
    private readonly Embedding? words;
    private readonly Parameter? wordPlaces;
    private readonly PreNormLayer? language;
    private readonly ConditionLayerList textQueries;
    private readonly ModuleList<Linear> gates;
    private readonly ModuleList<Linear> mixes;
    private readonly Linear? join;
    private readonly Linear classHead;
    private readonly Linear relevanceHead;
    private readonly Linear trajectoryIn;
    private readonly Linear trajectoryOut;
    private readonly Linear? alignment;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and switches.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what.</exception>
    public SceneModel(SceneModelConfig config, long seed)
        : base(nameof(SceneModel))
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        Config = config;
        long width = config.Width;
        int cameras = config.CameraYaws.Count;
        var layers = new SeededLayers(seed, 1 / Math.Sqrt(width));
        geometryIn = layers.Linear(5 + cameras * 2 * Frequencies, width);
        geometryOut = layers.Linear(width, width);
        var options = new PreNormOptions
        {
            Width = width,
            Heads = config.Heads,
            InnerWidth = 2 * width,
            Layers = 1,
            Activation = "gelu",
            NormEpsilon = 1e-5,
        };
        before = new(options, layers, 0);
        after = new(options, layers, 1);
        vision = new ModuleList<PreNormLayer>([
            .. Enumerable
                .Range(0, HasVision ? config.VisionLayers : 0)
                .Select(number => new PreNormLayer(options, layers, number)),
        ]);
        if (HasVision)
        {
            patches = new PatchEmbedding(3, width, config.Patch, layers, 1 / Math.Sqrt(width));
            patchPlaces = layers.Linear((cameras + 1) * 2 * Frequencies, width);
            queryPlaces = layers.Linear(cameras * 2 * Frequencies, width, hasBias: false);
        }
        visualQueries = new(HasVision ? config.Levels : 0, width, config.Heads, layers);
        if (HasText)
        {
            words = layers.Embedding(config.Vocabulary, width, padding: 0);
            wordPlaces = layers.NormalParameter(1 / Math.Sqrt(width), 1, config.CaptionLength, width);
            language = new(options, layers, 0);
            alignment = layers.Linear(width, width);
        }
        textQueries = new(HasText ? config.Levels : 0, width, config.Heads, layers);
        bool isGated = config.Fusion == SceneFusion.Gated;
        gates = new ModuleList<Linear>([
            .. Enumerable
                .Range(0, isGated ? config.Levels : 0)
                .Select(_ => layers.ZeroLinear(HierarchicalFusion.Streams * width, HierarchicalFusion.Streams)),
        ]);
        mixes = new ModuleList<Linear>([.. Enumerable.Range(0, config.Levels).Select(_ => layers.Linear(width, width))]);
        join = config.Fusion switch
        {
            SceneFusion.GeometryVision => layers.Linear(2 * width, width),
            SceneFusion.Concatenation => layers.Linear(3 * width, width),
            _ => null,
        };
        classHead = layers.Linear(width, config.Classes);
        relevanceHead = layers.Linear(width, 1);
        trajectoryIn = layers.Linear(2 * width, width);
        trajectoryOut = layers.Linear(width, 2 * config.Steps);
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public SceneModelConfig Config { get; }

    /// <summary>Weight [C, C] and bias [C] that project instances to descriptions, for text supervision.</summary>
    /// <exception cref="InvalidOperationException">The model has no text encoder.</exception>
    public (Tensor Weight, Tensor Bias) Alignment => alignment is null ? throw NoText() : (alignment.weight!, alignment.bias!);

    private bool HasVision => Config.Fusion != SceneFusion.Geometry;

    private bool HasText => Config.Fusion is SceneFusion.Concatenation or SceneFusion.Sum or SceneFusion.Gated;

    /// <summary>Runs the model.</summary>
    /// <param name="views">[B, cameras, 3, height, width].</param>
    /// <param name="geometry">Measured x, y, velocities, scaled, [B, N, 4].</param>
    /// <param name="valid">bool [B, N], true = an agent.</param>
    /// <param name="caption">int64 [B, words], 0 = padding. Scenes without any word go by images and geometry.</param>
    /// <returns>Everything the model says; the caller disposes the tensors, or has a scope that does.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public SceneOutput Run(Tensor views, Tensor geometry, Tensor valid, Tensor caption)
    {
        Shapes.RequireExact(geometry, [-1, -1, 4]);
        long batch = geometry.size(0);
        Shapes.RequireExact(views, [batch, Config.CameraYaws.Count, 3, Config.View.Height, Config.View.Width]);
        Shapes.RequireExact(valid, geometry.shape[..2]);
        Shapes.RequireExact(caption, [batch, Config.CaptionLength]);
        var places = Places(geometry);
        var current = before.call(geometryOut.Project(nn.functional.gelu(geometryIn.Project(places))), valid, null);
        var heard = caption.ne(0);
        Tensor? seen = HasVision ? See(views) : null,
            where = HasVision ? queryPlaces!.Project(places.narrow(-1, 5, places.size(-1) - 5)) : null,
            read = HasText ? Read(caption, heard, wordPlaces!) : null;
        var present = stack(
            [
                ones(batch, dtype: ScalarType.Bool, device: caption.device),
                ones(batch, dtype: ScalarType.Bool, device: caption.device),
                heard.any(1),
            ],
            1
        );
        var (shares, visual, textual) = (new List<Tensor>(), new List<AttentionState>(), new List<AttentionState>());
        for (int level = 0; level < Config.Levels; level++)
        {
            Tensor? ofVision = seen is null ? null : visualQueries.Ask(level, current, where, seen, null, visual),
                ofText = read is null ? null : textQueries.Ask(level, current, null, read, heard, textual);
            if (Config.Fusion == SceneFusion.Gated)
            {
                var found = HierarchicalFusion.Level(
                    current,
                    ofVision!,
                    ofText!,
                    (gates[level].weight!, gates[level].bias!),
                    (mixes[level].weight!, mixes[level].bias!),
                    present,
                    Config.GateTemperature
                );
                shares.Add(found.Gates);
                current = found.Base;
                continue;
            }
            var fused = Config.Fusion switch
            {
                SceneFusion.GeometryVision => join!.Project(cat([current, ofVision!], -1)),
                SceneFusion.Concatenation => join!.Project(cat([current, ofVision!, ofText!], -1)),
                SceneFusion.Sum => current + ofVision! + ofText!,
                _ => current,
            };
            current = fused + nn.functional.gelu(mixes[level].Project(fused));
        }
        current = after.call(current, valid, null);
        var relevance = relevanceHead.Project(current).squeeze(-1);
        return new(classHead.Project(current), relevance, Plan(current, relevance, valid), current, shares, visual, textual);
    }

    /// <summary>Features of short texts by the text encoder, the mean over their words.</summary>
    /// <param name="texts">int64 [B, M, words], 0 = padding.</param>
    /// <returns>[B, M, C].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    /// <exception cref="InvalidOperationException">The model has no text encoder.</exception>
    public Tensor Describe(Tensor texts)
    {
        Shapes.Require(texts, "[B, M, words]");
        if (wordPlaces is null)
            throw NoText();
        using var scope = NewDisposeScope();
        var flat = texts.reshape(-1, texts.size(2));
        var mask = flat.ne(0);
        var counts = mask.unsqueeze(-1).to(wordPlaces.dtype);
        var features = Read(flat, mask, wordPlaces.narrow(1, 0, texts.size(2))) * counts;
        var mean = features.sum([1L]) / counts.sum([1L]).clamp(min: 1);
        return mean.view(texts.size(0), texts.size(1), -1).MoveToOuterDisposeScope();
    }

    private Tensor Read(Tensor tokens, Tensor mask, Tensor places) => language!.call(words!.call(tokens) + places, mask, null);

    private InvalidOperationException NoText() =>
        new($"A model with the fusion {Config.Fusion} has no text encoder. Choose Concatenation, Sum or Gated.");

    private Tensor See(Tensor views)
    {
        long batch = views.size(0),
            cameras = views.size(1),
            rows = Config.View.Height / Config.Patch,
            columns = Config.View.Width / Config.Patch;
        var tokens = patches!.call(views.reshape(batch * cameras, 3, Config.View.Height, Config.View.Width));
        var all = new List<Tensor>();
        var across = Waves((arange(columns, device: views.device).to(views.dtype) + 0.5) / columns)
            .unsqueeze(0)
            .expand(rows, -1, -1);
        var down = Waves((arange(rows, device: views.device).to(views.dtype) + 0.5) / rows).unsqueeze(1).expand(-1, columns, -1);
        for (int camera = 0; camera < cameras; camera++)
        {
            Tensor[] parts =
            [
                .. Enumerable.Range(0, (int)cameras).Select(other => other == camera ? across : zeros_like(across)),
                down,
            ];
            all.Add(cat(parts, -1).reshape(1, rows * columns, -1));
        }
        var places = patchPlaces!.Project(cat([.. all], 0)).unsqueeze(0); // [1, cameras, patches, C]
        var hidden = (tokens.view(batch, cameras, rows * columns, -1) + places).reshape(batch * cameras, rows * columns, -1);
        hidden = LayerStack.Run(vision, hidden, null, null).view(batch, cameras, rows * columns, -1);
        return (hidden + places).reshape(batch, cameras * rows * columns, -1);
    }

    // Measured numbers, the distance, and for each camera the waves of the column where the place would be seen (zero outside of its view).
    private Tensor Places(Tensor geometry)
    {
        Tensor x = geometry.select(-1, 0) * Config.HalfSide,
            y = (geometry.select(-1, 1) + 1) * Config.HalfSide + 1;
        var bearing = atan2(x, y);
        var parts = new List<Tensor> { geometry, ((x.square() + y.square()).sqrt() / Config.HalfSide).unsqueeze(-1) };
        foreach (double yaw in Config.CameraYaws)
        {
            var column = ((bearing - yaw) / Config.CameraHalfAngle + 1) / 2;
            var seen = column.ge(0).logical_and(column.le(1)).unsqueeze(-1).to(geometry.dtype);
            parts.Add(Waves(column) * seen);
        }
        return cat([.. parts], -1);
    }

    // Places between 0 and 1 to sines and cosines, [..., 2 F].
    private static Tensor Waves(Tensor places)
    {
        var angles = stack([.. Enumerable.Range(0, Frequencies).Select(number => places * (Math.PI * (number + 1)))], -1);
        return cat([angles.sin(), angles.cos()], -1);
    }

    private Tensor Plan(Tensor instances, Tensor relevance, Tensor valid)
    {
        var weights = relevance.masked_fill(valid.logical_not(), double.NegativeInfinity).softmax(-1).unsqueeze(-1);
        var counts = valid.unsqueeze(-1).to(instances.dtype);
        var mean = (instances * counts).sum([1L]) / counts.sum([1L]).clamp(min: 1);
        var scene = cat([(instances * weights).sum([1L]), mean], -1);
        var steps = trajectoryOut.Project(nn.functional.gelu(trajectoryIn.Project(scene))).view(-1, Config.Steps, 2);
        // From the middle of the street, in units of a quarter of half its side.
        var unit = steps * (Config.HalfSide / 4);
        return stack([unit.select(-1, 0) + Config.HalfSide, unit.select(-1, 1)], -1);
    }

    /// <summary>Condition aggregation at each level.</summary>
    private sealed class ConditionLayerList : nn.Module
    {
        private readonly ModuleList<LayerNorm> norms;
        private readonly ModuleList<Linear> queries;
        private readonly ModuleList<Linear> keys;
        private readonly ModuleList<Linear> values;
        private readonly ModuleList<Linear> outputs;
        private readonly long heads;

        public ConditionLayerList(int levels, long width, long heads, SeededLayers layers)
            : base(nameof(ConditionLayerList))
        {
            this.heads = heads;
            ModuleList<Linear> Projections(bool hasBias) =>
                new([.. Enumerable.Range(0, levels).Select(_ => layers.Linear(width, width, hasBias))]);
            norms = new ModuleList<LayerNorm>([.. Enumerable.Range(0, levels).Select(_ => layers.LayerNorm(width, 1e-5))]);
            (queries, keys, values, outputs) = (Projections(false), Projections(false), Projections(false), Projections(true));
            RegisterComponents();
        }

        public Tensor Ask(int level, Tensor current, Tensor? places, Tensor tokens, Tensor? mask, List<AttentionState> states)
        {
            var weights = new ConditionWeights(
                (norms[level].weight!, norms[level].bias!),
                queries[level].weight!,
                keys[level].weight!,
                values[level].weight!,
                (outputs[level].weight!, outputs[level].bias!)
            );
            // The place joins the query alone, not the stream, as in DETR.
            var state = ConditionAggregation.State(places is null ? current : current + places, tokens, mask, weights, heads);
            states.Add(state);
            return ConditionAggregation.Apply(current, state, weights.Output);
        }
    }
}
