using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Models;

public sealed class DiffusionTransformerTests
{
    private static readonly DiffusionTransformerConfig Small = new()
    {
        SampleSize = 8,
        InputChannels = 2,
        OutputChannels = 4,
        HiddenSize = 32,
        Layers = 2,
        Heads = 4,
        Classes = 3,
    };

    private static SeededLayers ShapesOnly => SeededLayers.BlankOn(META, ScalarType.Float32);

    /// <summary>Counts of the authors' code, whose fixed positions (256 x C) are a parameter too and are counted apart here (33, 130, 458, 675 million).</summary>
    public static TheoryData<string, DiffusionTransformerConfig, long> Published =>
        new()
        {
            { "S/2", DiffusionTransformerConfig.Small2, 32_963_360 },
            { "B/2", DiffusionTransformerConfig.Base2, 130_512_416 },
            { "L/2", DiffusionTransformerConfig.Large2, 458_102_816 },
            { "XL/2", DiffusionTransformerConfig.ExtraLarge2, 675_129_632 },
        };

    [Theory]
    [MemberData(nameof(Published))]
    public void PresetsHaveThePublishedNumberOfParameters(string name, DiffusionTransformerConfig config, long count)
    {
        using var model = new DiffusionTransformer(config, ShapesOnly);
        Assert.True(count == model.parameters().Sum(item => item.numel()) + config.Tokens * config.HiddenSize, name);
        long c = config.HiddenSize;
        // Attention 4 c^2 + 4 c, feed-forward 8 c^2 + 5 c, modulation 6 c^2 + 6 c a block; time, classes, patches, output.
        long formula =
            config.Layers * (18 * c * c + 15 * c)
            + (256 * c + c + c * c + c)
            + 1001 * c
            + (16 * c + c)
            + (2 * c * c + 2 * c)
            + (32 * c + 32);
        Assert.Equal(formula + config.Tokens * c, count);
    }

    [Fact]
    public void StableDiffusion3MediumHasThePublishedNumberOfParameters()
    {
        using var model = new JointDiffusionTransformer(JointDiffusionTransformerConfig.StableDiffusion3Medium, ShapesOnly);
        Assert.Equal(2_028_328_000, model.parameters().Sum(item => item.numel()));
        var names = model.HubParameters();
        Assert.Equal([1, 36864, 1536], names["pos_embed.pos_embed"].shape);
        Assert.Equal([9216, 1536], names["transformer_blocks.0.norm1_context.linear.weight"].shape);
        Assert.Equal([3072, 1536], names["transformer_blocks.23.norm1_context.linear.weight"].shape);
        Assert.Equal([1536, 1536], names["transformer_blocks.3.attn.to_add_out.weight"].shape);
        Assert.Equal([6144, 1536], names["transformer_blocks.3.ff_context.net.0.proj.weight"].shape);
        Assert.Equal([1536, 2048], names["time_text_embed.text_embedder.linear_1.weight"].shape);
        Assert.False(names.ContainsKey("transformer_blocks.23.attn.to_add_out.weight"));
    }

    [Fact]
    public void NamesAreThoseOfDiffusers()
    {
        using var model = new DiffusionTransformer(
            DiffusionTransformerConfig.ExtraLarge2 with
            {
                Time = new SinusoidalTime(256, DownscaleShift: 1),
            },
            ShapesOnly
        );
        var names = model.HubParameters();
        foreach (
            var (name, shape) in new (string, long[])[]
            {
                ("pos_embed.proj.weight", [1152, 4, 2, 2]),
                ("transformer_blocks.0.norm1.emb.timestep_embedder.linear_1.weight", [1152, 256]),
                ("transformer_blocks.27.norm1.emb.class_embedder.embedding_table.weight", [1001, 1152]),
                ("transformer_blocks.5.norm1.linear.weight", [6912, 1152]),
                ("transformer_blocks.5.attn1.to_out.0.weight", [1152, 1152]),
                ("transformer_blocks.5.attn1.to_q.bias", [1152]),
                ("transformer_blocks.5.ff.net.0.proj.weight", [4608, 1152]),
                ("transformer_blocks.5.ff.net.2.bias", [1152]),
                ("proj_out_1.weight", [2304, 1152]),
                ("proj_out_2.weight", [32, 1152]),
            }
        )
            Assert.Equal(shape, names[name].shape);
        Assert.Equal(27 * 5, model.TiedNames.Count);
        Assert.Contains(
            "time embedding",
            Assert
                .Throws<NotSupportedException>(() =>
                    new DiffusionTransformer(DiffusionTransformerConfig.ExtraLarge2, ShapesOnly).HubParameters()
                )
                .Message
        );
    }

    [Fact]
    public void AFreshModelPredictsZeroAndEachBlockIsTheIdentity()
    {
        using var scope = NewDisposeScope();
        using var model = new DiffusionTransformer(Small, 1);
        var batch = Example(Small, 2);
        var trace = DenoiserChecks.Full(model, batch);
        Assert.Equal([2, 4, 8, 8], trace.Output.shape);
        Assert.Equal(0.0, trace.Output.abs().max().ToDouble());
        Check.Close(trace.Hidden(0), trace.Hidden(2), 1e-6, "identity");
    }

    public static TheoryData<string, DiffusionTransformerConfig> Kinds =>
        new()
        {
            { "classes", Small },
            {
                "prompt",
                DiffusionTransformerConfig.Tiny with
                {
                    SampleSize = 8,
                    HiddenSize = 16,
                    Layers = 2,
                    ContextWidth = 12,
                    InputChannels = 2,
                }
            },
            { "rotary video", Small with { Frames = 3, Positions = TokenPositions.Rotary, Classes = 0, ContextWidth = 12 } },
            { "fixed video", Small with { Frames = 2 } },
            { "learned video", Small with { Frames = 2, Positions = TokenPositions.Learned } },
        };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void EveryKindRunsAndItsGradientsAreRight(string name, DiffusionTransformerConfig config)
    {
        using var scope = NewDisposeScope();
        using var model = new DiffusionTransformer(config, 1);
        DenoiserChecks.Perturb(model, 2);
        var batch = Example(config, 2);
        var trace = DenoiserChecks.Full(model, batch);
        Assert.Equal(batch["sample"].dim(), trace.Output.dim());
        Assert.Equal(config.OutputChannels, trace.Output.size(1));
        Assert.Equal(config.Tokens, trace.Attention(0).Query.size(2));
        DenoiserChecks.StopsEarly(model, batch, 1, trace);
        model.to(ScalarType.Float64);
        var wide = Example(config, 3, ScalarType.Float64);
        DenoiserChecks.Derivative(
            model,
            () => model.call(wide["sample"], wide["timestep"], TransformerConditions.Of(wide), null).square().mean()
        );
        Assert.NotEmpty(name);
    }

    [Fact]
    public void APatchIsPutBackWhereItWasTaken()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        // With blocks as the identity, no positions' influence (weights zero) and an output that copies the token, the model is the identity.
        var config = Small with
        {
            OutputChannels = 2,
            Classes = 0,
            ModulatesOutput = true,
            Positions = TokenPositions.Learned,
            PositionDeviation = 0,
        };
        using var model = new DiffusionTransformer(config, 1);
        var parameters = model.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter);
        // Token channel (y 2 + x) 2 + c takes pixel (y, x) of channel c, which is the order the output is unfolded in.
        parameters["patches.weight"].zero_();
        parameters["patches.bias"].zero_();
        parameters["output.weight"].zero_();
        for (int y = 0; y < 2; y++)
        for (int x = 0; x < 2; x++)
        for (int c = 0; c < 2; c++)
        {
            int place = (y * 2 + x) * 2 + c;
            parameters["patches.weight"][place, c, y, x] = tensor(1f);
            parameters["output.weight"][place, place] = tensor(1f);
        }
        // Constant tokens survive the norm up to scale: use +1 and -1 pixels with zero mean in every patch.
        var sample = Example(config, 2)["sample"].sign();
        var output = model.call(sample, zeros(1), TransformerConditions.None, null);
        var trace = new ForwardTrace(TraceRequest.Hidden(0), model.Capabilities);
        model.call(sample, zeros(1), TransformerConditions.None, trace);
        var normed = nn.functional.layer_norm(trace.Hidden(0), [32], eps: 1e-6);
        var first = normed[0, 5].narrow(0, 0, 8).view(2, 2, 2).permute(2, 0, 1);
        // Token 5 of a 4 x 4 grid: row 1, column 1.
        Check.Close(first, output[0].narrow(1, 2, 2).narrow(2, 2, 2), 1e-5);
    }

    [Fact]
    public void OtherSizesSpanTheSamePositions()
    {
        using var scope = NewDisposeScope();
        var usual = SineCosinePositions.Image(4, 4, 16);
        var twice = SineCosinePositions.Image(8, 8, 16, 4, 4);
        Check.Close(usual[5], twice[18], 1e-12); // row 1, column 1 of 4 lies at row 2, column 2 of 8
        // Column first: the second token differs from the first in the first half alone.
        Check.Close(usual[0].narrow(0, 8, 8), usual[1].narrow(0, 8, 8), 1e-12);
        Assert.False(usual[0].narrow(0, 0, 8).allclose(usual[1].narrow(0, 0, 8)));
        Assert.Equal(Math.Sin(1), usual[1][0].item<double>(), 12);
        using var model = new DiffusionTransformer(Small, 1);
        Assert.Equal([1, 4, 8, 12], model.call(zeros(1, 2, 8, 12), zeros(1), Label(1), null).shape);
    }

    [Fact]
    public void RotaryScoresDependOnDifferencesOfPlacesAlone()
    {
        using var scope = NewDisposeScope();
        var rotary = new AxialRotary(4, 3, 3, 12);
        var random = new RandomTensors(5);
        var (query, key) = (random.Normal(1, 1, 1, 12), random.Normal(1, 1, 1, 12));
        var queries = rotary.Rotate(query.expand(1, 1, 36, 12));
        var keys = rotary.Rotate(key.expand(1, 1, 36, 12));
        Tensor Score(int q, int k) => (queries[0, 0, q] * keys[0, 0, k]).sum();
        // Token = frame 9 + row 3 + column.
        Check.Close(Score(9 + 3 + 1, 0), Score(27 + 6 + 2, 18 + 3 + 1), 1e-9, "shifted by one on every axis twice");
        Check.Close(Score(0, 1), Score(3, 4), 1e-9);
        Assert.NotEqual(Score(0, 1).item<double>(), Score(0, 3).item<double>(), 6);
        // A stream: frames from 2 on, rotated by themselves.
        Check.Close(rotary.Rotate(query.expand(1, 1, 9, 12), firstFrame: 2), queries.narrow(2, 18, 9), 1e-12);
    }

    [Fact]
    public void AnImageModelIsInflatedToAVideoModel()
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var image = new DiffusionTransformer(Small with { Positions = TokenPositions.Learned }, 1);
        DenoiserChecks.Perturb(image, 3);
        using var video = image.Inflate(2, 7);
        var frames = video.named_parameters().Single(pair => pair.name == "frameTable").parameter;
        Assert.InRange(frames.std().ToDouble(), 0.4, 0.6);
        frames.zero_();
        // The same image in both frames: attention over both is attention over one, so each frame gets the image model's output.
        var batch = Example(image.Config, 2);
        var expected = image.call(batch["sample"], batch["timestep"], TransformerConditions.Of(batch), null);
        var clip = stack([batch["sample"], batch["sample"]], 2);
        var output = video.call(clip, batch["timestep"], TransformerConditions.Of(batch), null);
        Check.Close(expected, output.select(2, 0), 1e-5);
        Check.Close(expected, output.select(2, 1), 1e-5);
    }

    [Fact]
    public void DroppedLabelsAreTheNullClassAndFollowTheSeed()
    {
        using var scope = NewDisposeScope();
        using var model = new DiffusionTransformer(Small, 1);
        var labels = zeros(2000, dtype: ScalarType.Int64);
        var dropped = model.DropLabels(labels, 0.1, new Generator(5, CPU));
        Assert.InRange(dropped.eq(3).sum().ToInt64(), 150, 250);
        Assert.True(dropped.eq(model.DropLabels(labels, 0.1, new Generator(5, CPU))).all().ToBoolean());
        Assert.True(dropped.eq(3).logical_or(dropped.eq(0)).all().ToBoolean());
    }

    [Fact]
    public void JointAttentionReadsBothStreamsAndItsGradientsAreRight()
    {
        using var scope = NewDisposeScope();
        using var model = new JointDiffusionTransformer(JointDiffusionTransformerConfig.Tiny, 1);
        DenoiserChecks.Perturb(model, 2);
        var random = new RandomTensors(4);
        var batch = new Batch(
            ("sample", random.Normal(2, 4, 8, 8).to(ScalarType.Float32)),
            ("timestep", full(2, 300.0)),
            ("encoder_hidden_states", random.Normal(2, 5, 16).to(ScalarType.Float32)),
            ("pooled_projections", random.Normal(2, 24).to(ScalarType.Float32)),
            ("encoder_attention_mask", RandomTensors.Mask(5, 5, 3))
        );
        var trace = DenoiserChecks.Full(model, batch);
        Assert.Equal([2, 4, 8, 8], trace.Output.shape);
        Assert.Equal([2, 4, 21, 21], trace.Attention(0).Probabilities().shape);
        Assert.Equal(0.0, trace.Attention(0).Probabilities()[1].narrow(-1, 19, 2).abs().max().ToDouble());
        DenoiserChecks.StopsEarly(model, batch, 0, trace);
        var other = batch["encoder_hidden_states"].clone();
        other[1].narrow(0, 3, 2).fill_(9);
        var conditions = new JointConditions(other, batch["pooled_projections"], batch["encoder_attention_mask"]);
        Check.Close(trace.Output, model.call(batch["sample"], batch["timestep"], conditions, null), 1e-5, "padding");

        model.Blocks.First().Mixing = (state, _) => AttentionMixing.Mix(state);
        Check.Close(trace.Output, model.call(batch["sample"], batch["timestep"], conditions, null), 1e-5, "replaced by itself");
        model.to(ScalarType.Float64);
        DenoiserChecks.Derivative(
            model,
            () =>
                model
                    .call(
                        batch["sample"].to(ScalarType.Float64),
                        tensor(new[] { 100.0, 800.0 }),
                        new(other.to(ScalarType.Float64), batch["pooled_projections"].to(ScalarType.Float64), null),
                        null
                    )
                    .square()
                    .mean(),
            "blocks.1.textQuery" // the last block's text gives keys and values alone
        );
    }

    [Fact]
    public void TheTimeEmbeddingFollowsItsOptions()
    {
        using var scope = NewDisposeScope();
        var times = tensor(new[] { 0.0, 3.0 });
        var flipped = new SinusoidalTime(4).Of(times, ScalarType.Float64);
        Check.Close(tensor(new[] { Math.Cos(3), Math.Cos(0.03), Math.Sin(3), Math.Sin(0.03) }), flipped[1], 1e-12);
        var ddpm = new SinusoidalTime(4, FlipSineToCosine: false, DownscaleShift: 1).Of(times, ScalarType.Float64);
        Check.Close(tensor(new[] { Math.Sin(3), Math.Sin(3e-4), Math.Cos(3), Math.Cos(3e-4) }), ddpm[1], 1e-12);
        var unit = DiffusionTransformerConfig.Tiny.Time.Of(tensor(new[] { 0.5 }), ScalarType.Float64);
        Check.Close(tensor(Math.Sin(100)), unit[0, 0], 1e-12, "the fastest of 1 to 200");
        Check.Close(tensor(Math.Sin(0.5)), unit[0, 31], 1e-12, "the slowest of 1 to 200");
    }

    private static TransformerConditions Label(long count) => new() { ClassLabels = zeros(count, dtype: ScalarType.Int64) };

    private static Batch Example(DiffusionTransformerConfig config, long count, ScalarType type = ScalarType.Float32)
    {
        var random = new RandomTensors(9);
        long[] shape =
            config.Frames > 1
                ? [count, config.InputChannels, config.Frames, config.SampleSize, config.SampleSize]
                : [count, config.InputChannels, config.SampleSize, config.SampleSize];
        var batch = new Batch(
            ("sample", random.Normal(shape).to(type)),
            ("timestep", arange(1, count + 1, dtype: ScalarType.Float64).to(type) * 0.2)
        );
        if (config.Classes > 0)
            batch["class_labels"] = arange(count, dtype: ScalarType.Int64) % (config.Classes + 1);
        if (config.ContextWidth is { } width)
        {
            batch["encoder_hidden_states"] = random.Normal(count, 4, width).to(type);
            batch["encoder_attention_mask"] = RandomTensors.Mask(4, [.. Enumerable.Range(0, (int)count).Select(n => 4L - n % 2)]);
        }
        return batch;
    }
}
