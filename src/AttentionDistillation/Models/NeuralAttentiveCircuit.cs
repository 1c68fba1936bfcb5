using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>The random numbers of one training pass of a <see cref="NeuralAttentiveCircuit"/>.</summary>
/// <param name="Edges">Of each propagator uniform draws [n, n], then of the read-out [m, n].</param>
/// <param name="Gumbel">Gumbel noise on the read-out's confidences, [B, m].</param>
public sealed record CircuitDraws(IReadOnlyList<Tensor> Edges, Tensor Gumbel);

/// <summary>
/// A neural attentive circuit that classifies images; its output is scores [B, classes]. n latents, each with a state, a code and a signature, read an image's
/// tokens (read-in), exchange states along the graph that their signatures make (propagators), and m output latents read them (read-out) and are pooled.
/// </summary>
/// <remarks>
/// Rahaman et al., "Neural Attentive Circuits", 2022, in the form that m2mKD (Lo et al., 2024, arXiv 2402.16918) trains, reduced: one set of latents from
/// read-in to read-out, raw tokens as senders without codes, and no loss on the graph. Attention 0 is the read-in, 1 … P the propagators, P + 1 the read-out.
/// </remarks>
public sealed class NeuralAttentiveCircuit : ImageModel, IModularStudent
{
    /// <summary>The feature that holds the log kernel between latents, [n, n].</summary>
    public const string LogKernel = "log_kernel";

    /// <summary>The feature that holds the read-out's weights of output latents, [B, m].</summary>
    public const string PoolWeights = "pool_weights";

    private readonly ModuleList<CircuitModule> parts;
    private readonly Parameter states;
    private readonly Parameter codes;
    private readonly Parameter signatures;
    private readonly Parameter outputStates;
    private readonly Parameter outputCodes;
    private readonly Parameter outputSignatures;
    private readonly Parameter loneStates;
    private readonly Parameter loneCodes;
    private readonly Parameter noCodes;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="config">Sizes and options.</param>
    /// <param name="seed">Seed of the weights, and of the codes and states of lone modules.</param>
    /// <exception cref="ArgumentException">The configuration is invalid; the message says what and how to mend it.</exception>
    public NeuralAttentiveCircuit(CircuitConfig config, long seed)
        : base(Describe(config), config.Channels)
    {
        Config = config;
        var make = new SeededLayers(seed, config.InitializerRange);
        int count = config.Propagators + 2;
        parts = new ModuleList<CircuitModule>([
            .. Enumerable.Range(0, count).Select(index => new CircuitModule(config, make, index == 0, index == count - 1)),
        ]);
        // Codes are normalised and signatures compared by angle: only their directions matter.
        (states, codes, signatures) = (
            make.NormalParameter(1, config.Latents, config.Width),
            make.NormalParameter(1, config.Latents, config.CodeWidth),
            make.NormalParameter(1, config.Latents, config.SignatureWidth)
        );
        (outputStates, outputCodes, outputSignatures) = (
            make.NormalParameter(1, config.OutputLatents, config.Width),
            make.NormalParameter(1, config.OutputLatents, config.CodeWidth),
            make.NormalParameter(1, config.OutputLatents, config.SignatureWidth)
        );
        (loneStates, loneCodes, noCodes) = (
            make.NormalParameter(1, config.Tokens, config.Width),
            make.NormalParameter(1, config.Tokens, config.CodeWidth),
            make.ZeroParameter(config.Tokens, config.CodeWidth)
        );
        foreach (var constant in new[] { loneStates, loneCodes, noCodes })
            constant.requires_grad = false;
        RegisterComponents();
    }

    /// <summary>The configuration the model was built from.</summary>
    public CircuitConfig Config { get; }

    /// <inheritdoc/>
    public int ModuleCount => parts.Count;

    /// <inheritdoc/>
    public long? StitchWidth => Config.StitchWidth;

    /// <inheritdoc/>
    public nn.Module ModuleAt(int index) => Checked(index);

    /// <summary>
    /// A module alone, without kernel: as many states as the meta model has tokens, with codes that are random draws; the read-in's states are draws too, a
    /// propagator's are what enters, and the read-out's own latents read what enters.
    /// </summary>
    /// <inheritdoc/>
    public Tensor InHybrid(int index, Tensor entering)
    {
        var module = Checked(index);
        using var scope = NewDisposeScope();
        if (index == 0)
        {
            var tokens = module.Tokens(entering);
            var lone = loneStates.unsqueeze(0).expand(entering.size(0), -1, -1);
            return module.Leave(module.Exchange(lone, loneCodes, tokens, noCodes, null).States).MoveToOuterDisposeScope();
        }
        Shapes.RequireExact(entering, [-1, Config.Tokens, Config.StitchWidth ?? Config.Width]);
        var senders = module.Enter(entering);
        if (index < parts.Count - 1)
            return module.Leave(module.Exchange(senders, loneCodes, senders, loneCodes, null).States).MoveToOuterDisposeScope();
        var readers = outputStates.unsqueeze(0).expand(entering.size(0), -1, -1);
        var read = module.Exchange(readers, outputCodes, senders, loneCodes, null).States;
        return module.Pool(read, Config.PoolTemperature, null).Logits.MoveToOuterDisposeScope();
    }

    /// <summary>A training pass: kernels are drawn (<see cref="ModularAttention.SampleKernel"/>) and confidences have noise.</summary>
    /// <param name="images">[B, channels, height, width].</param>
    /// <param name="draws">The random numbers, for example of <see cref="Draw"/>.</param>
    /// <returns>[B, classes].</returns>
    /// <exception cref="ArgumentException">There are not as many draws as propagators and read-out need.</exception>
    public Tensor Sampled(Tensor images, CircuitDraws draws)
    {
        ArgumentNullException.ThrowIfNull(draws);
        if (draws.Edges.Count != Config.Propagators + 1)
            throw new ArgumentException(
                $"There are {draws.Edges.Count} draws of edges, but {Config.Propagators} propagators and the read-out need {Config.Propagators + 1}.",
                nameof(draws)
            );
        Shapes.RequireExact(images, [-1, Config.Channels, -1, -1]);
        using var scope = NewDisposeScope();
        return Run(images, draws, null).MoveToOuterDisposeScope();
    }

    /// <summary>The random numbers of a training pass, a function of the seed alone.</summary>
    /// <param name="batch">B.</param>
    /// <param name="seed">The seed, another for every step.</param>
    public CircuitDraws Draw(long batch, long seed)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator((ulong)seed, CPU);
        var device = states.device;
        Tensor Uniform(long rows, long columns) =>
            rand(rows, columns, generator: generator).clamp(1e-6, 1 - 1e-6).to(device).to(states.dtype);
        Tensor[] edges =
        [
            .. Enumerable.Range(0, Config.Propagators).Select(_ => Uniform(Config.Latents, Config.Latents)),
            Uniform(Config.OutputLatents, Config.Latents),
        ];
        var gumbel = Uniform(batch, Config.OutputLatents).log().neg().log().neg();
        return new([.. edges.Select(edge => edge.MoveToOuterDisposeScope())], gumbel.MoveToOuterDisposeScope());
    }

    /// <summary>The same circuit without stitches, for training end to end.</summary>
    /// <returns>A new model; this one stays as it is.</returns>
    public NeuralAttentiveCircuit Assemble()
    {
        var assembled = new NeuralAttentiveCircuit(Config with { StitchWidth = null }, 0);
        ModuleWeights.Copy(this, assembled, _ => true);
        return assembled;
    }

    private protected override Tensor Compute(Tensor images, ForwardTrace? trace) => Run(images, null, trace);

    private Tensor Run(Tensor images, CircuitDraws? draws, ForwardTrace? trace)
    {
        var tokens = parts[0].Tokens(images);
        Tensor Sample(Tensor kernel, int draw) =>
            draws is null ? kernel : ModularAttention.SampleKernel(kernel, draws.Edges[draw], Config.SampleTemperature);
        var kernel = ModularAttention.SignatureKernel(signatures, signatures, Config.Bandwidth, Config.Truncation);
        if (trace?.WantsFeature(LogKernel) == true)
            trace.RecordFeature(LogKernel, kernel);
        var current = Step(0, states.unsqueeze(0).expand(images.size(0), -1, -1), codes, tokens, noCodes, null, trace);
        for (int number = 1; number <= Config.Propagators; number++)
            current = Step(number, current, codes, current, codes, Sample(kernel, number - 1), trace);
        var readKernel = ModularAttention.SignatureKernel(outputSignatures, signatures, Config.Bandwidth);
        var readers = outputStates.unsqueeze(0).expand(images.size(0), -1, -1);
        var read = Step(
            parts.Count - 1,
            readers,
            outputCodes,
            current,
            codes,
            Sample(readKernel, Config.Propagators),
            trace,
            hidden: false
        );
        var (weights, logits) = parts[parts.Count - 1].Pool(read, Config.PoolTemperature, draws?.Gumbel);
        if (trace?.WantsFeature(PoolWeights) == true)
            trace.RecordFeature(PoolWeights, weights);
        return logits;
    }

    private Tensor Step(
        int number,
        Tensor receivers,
        Tensor receiverCodes,
        Tensor senders,
        Tensor senderCodes,
        Tensor? kernel,
        ForwardTrace? trace,
        bool hidden = true
    )
    {
        var (next, state) = parts[number].Exchange(receivers, receiverCodes, senders, senderCodes, kernel);
        if (trace?.WantsAttention(number) == true)
            trace.RecordAttention(number, state);
        if (hidden && trace?.WantsHidden(number) == true)
            trace.RecordHidden(number, next);
        return next;
    }

    private CircuitModule Checked(int index) =>
        index >= 0 && index < parts.Count
            ? parts[index]
            : throw new ArgumentOutOfRangeException(nameof(index), index, $"The model has modules 0 to {parts.Count - 1}.");

    private static TraceCapabilities Describe(CircuitConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        config.Validate();
        return new TraceCapabilities(nameof(NeuralAttentiveCircuit), config.Propagators + 2, LogKernel, PoolWeights)
        {
            Heads = (int)config.Heads,
            HiddenWidth = (int)config.Width,
            LastHiddenState = config.Propagators,
        };
    }
}
