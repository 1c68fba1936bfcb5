using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public sealed class WindowAttentionTests
{
    [Theory]
    [InlineData(6, 6, 3)]
    [InlineData(5, 7, 3)]
    [InlineData(2, 9, 4)]
    public void CuttingAndJoiningGiveTheMapBack(long height, long width, long window)
    {
        using var scope = NewDisposeScope();
        var map = new RandomTensors(1).Normal(2, height, width, 5);
        var padded = Windows.Pad(map, window);
        Assert.Equal(0, padded.size(1) % window);
        var windows = Windows.Cut(padded, window);
        Assert.True(Windows.Join(windows, window, new ImageSize(height, width)).eq(map).all().ToBoolean());
        // The second window of the first image, where there is one to the right.
        var second = padded[0].narrow(0, 0, window).narrow(1, padded.size(2) > window ? window : 0, window).reshape(-1, 5);
        Assert.True(windows[padded.size(2) > window ? 1 : 0].eq(second).all().ToBoolean());
        if (height % window != 0)
            Assert.Throws<ArgumentException>(() => Windows.Cut(map, window));
    }

    [Theory]
    [InlineData(PositionBias.None)]
    [InlineData(PositionBias.Absolute)]
    [InlineData(PositionBias.Signed)]
    public void AWindowThatCoversAllIsAttentionOverAll(PositionBias bias)
    {
        using var scope = NewDisposeScope();
        using var windowed = Block(bias, window: 4, shift: 2);
        using var whole = Block(bias, window: null);
        using (no_grad())
            foreach (var (from, to) in windowed.parameters().Zip(whole.parameters()))
            {
                from.add_(randn_like(from), 0.3);
                to.copy_(from);
            }
        var map = new RandomTensors(2).Normal(3, 8, 4, 4);
        Check.Close(whole.call(map, null), windowed.call(map, null), 1e-12);
    }

    [Fact]
    public void WindowsDoNotSeeEachOtherAndAShiftMovesThem()
    {
        using var scope = NewDisposeScope();
        using var plain = Block(PositionBias.Signed, window: 4);
        using var shifted = Block(PositionBias.Signed, window: 4, shift: 2);
        var map = new RandomTensors(2).Normal(1, 8, 8, 8);
        var moved = map.clone();
        moved[0, 0, 0, 0] += 1.0;
        var changedPlain = Changed(plain);
        var changedShifted = Changed(shifted);
        var corner = zeros(8, 8, dtype: ScalarType.Bool);
        corner.narrow(0, 0, 4).narrow(1, 0, 4).fill_(true);
        Assert.True(changedPlain.eq(corner).all().ToBoolean());
        var half = zeros(8, 8, dtype: ScalarType.Bool);
        half.narrow(0, 0, 2).narrow(1, 0, 2).fill_(true); // the roll's seam keeps the corner from what it was brought beside
        Assert.True(changedShifted.eq(half).all().ToBoolean());

        Tensor Changed(WindowAttentionBlock block) => (block.call(map, null) - block.call(moved, null)).abs().amax([0, 1]) > 1e-9;
    }

    [Fact]
    public void PaddingIsSeenWithTheNormsBiasOrWithoutIt()
    {
        using var scope = NewDisposeScope();
        using var before = Block(PositionBias.None, window: 4, padsBeforeNorm: true);
        using var after = Block(PositionBias.None, window: 4, padsBeforeNorm: false);
        var map = new RandomTensors(2).Normal(1, 8, 3, 4);
        Check.Close(before.call(map, null), after.call(map, null), 1e-12); // a norm's bias of 0 pads with 0
        using (no_grad())
            foreach (var block in new[] { before, after })
                block.named_parameters().Single(pair => pair.name == "attentionNorm.bias").parameter.fill_(0.5);
        Assert.True((before.call(map, null) - after.call(map, null)).abs().max().ToDouble() > 1e-6);
        // As if the image had a row of zeros more: TinyViT's published code.
        var longer = cat([map, zeros(1, 8, 1, 4, dtype: ScalarType.Float64)], 2);
        Check.Close(before.call(longer, null).narrow(2, 0, 3), before.call(map, null), 1e-12);
    }

    [Fact]
    public void RecordedMapsHoldBiasAndShift()
    {
        using var scope = NewDisposeScope();
        using var block = Block(PositionBias.Absolute, window: 4, shift: 2);
        var trace = new ForwardTrace(TraceRequest.LastAttention, new TraceCapabilities("block", 1));
        block.call(new RandomTensors(2).Normal(2, 8, 8, 8), trace);
        var map = trace.LastAttention.Probabilities();
        Assert.Equal([8L, 2, 16, 16], map.shape);
        // In the last window only the first place's quarter is its own: rows and columns 0 and 1.
        var seen = map[3, 0, 0].view(4, 4) > 1e-20;
        Assert.Equal(4, seen.sum().ToInt64());
        Assert.True(seen.narrow(0, 0, 2).narrow(1, 0, 2).all().ToBoolean());
    }

    [Fact]
    public void ACustomStageTakesItsPlace()
    {
        using var scope = NewDisposeScope();
        CustomStage? place = null;
        var config = VisionModels.TinyVit with
        {
            Stages =
            [
                VisionModels.TinyVit.Stages[0],
                VisionModels.TinyVit.Stages[1],
                VisionModels.TinyVit.Stages[2] with
                {
                    Block = HierarchicalBlock.Custom,
                },
            ],
        };
        using var model = new HierarchicalVisionTransformer(
            config,
            1,
            stage =>
            {
                place = stage;
                return new WindowAttentionBlock(
                    new WindowBlockOptions
                    {
                        Width = stage.Stage.Width,
                        Heads = 2,
                        Grid = stage.Grid,
                    },
                    stage.Layers,
                    stage.FirstAttention
                );
            }
        );
        Assert.Equal((2, new ImageSize(2, 2), 2), (place!.Number, place.Grid, place.FirstAttention));
        var trace = VisionModels.RunAll(model, new Batch((ImageModel.PixelValues, VisionModels.Images(2, 24, 24))));
        Assert.Equal([2L, 2, 4, 4], trace.Attention(2).Probabilities().shape);
        Assert.Contains(model.named_parameters(), pair => pair.name.StartsWith("stages.2.attention.", StringComparison.Ordinal));
    }

    private static WindowAttentionBlock Block(PositionBias bias, long? window, long shift = 0, bool padsBeforeNorm = false)
    {
        var block = new WindowAttentionBlock(
            new WindowBlockOptions
            {
                Width = 8,
                Heads = 2,
                Window = window,
                Shift = shift,
                Grid = 4,
                Bias = bias,
                PadsBeforeNorm = padsBeforeNorm,
            },
            new SeededLayers(1, 0.5),
            0
        );
        block.to(ScalarType.Float64);
        block.eval();
        return block;
    }
}
