using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// A residual block of two 3 x 3 convolutions with group norms before them; a condition (the time's vector) enters between them, added to each
/// channel, or as scale and shift of the second norm (Ho et al. 2020, appendix B; Dhariwal and Nichol 2021, section 3.1).
/// </summary>
public sealed class ResidualBlock2d : nn.Module<Tensor, Tensor?, Tensor>
{
    private const long Kernel = 3;

    private readonly GroupNorm firstNorm;
    private readonly Conv2d firstConvolution;
    private readonly Linear? timeProjection;
    private readonly GroupNorm secondNorm;
    private readonly Dropout dropout;
    private readonly Conv2d secondConvolution;
    private readonly Conv2d? shortcut;
    private readonly Func<Tensor, Tensor> activation;
    private readonly bool scalesAndShifts;

    /// <summary>Builds a block.</summary>
    /// <param name="input">Channels in.</param>
    /// <param name="output">Channels out; where they differ the shortcut is a 1 x 1 convolution.</param>
    /// <param name="conditionWidth">Width of the condition; null for a block without one.</param>
    /// <param name="groups">Groups of the norms; divides both channel counts.</param>
    /// <param name="epsilon">Epsilon of the norms.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <param name="activation">Name of the activation.</param>
    /// <param name="dropout">Dropout probability before the second convolution.</param>
    /// <param name="scalesAndShifts">True when the condition scales and shifts the second norm instead of being added.</param>
    /// <exception cref="ArgumentException">The groups do not divide the channels.</exception>
    public ResidualBlock2d(
        long input,
        long output,
        long? conditionWidth,
        long groups,
        double epsilon,
        SeededLayers layers,
        string activation = "silu",
        double dropout = 0.0,
        bool scalesAndShifts = false
    )
        : base(nameof(ResidualBlock2d))
    {
        ArgumentNullException.ThrowIfNull(layers);
        if (groups < 1 || input % groups != 0 || output % groups != 0)
            throw new ArgumentException(
                $"The norm's groups must divide the channels, but there are {groups} groups for {input} channels in and {output} out."
            );
        this.activation = Activation.Find(activation);
        this.scalesAndShifts = scalesAndShifts;
        firstNorm = layers.GroupNorm(groups, input, epsilon);
        firstConvolution = layers.Convolution(input, output, Kernel, padding: 1);
        timeProjection = conditionWidth is { } width ? layers.Linear(width, scalesAndShifts ? 2 * output : output) : null;
        secondNorm = layers.GroupNorm(groups, output, epsilon);
        this.dropout = nn.Dropout(dropout);
        secondConvolution = layers.Convolution(output, output, Kernel, padding: 1);
        shortcut = input == output ? null : layers.Convolution(input, output, 1);
        RegisterComponents();
    }

    /// <summary>[B, input, H, W] and condition [B, condition width] to [B, output, H, W].</summary>
    /// <exception cref="ArgumentException">A condition is missing, or given to a block without one.</exception>
    public override Tensor forward(Tensor image, Tensor? condition)
    {
        if ((condition is null) != (timeProjection is null))
            throw new ArgumentException(
                condition is null
                    ? "This block needs a condition [B, width], but none was given."
                    : "This block was built without a condition: pass null.",
                nameof(condition)
            );
        using var scope = NewDisposeScope();
        var hidden = ImageLayout.Convolve(firstConvolution, activation(firstNorm.call(image)));
        if (timeProjection is null)
            hidden = secondNorm.call(hidden);
        else
        {
            var time = timeProjection.call(activation(condition!)).unsqueeze(-1).unsqueeze(-1);
            if (scalesAndShifts)
            {
                var parts = time.chunk(2, 1);
                hidden = secondNorm.call(hidden) * (1 + parts[0]) + parts[1];
            }
            else
                hidden = secondNorm.call(hidden + time);
        }
        hidden = ImageLayout.Convolve(secondConvolution, dropout.call(activation(hidden)));
        return ((shortcut is null ? image : ImageLayout.Convolve(shortcut, image)) + hidden).MoveToOuterDisposeScope();
    }
}
