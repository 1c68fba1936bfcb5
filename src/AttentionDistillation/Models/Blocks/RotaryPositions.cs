using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Cosines and sines of one pass's positions, ready to turn queries and keys.</summary>
/// <param name="Cosines">[B or 1, L, 1, rotary width], both halves alike.</param>
/// <param name="SignedSines">The same for sines, the first half negated.</param>
public sealed record Rotation(Tensor Cosines, Tensor SignedSines)
{
    /// <summary>Turns vectors: channel i of the rotary width pairs with channel i + half of it, as checkpoints in Hugging Face's format have it.</summary>
    /// <param name="vectors">[B, L, N, D], N heads.</param>
    /// <returns>[B, L, N, D]; channels beyond the rotary width as they were.</returns>
    public Tensor Apply(Tensor vectors)
    {
        ArgumentNullException.ThrowIfNull(vectors);
        using var scope = NewDisposeScope();
        long width = Cosines.size(-1),
            rest = vectors.size(-1) - width;
        var turning = rest > 0 ? vectors.narrow(-1, 0, width) : vectors;
        // The pair's other half beside each half; with the sign in the sines that is a rotation in three kernels.
        var exchanged = turning.unflatten(3, 2, width / 2).flip(3).flatten(3);
        var turned = (exchanged * SignedSines).addcmul(turning, Cosines, One);
        if (rest > 0)
            turned = cat([turned, vectors.narrow(-1, width, rest)], -1);
        return turned.MoveToOuterDisposeScope();
    }

    private static readonly Scalar One = 1.0f;
}

/// <summary>Rotary positions: makes the <see cref="Rotation"/> of a pass from tables that grow as they are needed.</summary>
public sealed class RotaryPositions : IDisposable
{
    /// <summary>Tables begin with this many positions.</summary>
    private const long FirstTable = 256;

    private readonly long headWidth;
    private readonly long maximumPositions;
    private (Tensor Cosines, Tensor SignedSines)? table;
    private (ScalarType Type, string Device) tableKind;

    /// <summary>Rotary positions of a model.</summary>
    /// <param name="options">Base and scaling.</param>
    /// <param name="headWidth">D.</param>
    /// <param name="maximumPositions">Positions that the model has.</param>
    /// <exception cref="ArgumentException">An option is missing or out of its range.</exception>
    public RotaryPositions(RotaryOptions options, long headWidth, long maximumPositions)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate(headWidth);
        (Options, this.headWidth, this.maximumPositions) = (options, headWidth, maximumPositions);
    }

    /// <summary>Base and scaling.</summary>
    public RotaryOptions Options { get; }

    private bool DependsOnLength => Options.Scaling is RotaryScaling.Dynamic or RotaryScaling.LongRope;

    /// <summary>The rotation of consecutive positions.</summary>
    /// <param name="start">The first position.</param>
    /// <param name="length">L.</param>
    /// <param name="type">Element type of the vectors to turn.</param>
    /// <param name="device">Where they live.</param>
    public Rotation At(long start, long length, ScalarType type, Device device)
    {
        using var scope = NewDisposeScope();
        if (Varies(start + length))
        {
            var positions = arange(start, start + length, dtype: ScalarType.Int64, device: device).unsqueeze(0);
            return Moved(Compute(positions, start + length, type, device));
        }
        var (cosines, sines) = Table(start + length, type, device);
        return Moved((cosines.narrow(1, start, length), sines.narrow(1, start, length)));
    }

    /// <summary>The rotation of given positions.</summary>
    /// <param name="positions">int64 [B or 1, L].</param>
    /// <param name="type">Element type of the vectors to turn.</param>
    /// <remarks>Where the scaling depends on the input's length, that is the largest position + 1, for which the host waits.</remarks>
    public Rotation At(Tensor positions, ScalarType type)
    {
        ArgumentNullException.ThrowIfNull(positions);
        using var scope = NewDisposeScope();
        long? length = DependsOnLength ? positions.max().ToInt64() + 1 : null;
        return Moved(Compute(positions, length, type, positions.device));
    }

    /// <summary>Frees the tables.</summary>
    public void Dispose()
    {
        table?.Cosines.Dispose();
        table?.SignedSines.Dispose();
        table = null;
    }

    private static Rotation Moved((Tensor Cosines, Tensor SignedSines) pair) =>
        new(pair.Cosines.MoveToOuterDisposeScope(), pair.SignedSines.MoveToOuterDisposeScope());

    // Frequencies of dynamic scaling and LongRoPE are one set up to a length, and others beyond.
    private bool Varies(long length) =>
        Options.Scaling == RotaryScaling.Dynamic
            ? length > maximumPositions
            : Options.Scaling == RotaryScaling.LongRope && length > (Options.OriginalPositions ?? maximumPositions);

    private (Tensor Cosines, Tensor SignedSines) Table(long length, ScalarType type, Device device)
    {
        if (table is { } known && tableKind == (type, device.ToString()) && known.Cosines.size(1) >= length)
            return known;
        long size = FirstTable;
        while (size < length)
            size *= 2;
        using var scope = NewDisposeScope();
        var positions = arange(size, dtype: ScalarType.Int64, device: device).unsqueeze(0);
        var (cosines, sines) = Compute(positions, null, type, device);
        Dispose();
        table = (cosines.DetachFromDisposeScope(), sines.DetachFromDisposeScope());
        tableKind = (type, device.ToString());
        return table.Value;
    }

    private (Tensor Cosines, Tensor SignedSines) Compute(Tensor positions, long? length, ScalarType type, Device device)
    {
        using var guard = no_grad();
        var (frequencies, factor) = RotaryFrequencies.Of(Options, headWidth, maximumPositions, length);
        var angles = positions.to(ScalarType.Float32).unsqueeze(-1) * frequencies.to(device);
        var (cosines, sines) = (angles.cos(), angles.sin());
        if (factor != 1.0)
            (cosines, sines) = (cosines * factor, sines * factor);
        return (cat([cosines, cosines], -1).to(type).unsqueeze(2), cat([sines.neg(), sines], -1).to(type).unsqueeze(2));
    }
}
