using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Models;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public class MaskedVisionTransformerTests
{
    private static readonly MaskedVisionConfig Tiny = new()
    {
        ImageSize = 8,
        Patch = 2,
        Width = 8,
        Heads = 2,
        Layers = 3,
        InitializerRange = 0.2,
    };

    private static Tensor Places(params long[] places) => tensor(places).unsqueeze(0);

    [Fact]
    public void FixedPositionsAreSinesAndCosinesThatNothingLearns()
    {
        using var scope = NewDisposeScope();
        using var model = new MaskedVisionTransformer(Tiny, 1);
        using var decoder = new MaskedDecoder(Tiny, 4, 1, 12, 2);
        Tensor Table(nn.Module module) =>
            module.named_parameters().Single(pair => pair.name.EndsWith("positions.table")).parameter;
        // Row 1, column 0 of a grid of 4 x 4: the column's half is that of 0, the row's that of 1 with frequencies 1 and 1/100.
        var place = Table(model)[0, 1 + 4];
        Check.Close(tensor(new[] { 0, 0, 1, 1, Math.Sin(1), Math.Sin(0.01), Math.Cos(1), Math.Cos(0.01) }), place, 1e-6);
        Assert.True(Table(model)[0, 0].eq(0).all().ToBoolean());
        foreach (var module in new nn.Module[] { model, decoder })
            Assert.False(Table(module).requires_grad);
        using var learned = new MaskedVisionTransformer(Tiny with { FixedPositions = false }, 1);
        Assert.True(Table(learned).requires_grad);
        string message = Assert.Throws<ArgumentException>(() => (Tiny with { Width = 6 }).Validate()).Message;
        Assert.Contains("divisible by 4", message);
        (Tiny with { Width = 6, FixedPositions = false }).Validate();
    }

    [Fact]
    public void WithoutMaskingBothPassesAgree()
    {
        using var scope = NewDisposeScope();
        var model = new MaskedVisionTransformer(Tiny, 1);
        var images = rand(2, 3, 8, 8);
        var all = arange(16).expand(2, 16);
        var masks = new Dictionary<int, Tensor> { [0] = all, [2] = all };
        var (plain, traced) = (
            new ForwardTrace(TraceRequest.AllAttention + TraceRequest.AllHidden, model.Capabilities),
            new ForwardTrace(TraceRequest.AllAttention + TraceRequest.AllHidden, model.Capabilities)
        );
        Check.Close(model.call(images, plain), model.Encode(images, masks, traced), 1e-6);
        Check.Close(plain.Hidden(3), traced.Hidden(3), 1e-6);
        Check.Close(plain.Attention(1).Probabilities(), traced.Attention(1).Probabilities(), 1e-6);
    }

    [Fact]
    public void TokensThatLeftLeaveNoTraceAndTheOthersKeepTheirPlace()
    {
        using var scope = NewDisposeScope();
        var model = new MaskedVisionTransformer(Tiny, 1);
        var images = rand(1, 3, 8, 8);
        var changed = images.clone();
        changed[.., .., ..2, ..2] += 5.0; // patch 0
        var early = new Dictionary<int, Tensor> { [0] = Places(1, 2, 5, 9) };
        Check.Close(model.Encode(images, early), model.Encode(changed, early), 1e-6);
        var late = new Dictionary<int, Tensor> { [2] = Places(1, 2, 5, 9) };
        Assert.False(model.Encode(images, late).allclose(model.Encode(changed, late)));
        // In two steps as in one.
        var steps = new Dictionary<int, Tensor> { [0] = Places(1, 2, 5, 9), [1] = Places(2, 9) };
        var trace = new ForwardTrace(TraceRequest.AllAttention + TraceRequest.AllHidden, model.Capabilities);
        Assert.Equal([1, 3, 8], model.Encode(images, steps, trace).shape);
        Assert.Equal([1, 2, 3, 3], trace.Attention(1).Probabilities().shape);
        Assert.Equal([1, 5, 8], trace.Hidden(1).shape);
        var once = new Dictionary<int, Tensor> { [0] = Places(2, 9), [1] = Places(2, 9) };
        Check.Close(model.Encode(images, new Dictionary<int, Tensor> { [0] = Places(2, 9) }), model.Encode(images, once), 1e-6);
        Assert.Throws<ArgumentException>(() => model.Encode(images, new Dictionary<int, Tensor> { [3] = Places(1) }));
    }

    [Fact]
    public void PatchesAndTheirLoss()
    {
        using var scope = NewDisposeScope();
        var images = arange(2 * 3 * 8 * 8).to(ScalarType.Float32).reshape(2, 3, 8, 8);
        var patches = MaskedImages.Patches(images, 2);
        Assert.Equal([2, 16, 12], patches.shape);
        // Patch 5 is the second of the second row: its first pixel is (2, 2).
        Check.Close(images[1, .., 2, 2], patches[1, 5, ..3], 0);
        var visible = MaskedImages.RandomVisible(2, 16, 4, Seeds.Generator(1, "mask"));
        Check.Close(visible, visible.sort(1).Values, 0);
        var perfect = nn.functional.layer_norm(patches, [12], null, null, 1e-6);
        Assert.Equal(0, MaskedImages.ReconstructionLoss(perfect, images, 2, visible).item<float>(), 1e-6f);
        // What was seen does not count.
        var wrong = perfect.clone();
        wrong[0, (int)visible[0, 1].item<long>()] += 3.0;
        Assert.Equal(0, MaskedImages.ReconstructionLoss(wrong, images, 2, visible).item<float>(), 1e-6f);
        Assert.Equal(1, MaskedImages.ReconstructionLoss(perfect + 1, images, 2, visible).item<float>(), 1e-5f);
        Assert.Throws<ArgumentException>(() => MaskedImages.Patches(images, 3));
    }

    [Fact]
    public void ADecoderSeesNothingOfHiddenPatchesAndTrainsEveryWeight()
    {
        using var scope = NewDisposeScope();
        var learned = Tiny with { FixedPositions = false };
        var model = new MaskedVisionTransformer(learned, 1);
        var decoder = new MaskedDecoder(learned, 8, 2, 12, 2);
        var images = rand(2, 3, 8, 8);
        var visible = MaskedImages.RandomVisible(2, 16, 4, Seeds.Generator(1, "mask"));
        var predicted = decoder.call(model.Encode(images, new Dictionary<int, Tensor> { [0] = visible }), visible);
        Assert.Equal([2, 16, 12], predicted.shape);
        MaskedImages.ReconstructionLoss(predicted, images, 2, visible).backward();
        foreach (var (name, parameter) in model.named_parameters().Concat(decoder.named_parameters()))
            Assert.True(parameter.grad is not null, $"no gradient reached {name}");
    }
}
