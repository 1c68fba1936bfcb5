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

    private SeededLayers() { }

    /// <summary>Layers whose weights are zero, for models that are filled from a checkpoint.</summary>
    public static SeededLayers Blank { get; } = new();

    /// <summary>A linear layer, weights [output, input].</summary>
    public Linear Linear(long input, long output, bool hasBias = true) =>
        nn.Linear(Parameter(Draw(output, input)), hasBias ? ZeroParameter(output) : null);

    /// <summary>A lookup table [rows, width].</summary>
    /// <param name="rows">Number of entries.</param>
    /// <param name="width">Width of an entry.</param>
    /// <param name="padding">The entry of padding, which starts at 0 and receives no gradient from look-ups; null for none.</param>
    public Embedding Embedding(long rows, long width, long? padding = null)
    {
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
    public LayerNorm LayerNorm(long width, double epsilon) => nn.LayerNorm(width, epsilon);

    /// <summary>A parameter of zeros, for example an output bias.</summary>
    public Parameter ZeroParameter(params long[] shape)
    {
        var parameter = Parameter(zeros(shape, dtype: ScalarType.Float32));
        parameter.DetachFromDisposeScope();
        return parameter;
    }

    private Tensor Draw(params long[] shape)
    {
        var tensor = zeros(shape, dtype: ScalarType.Float32);
        return generator is null ? tensor : tensor.normal_(0.0, standardDeviation, generator);
    }

    private static Parameter Parameter(Tensor data) => nn.Parameter(data);
}
