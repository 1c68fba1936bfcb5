using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// Sines and cosines of a time: with h = width / 2 and f_i = P^(-i / (h - shift)), i = 0 ... h - 1, the numbers sin(s f_i t) and cos(s f_i t)
/// (Vaswani et al., 2017, section 3.5; Ho et al., "Denoising Diffusion Probabilistic Models", 2020, appendix B).
/// </summary>
/// <param name="Width">How many numbers, an even count.</param>
/// <param name="FlipSineToCosine">True puts the cosines first (Stable Diffusion, DiT); false the sines (DDPM).</param>
/// <param name="DownscaleShift">shift: 0 (Stable Diffusion) ends just before the period P, 1 (DDPM, diffusers' DiT) reaches it.</param>
/// <param name="Scale">s: a factor on the time, for times in [0, 1].</param>
/// <param name="MaximumPeriod">P, the ratio of the fastest to the slowest frequency.</param>
public sealed record SinusoidalTime(
    long Width,
    bool FlipSineToCosine = true,
    double DownscaleShift = 0.0,
    double Scale = 1.0,
    double MaximumPeriod = 10_000.0
)
{
    /// <summary>The numbers of some times.</summary>
    /// <param name="times">[B], whole numbers or not.</param>
    /// <param name="type">Element type of the result; computed in float32 at least.</param>
    /// <returns>[B, Width].</returns>
    /// <exception cref="ArgumentException">The times are no vector, or the options are out of range.</exception>
    public Tensor Of(Tensor times, ScalarType type = ScalarType.Float32)
    {
        Shapes.RequireExact(times, [-1]);
        Validate();
        using var scope = NewDisposeScope();
        var working = type == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        long half = Width / 2;
        var exponents = arange(half, dtype: working, device: times.device) * (-Math.Log(MaximumPeriod) / (half - DownscaleShift));
        var angles = times.to(working).unsqueeze(1) * exponents.exp().unsqueeze(0) * Scale;
        var (sine, cosine) = (angles.sin(), angles.cos());
        return cat(FlipSineToCosine ? [cosine, sine] : [sine, cosine], -1).to(type).MoveToOuterDisposeScope();
    }

    internal void Validate()
    {
        if (Width < 2 || Width % 2 != 0)
            throw new ArgumentException(
                $"{nameof(SinusoidalTime)}.{nameof(Width)} is {Width}, but must be an even number, 2 or more."
            );
        if (!(DownscaleShift < Width / 2.0))
            throw new ArgumentException(
                FormattableString.Invariant(
                    $"{nameof(SinusoidalTime)}.{nameof(DownscaleShift)} is {DownscaleShift}, but must be below half the width, {Width / 2}."
                )
            );
        if (!(MaximumPeriod > 1) || !(Scale > 0))
            throw new ArgumentException(
                FormattableString.Invariant(
                    $"{nameof(SinusoidalTime)} needs a maximum period above 1 and a scale above 0, but has {MaximumPeriod} and {Scale}."
                )
            );
    }
}

/// <summary>The time of a denoiser as a vector: sines and cosines, a linear layer, an activation, a linear layer.</summary>
public sealed class TimestepEmbedding : nn.Module<Tensor, Tensor>
{
    private readonly Linear inner;
    private readonly Linear outer;
    private readonly Func<Tensor, Tensor> activation;

    /// <summary>Builds the two layers.</summary>
    /// <param name="sinusoid">Sines and cosines.</param>
    /// <param name="width">C, width of the inner and of the outer layer.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    public TimestepEmbedding(SinusoidalTime sinusoid, long width, SeededLayers layers, string activation = "silu")
        : base(nameof(TimestepEmbedding))
    {
        ArgumentNullException.ThrowIfNull(sinusoid);
        ArgumentNullException.ThrowIfNull(layers);
        sinusoid.Validate();
        Sinusoid = sinusoid;
        this.activation = Activation.Find(activation);
        inner = layers.Linear(sinusoid.Width, width);
        outer = layers.Linear(width, width);
        RegisterComponents();
    }

    /// <summary>The sines and cosines.</summary>
    public SinusoidalTime Sinusoid { get; }

    /// <summary>Times [B] to vectors [B, C].</summary>
    public override Tensor forward(Tensor times)
    {
        using var scope = NewDisposeScope();
        return outer.call(activation(inner.call(Sinusoid.Of(times, inner.weight!.dtype)))).MoveToOuterDisposeScope();
    }
}

/// <summary>Two linear layers with an activation between, from a vector of any width: pooled text, sizes of an image.</summary>
public sealed class VectorEmbedding : nn.Module<Tensor, Tensor>
{
    private readonly Linear inner;
    private readonly Linear outer;
    private readonly Func<Tensor, Tensor> activation;

    /// <summary>Builds the two layers.</summary>
    /// <param name="input">Width of the vector.</param>
    /// <param name="width">C, width of the inner and of the outer layer.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="activation">Name of the activation (see <see cref="Activation"/>).</param>
    public VectorEmbedding(long input, long width, SeededLayers layers, string activation = "silu")
        : base(nameof(VectorEmbedding))
    {
        ArgumentNullException.ThrowIfNull(layers);
        this.activation = Activation.Find(activation);
        inner = layers.Linear(input, width);
        outer = layers.Linear(width, width);
        RegisterComponents();
    }

    /// <summary>[B, input] to [B, C].</summary>
    public override Tensor forward(Tensor vector)
    {
        using var scope = NewDisposeScope();
        return outer.call(activation(inner.call(vector))).MoveToOuterDisposeScope();
    }
}
