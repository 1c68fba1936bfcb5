using AttentionDistillation.Runtime;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>
/// Makes layers whose weights are drawn from one explicit seed, in the order the layers are made, and not from libtorch's global generator: the
/// same seed and architecture give the same weights, whatever ran before.
/// </summary>
/// <remarks>Initialisation as BERT's: weights from N(0, s^2), biases 0, layer norms 1 and 0, the padding row of an embedding 0.</remarks>
public sealed partial class SeededLayers
{
    private const string Stream = "weights";

    private readonly Generator? generator;
    private readonly double standardDeviation;
    private readonly Device? device;
    private readonly bool isFanIn;

    /// <summary>Layers drawn from a seed.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="standardDeviation">s, the standard deviation of the weights.</param>
    /// <exception cref="ArgumentOutOfRangeException">The standard deviation is negative or no number.</exception>
    public SeededLayers(long seed, double standardDeviation)
    {
        if (!(standardDeviation >= 0))
            throw new ArgumentOutOfRangeException(nameof(standardDeviation), standardDeviation, "It must be 0 or more.");
        TorchRuntime.EnsureLoaded();
        generator = Seeds.Generator(seed, Stream);
        this.standardDeviation = standardDeviation;
    }

    private SeededLayers(long seed)
        : this(seed, 1.0) => isFanIn = true;

    private SeededLayers(Device? device, ScalarType type) => (this.device, Type) = (device, type);

    /// <summary>Layers whose weights are zero, float32 on the CPU, for models that are filled from a checkpoint.</summary>
    public static SeededLayers Blank { get; } = new(null, ScalarType.Float32);

    /// <summary>
    /// Layers whose weights are zero and lie where and as they are wanted from the start, so that filling them from a checkpoint needs no second
    /// copy of the model.
    /// </summary>
    /// <param name="device">Where they lie; null means the CPU.</param>
    /// <param name="type">Their element type.</param>
    public static SeededLayers BlankOn(Device? device, ScalarType type) => new(device, type);

    /// <summary>Where the weights lie.</summary>
    public Device Device => device ?? CPU;

    /// <summary>The weights' element type.</summary>
    public ScalarType Type { get; } = ScalarType.Float32;

    /// <summary>A linear layer, weights [output, input].</summary>
    public Linear Linear(long input, long output, bool hasBias = true) =>
        nn.Linear(Parameter(DrawFor(input, output, input)), hasBias ? Bias(input, output) : null);

    /// <summary>A lookup table [rows, width].</summary>
    /// <param name="rows">Number of entries.</param>
    /// <param name="width">Width of an entry.</param>
    /// <param name="padding">The entry of padding, which starts at 0 and receives no gradient from look-ups; null for none.</param>
    public Embedding Embedding(long rows, long width, long? padding = null)
    {
        if (generator is null)
            return BlankEmbedding(rows, width, padding);
        using var table = Draw(rows, width);
        if (padding is { } row)
        {
            using var entry = table[row];
            entry.zero_();
        }
        // The layer draws weights of its own from the global generator, which these replace. (Handing it a table instead leaves the table
        // unregistered in TorchSharp 0.107: it would be used, but neither trained, nor saved, nor loaded.)
        var embedding = nn.Embedding(rows, width, padding);
        using var guard = no_grad();
        foreach (var parameter in embedding.parameters())
        {
            parameter.DetachFromDisposeScope();
            parameter.copy_(table);
        }
        return embedding;
    }

    /// <summary>A layer normalisation over the last axis.</summary>
    /// <param name="width">C.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <param name="hasWeights">False for a normalisation without scale and shift, whose place a modulation takes.</param>
    public LayerNorm LayerNorm(long width, double epsilon, bool hasWeights = true) =>
        nn.LayerNorm(width, epsilon, elementwise_affine: hasWeights, device: Device, dtype: Type);

    /// <summary>A parameter of zeros, for example an output bias.</summary>
    public Parameter ZeroParameter(params long[] shape)
    {
        var parameter = Parameter(zeros(shape, dtype: Type, device: Device));
        parameter.DetachFromDisposeScope();
        return parameter;
    }

    private Tensor Draw(params long[] shape)
    {
        var tensor = zeros(shape, dtype: Type, device: Device);
        return generator is null ? tensor : tensor.normal_(0.0, standardDeviation, generator);
    }

    private static Parameter Parameter(Tensor data) => nn.Parameter(data);

    /// <summary>
    /// The layer draws its own weights in float32 on the CPU before it converts them, seconds and gigabytes for a large vocabulary; so it is made
    /// with the smallest table that admits the padding's row, which the blank one then replaces.
    /// </summary>
    private Embedding BlankEmbedding(long rows, long width, long? padding)
    {
        if (padding >= rows)
            throw new ArgumentOutOfRangeException(nameof(padding), padding, $"The table has {rows} rows.");
        var embedding = nn.Embedding((padding ?? 0) + 1, 1, padding);
        embedding.weight = ZeroParameter(rows, width);
        return embedding;
    }
}
