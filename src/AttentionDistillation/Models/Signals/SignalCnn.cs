using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Signals;

/// <summary>
/// KD-CNN, the lightest student: three convolutions of step 2 (16, 16, 32 channels, kernel 5) with batch norm and ReLU, mean over the places, linear
/// scores; 4.4 thousand parameters. Hidden state n is the sequence after convolution n, [B, C, l].
/// </summary>
/// <remarks>The paper's student of that name (arXiv 2312.17446); its sizes were not seen, these are this library's (†).</remarks>
public sealed class SignalCnn : SignalModel
{
    private static readonly long[] Widths = [16, 16, 32];

    private readonly ModuleList<SequenceConvolutionNorm> convolutions;
    private readonly Linear classifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="classes">Number of classes.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer than 2 classes.</exception>
    public SignalCnn(int classes, long seed)
        : base(new TraceCapabilities(nameof(SignalCnn), 0, PooledFeatures) { LastHiddenState = Widths.Length })
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(classes, 2);
        var layers = new SeededLayers(seed, 1 / Math.Sqrt(Widths[^1]));
        convolutions = new ModuleList<SequenceConvolutionNorm>([
            .. Widths.Select(
                (width, number) =>
                    new SequenceConvolutionNorm(
                        number == 0 ? 2 : Widths[number - 1],
                        width,
                        5,
                        layers,
                        stride: 2,
                        activation: "relu"
                    )
            ),
        ]);
        classifier = layers.Linear(Widths[^1], classes);
        RegisterComponents();
    }

    private protected override Tensor Compute(Tensor signals, ForwardTrace? trace)
    {
        var pooled = ConvolutionStack.Pooled(convolutions, signals, sequence => sequence.mean([2L]), PooledFeatures, trace);
        return pooled is null ? Nothing(signals) : classifier.Project(pooled);
    }
}

/// <summary>
/// KD-MobileNet, the other student: a convolution of step 2, then four inverted residual blocks (pointwise to twice the width, depthwise of 5 places,
/// pointwise; steps 1, 2, 2, 1; 16, 24, 32, 32 channels), mean over the places, linear scores; 11 thousand parameters. Hidden state n is the sequence after block n.
/// </summary>
/// <remarks>After MobileNetV2 (Sandler et al. 2018) in one dimension; the paper's sizes (arXiv 2312.17446) were not seen (†).</remarks>
public sealed class SignalMobileNet : SignalModel
{
    private static readonly long[] Widths = [16, 24, 32, 32];
    private static readonly long[] Strides = [1, 2, 2, 1];

    private readonly SequenceConvolutionNorm stem;
    private readonly ModuleList<InvertedResidual> blocks;
    private readonly Linear classifier;

    /// <summary>Builds the model with weights drawn from a seed.</summary>
    /// <param name="classes">Number of classes.</param>
    /// <param name="seed">Seed of the weights.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are fewer than 2 classes.</exception>
    public SignalMobileNet(int classes, long seed)
        : base(new TraceCapabilities(nameof(SignalMobileNet), 0, PooledFeatures) { LastHiddenState = Widths.Length })
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(classes, 2);
        var layers = new SeededLayers(seed, 1 / Math.Sqrt(Widths[^1]));
        stem = new SequenceConvolutionNorm(2, Widths[0], 5, layers, stride: 2, activation: "relu");
        blocks = new ModuleList<InvertedResidual>([
            .. Widths.Select(
                (width, number) => new InvertedResidual(number == 0 ? width : Widths[number - 1], width, Strides[number], layers)
            ),
        ]);
        classifier = layers.Linear(Widths[^1], classes);
        RegisterComponents();
    }

    private protected override Tensor Compute(Tensor signals, ForwardTrace? trace)
    {
        var pooled = ConvolutionStack.Pooled(blocks, stem.call(signals), sequence => sequence.mean([2L]), PooledFeatures, trace);
        return pooled is null ? Nothing(signals) : classifier.Project(pooled);
    }

    private sealed class InvertedResidual : nn.Module<Tensor, Tensor>
    {
        private readonly SequenceConvolutionNorm expand;
        private readonly SequenceConvolutionNorm depthwise;
        private readonly SequenceConvolutionNorm project;
        private readonly bool isResidual;

        public InvertedResidual(long input, long output, long stride, SeededLayers layers)
            : base(nameof(InvertedResidual))
        {
            expand = new(input, 2 * input, 1, layers, activation: "relu");
            depthwise = new(2 * input, 2 * input, 5, layers, stride, groups: 2 * input, activation: "relu");
            project = new(2 * input, output, 1, layers);
            isResidual = stride == 1 && input == output;
            RegisterComponents();
        }

        public override Tensor forward(Tensor sequence)
        {
            using var scope = NewDisposeScope();
            var branch = project.call(depthwise.call(expand.call(sequence)));
            return (isResidual ? sequence + branch : branch).MoveToOuterDisposeScope();
        }
    }
}
