using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public sealed class LatentDiffusionUNetTests
{
    private static SeededLayers ShapesOnly => SeededLayers.BlankOn(META, ScalarType.Float32);

    public static TheoryData<string, LatentDiffusionUNetConfig, long, int> Published =>
        new()
        {
            { "SD 1.5", LatentDiffusionUNetConfig.StableDiffusion15, 859_520_964, 686 },
            { "SD 2.1", LatentDiffusionUNetConfig.StableDiffusion21, 865_910_724, 686 },
            { "SDXL", LatentDiffusionUNetConfig.StableDiffusionXl, 2_567_463_684, 1680 },
        };

    [Theory]
    [MemberData(nameof(Published))]
    public void PresetsHaveThePublishedNumberOfParametersAndTensors(
        string name,
        LatentDiffusionUNetConfig config,
        long parameters,
        int tensors
    )
    {
        using var model = new LatentDiffusionUNet(config, ShapesOnly);
        Assert.True(parameters == model.parameters().Sum(item => item.numel()), name);
        Assert.Equal(tensors, model.HubParameters().Count);
    }

    [Fact]
    public void NamesAreThoseOfDiffusers()
    {
        using var model = new LatentDiffusionUNet(LatentDiffusionUNetConfig.StableDiffusion15, ShapesOnly);
        var names = model.HubParameters();
        foreach (
            var (name, shape) in new (string, long[])[]
            {
                ("conv_in.weight", [320, 4, 3, 3]),
                ("time_embedding.linear_2.weight", [1280, 1280]),
                ("down_blocks.0.resnets.1.time_emb_proj.weight", [320, 1280]),
                ("down_blocks.1.resnets.0.conv_shortcut.weight", [640, 320, 1, 1]),
                ("down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k.weight", [1280, 768]),
                ("down_blocks.0.downsamplers.0.conv.weight", [320, 320, 3, 3]),
                ("mid_block.attentions.0.proj_in.weight", [1280, 1280, 1, 1]),
                ("up_blocks.1.resnets.2.conv1.weight", [1280, 1920, 3, 3]),
                ("up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj.weight", [2560, 320]),
                ("up_blocks.3.attentions.0.transformer_blocks.0.attn1.to_out.0.bias", [320]),
                ("up_blocks.0.upsamplers.0.conv.bias", [1280]),
                ("conv_norm_out.weight", [320]),
                ("conv_out.bias", [4]),
            }
        )
            Assert.Equal(shape, names[name].shape);
        Assert.DoesNotContain(names.Keys, name => name.Contains("attn1.to_q.bias", StringComparison.Ordinal));
        Assert.Equal(32, model.Attentions.Count);
        Assert.Equal(Enumerable.Range(0, 32), model.Attentions.Select(place => place.Layer));
        Assert.Equal("mid_block.attentions.0.transformer_blocks.0.attn2", model.Attentions[13].Name);
        Assert.Equal(8, model.Attentions[13].Reduction);
    }

    [Fact]
    public void TracesHoldMapsOverTheImagesTokens()
    {
        using var scope = NewDisposeScope();
        using var model = new LatentDiffusionUNet(LatentDiffusionUNetConfig.Tiny, 1);
        model.eval();
        var batch = Example(2, 8, 6);
        var trace = DenoiserChecks.Full(model, batch);
        Assert.Equal([2, 4, 8, 6], trace.Output.shape);
        foreach (var place in model.Attentions)
        {
            long tokens = (8 / place.Reduction) * (6 / place.Reduction);
            var state = trace.Attention(place.Layer);
            Assert.Equal(tokens, state.Query.size(2));
            Assert.Equal(place.Attention.IsCross ? 5 : tokens, state.Key.size(2));
        }
        Assert.Equal([2, 16, 4, 3], trace.Feature("down_blocks.0").shape);
        Assert.Equal([2, 32, 4, 3], trace.Feature("mid_block").shape);
        Assert.Equal([2, 16, 8, 6], trace.Feature("up_blocks.1").shape);
        DenoiserChecks.StopsEarly(model, batch, 3, trace);
    }

    [Fact]
    public void OddSizesGoThrough()
    {
        using var scope = NewDisposeScope();
        using var model = new LatentDiffusionUNet(LatentDiffusionUNetConfig.Tiny, 1);
        var batch = Example(1, 7, 5);
        Assert.Equal([1, 4, 7, 5], model.call(batch["sample"], batch["timestep"], UNetConditions.Of(batch), null).shape);
    }

    [Fact]
    public void EveryParameterHasTheRightGradient()
    {
        using var scope = NewDisposeScope();
        using var model = new LatentDiffusionUNet(
            LatentDiffusionUNetConfig.Tiny with
            {
                Classes = 3,
                PooledTextWidth = 6,
                TimeIdCount = 6,
                TimeIdWidth = 4,
                TimeScalesAndShifts = true,
                LinearProjections = true,
            },
            1
        );
        model.to(ScalarType.Float64);
        var random = new RandomTensors(3);
        var (sample, context) = (random.Normal(2, 4, 4, 4), random.Normal(2, 5, 16));
        var conditions = new UNetConditions
        {
            Context = context,
            ContextMask = RandomTensors.Mask(5, 5, 3),
            ClassLabels = tensor(new long[] { 2, 0 }),
            PooledText = random.Normal(2, 6),
            TimeIds = tensor(
                new double[,]
                {
                    { 8, 8, 0, 0, 8, 8 },
                    { 4, 8, 1, 0, 8, 8 },
                }
            ),
        };
        DenoiserChecks.Perturb(model, 4);
        DenoiserChecks.Derivative(
            model,
            () => model.call(sample, tensor(new double[] { 3, 700 }), conditions, null).square().mean()
        );
    }

    [Fact]
    public void PaddingOfThePromptChangesNothing()
    {
        using var scope = NewDisposeScope();
        using var model = new LatentDiffusionUNet(LatentDiffusionUNetConfig.Tiny, 1);
        var batch = Example(2, 8, 8);
        var context = batch["encoder_hidden_states"];
        var conditions = new UNetConditions { Context = context, ContextMask = RandomTensors.Mask(5, 5, 3) };
        var other = context.clone();
        other[1].narrow(0, 3, 2).fill_(50);
        var first = model.call(batch["sample"], batch["timestep"], conditions, null);
        var second = model.call(batch["sample"], batch["timestep"], conditions with { Context = other }, null);
        Check.Close(first, second, 1e-6);
    }

    [Fact]
    public void AttentionCanBeReplacedInjectedAndAdapted()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = new LatentDiffusionUNet(LatentDiffusionUNetConfig.Tiny, 1);
        var batch = Example(2, 8, 8);
        Tensor Run() => model.call(batch["sample"], batch["timestep"], UNetConditions.Of(batch), null);
        var plain = Run();
        var (self, cross) = (model.Attentions[0].Attention, model.Attentions[1].Attention);

        self.ContextSource = hidden => hidden;
        Check.Close(plain, Run(), 1e-6, "injection of itself");
        self.ContextSource = hidden => hidden * 0.5;
        Assert.False(plain.allclose(Run()));
        self.ContextSource = null;

        cross.Processor = new Subtracting(zeros(2, 5, 16), 0.0);
        Check.Close(plain, Run(), 1e-6, "nothing subtracted");
        cross.Processor = new Subtracting(batch["encoder_hidden_states"], 0.5);
        Assert.False(plain.allclose(Run()));
        cross.Processor = null;

        using var adapter = nn.Linear(16, 16, hasBias: false);
        adapter.weight!.zero_();
        cross.Adapt(AttentionProjection.Key, adapter);
        Check.Close(plain, Run(), 1e-6, "an adapter of zeros");
        adapter.weight!.fill_(0.1);
        Assert.False(plain.allclose(Run()));
        cross.Adapt(AttentionProjection.Key, null);
        Check.Close(plain, Run(), 1e-6, "restored");
    }

    [Fact]
    public void AddedFeaturesEnterWhereAdaptersPutThem()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = new LatentDiffusionUNet(LatentDiffusionUNetConfig.Tiny, 1);
        var batch = Example(1, 8, 8);
        var conditions = UNetConditions.Of(batch);
        Tensor Run(UNetConditions given) => model.call(batch["sample"], batch["timestep"], given, null);
        var plain = Run(conditions);
        Tensor[] skips = [zeros(1, 16, 8, 8), zeros(1, 16, 8, 8), zeros(1, 16, 4, 4), zeros(1, 32, 4, 4)];
        Check.Close(plain, Run(conditions with { SkipResiduals = skips, MiddleResidual = zeros(1, 32, 4, 4) }), 1e-6);
        Assert.False(plain.allclose(Run(conditions with { MiddleResidual = ones(1, 32, 4, 4) })));
        Tensor[] stages = [zeros(1, 16, 8, 8), ones(1, 32, 4, 4)];
        Assert.False(plain.allclose(Run(conditions with { StageFeatures = stages })));
        Assert.Contains(
            "2 tensors",
            Assert.Throws<ArgumentException>(() => Run(conditions with { StageFeatures = skips })).Message
        );
    }

    [Fact]
    public void WrongInputIsRefused()
    {
        using var scope = NewDisposeScope();
        using var model = new LatentDiffusionUNet(LatentDiffusionUNetConfig.Tiny, 1);
        var batch = Example(1, 8, 8);
        string Refusal(UNetConditions conditions) =>
            Assert.Throws<ArgumentException>(() => model.call(batch["sample"], batch["timestep"], conditions, null)).Message;
        Assert.Contains("Context", Refusal(UNetConditions.None));
        Assert.Contains("16", Refusal(new() { Context = zeros(1, 5, 15) }));
        Assert.Contains(
            "leave it null",
            Refusal(UNetConditions.Of(batch) with { ClassLabels = zeros(1, dtype: ScalarType.Int64) })
        );
        Assert.Contains(
            "Heads",
            Assert.Throws<ArgumentException>(() => new LatentDiffusionUNet(new() { Levels = [new(320, 1, 7)] }, 1)).Message,
            StringComparison.OrdinalIgnoreCase
        );
    }

    private static Batch Example(long count, long height, long width)
    {
        var random = new RandomTensors(9);
        return new(
            ("sample", random.Normal(count, 4, height, width).to(ScalarType.Float32)),
            ("timestep", full(count, 500, dtype: ScalarType.Int64)),
            ("encoder_hidden_states", random.Normal(count, 5, 16).to(ScalarType.Float32))
        );
    }

    /// <summary>The attention to a second prompt is subtracted, as negative prompts do without guidance.</summary>
    private sealed class Subtracting(Tensor negative, double share) : IAttentionProcessor
    {
        public Tensor Attend(ConditionedAttention attention, Tensor hidden, Tensor context, Tensor? mask, ForwardTrace? trace)
        {
            var query = attention.ProjectQuery(hidden);
            Tensor Attend(Tensor prompt) =>
                AttentionMixing.Mix(new(query, attention.ProjectKey(prompt), attention.ProjectValue(prompt), mask));
            return attention.Merge(Attend(context) - Attend(negative) * share);
        }
    }
}
