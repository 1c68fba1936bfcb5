using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class M2mKdHybridsTests
{
    private static readonly ModularVitConfig Plain = new()
    {
        ImageSize = 8,
        PatchSize = 4,
        HiddenSize = 8,
        Heads = 2,
        IntermediateSize = 16,
        Layers = 3,
        InitializerRange = 0.2,
        Labels = ["a", "b", "c"],
    };

    private static ModularVit Meta() => new(Plain, 1);

    private static ModularVit Teacher() => new(Plain with { Layers = 6, ModuleLayers = [2, 2, 2] }, 2);

    private static ModularVitConfig Small { get; } =
        Plain with
        {
            HiddenSize = 4,
            IntermediateSize = 8,
            Experts = 3,
            StitchWidth = 8,
        };

    private static IModularStudent Student(bool circuit) =>
        circuit
            ? new NeuralAttentiveCircuit(
                new CircuitConfig
                {
                    ImageSize = 8,
                    PatchSize = 4,
                    Width = 4,
                    Heads = 2,
                    CodeWidth = 5,
                    Latents = 6,
                    OutputLatents = 2,
                    Propagators = 1,
                    Classes = 3,
                    StitchWidth = 8,
                    InitializerRange = 0.2,
                },
                3
            )
            : new ModularVit(Small, 3);

    private static (Tensor Images, Tensor Targets) Data()
    {
        manual_seed(4);
        return (randn(5, 3, 8, 8), SoftLabels.Smoothed(tensor(new long[] { 0, 1, 2, 0, 1 }), 3, 0.1));
    }

    [Theory]
    [InlineData(false, 0)]
    [InlineData(false, 1)]
    [InlineData(false, 2)]
    [InlineData(true, 0)]
    [InlineData(true, 1)]
    [InlineData(true, 2)]
    public void GradientsReachTheStudentsModuleAlone(bool circuit, int index)
    {
        using var scope = NewDisposeScope();
        var (images, targets) = Data();
        var (meta, teacher, student) = (Meta(), Teacher(), Student(circuit));
        var hybrids = new M2mKdHybrids(meta);
        M2mKdHybrids.Freeze(teacher);
        var before = meta.parameters().Concat(teacher.parameters()).Select(parameter => parameter.clone()).ToArray();
        Assert.False(meta.training);
        var module = student.ModuleAt(index);
        module.train();
        hybrids.Distil(images, targets, teacher, student, index).Total.backward();
        Assert.All(module.parameters(), parameter => Assert.NotNull(parameter.grad));
        var mine = module.parameters().Select(parameter => parameter.Handle).ToHashSet();
        // A circuit's read-out reads with latents that belong to the circuit as a whole, which a module's training leaves alone.
        Assert.All(
            ((nn.Module)student).named_parameters(),
            pair =>
                Assert.True(
                    mine.Contains(pair.parameter.Handle)
                        || pair.parameter.grad is null
                        || pair.name.StartsWith("output", StringComparison.Ordinal),
                    pair.name
                )
        );
        Assert.All(meta.parameters().Concat(teacher.parameters()), parameter => Assert.Null(parameter.grad));

        using var trainer = new Trainer(
            module,
            _ => hybrids.Distil(images, targets, teacher, student, index),
            new TrainingOptions
            {
                Steps = 3,
                LearningRate = 0.01,
                Seed = 1,
            }
        );
        trainer.Run(new OneBatch());
        var after = meta.parameters().Concat(teacher.parameters()).ToArray();
        for (int i = 0; i < after.Length; i++)
            Assert.True(before[i].eq(after[i]).all().item<bool>());
        Assert.False(meta.training);
    }

    [Fact]
    public void IncubationTrainsTheTeachersModuleAlone()
    {
        using var scope = NewDisposeScope();
        var (images, targets) = Data();
        var teacher = Teacher();
        var hybrids = new M2mKdHybrids(Meta());
        for (int index = 0; index < 3; index++)
        {
            ((nn.Module)teacher).zero_grad();
            hybrids.Incubate(images, targets, teacher, index).Total.backward();
            for (int other = 0; other < 3; other++)
                foreach (var (name, parameter) in teacher.ModuleAt(other).named_parameters())
                    // The hybrid ends in the meta model's head, so the teacher's own is not reached.
                    Assert.Equal(
                        other == index
                            && !name.StartsWith("norm", StringComparison.Ordinal)
                            && !name.StartsWith("classifier", StringComparison.Ordinal),
                        parameter.grad is { } gradient && gradient.abs().sum().item<float>() > 0
                    );
        }
    }

    [Fact]
    public void AHybridOfTheMetaModelsOwnModulesIsTheMetaModel()
    {
        using var scope = NewDisposeScope();
        var (images, _) = Data();
        var (meta, twin) = (Meta(), Meta());
        var hybrids = new M2mKdHybrids(meta);
        var whole = meta.call(images, null);
        for (int index = 0; index < 3; index++)
        {
            var entering = hybrids.Entering(images, index);
            Assert.False(entering.requires_grad);
            Check.Close(whole, hybrids.TeacherLogits(entering, twin, index), 1e-5);
            // A plain model of the same width is a student without stitches.
            Check.Close(whole, hybrids.StudentLogits(entering, twin, index), 1e-5);
        }
    }

    [Fact]
    public void AnAssembledStudentIsItsModulesInSequence()
    {
        using var scope = NewDisposeScope();
        var (images, _) = Data();
        var student = new ModularVit(Small, 5);
        var assembled = student.Assemble();
        Assert.Null(assembled.StitchWidth);
        Check.Close(student.Head(student.Body(2, student.Body(1, student.Body(0, images)))), assembled.call(images, null), 1e-5);
        var kept = student.Assemble(keepsStitches: true);
        var throughStitches = student.InHybrid(2, student.InHybrid(1, student.InHybrid(0, images)));
        Check.Close(throughStitches, kept.call(images, null), 1e-5);
        Assert.False(throughStitches.allclose(assembled.call(images, null)));
        Assert.True(kept.parameters().Count() > assembled.parameters().Count());
        Assert.Throws<ArgumentException>(() => assembled.Assemble(keepsStitches: true));

        var circuit = (NeuralAttentiveCircuit)Student(true);
        Check.Close(circuit.call(images, null), circuit.Assemble().call(images, null), 1e-5);
        Assert.Null(circuit.Assemble().StitchWidth);

        var (teacher, meta) = (Teacher(), Meta());
        teacher.CopyHead(meta);
        var hidden = randn(2, 5, 8);
        Check.Close(meta.Head(hidden), teacher.Head(hidden), 1e-6);
        Assert.Throws<ArgumentException>(() => student.CopyHead(meta));
    }

    [Fact]
    public void WrongSplitsSayHowToMendThem()
    {
        using var scope = NewDisposeScope();
        var (images, targets) = Data();
        var error = Assert.Throws<ArgumentException>(() => new ModularVit(Plain with { ModuleLayers = [2, 2] }, 1));
        Assert.Contains("[2, 2]", error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new ModularVit(Plain with { ModuleLayers = [3, 0] }, 1));
        Assert.Throws<ArgumentException>(() => new ModularVit(Plain with { ModuleLayers = [] }, 1));
        Assert.Throws<ArgumentException>(() => new ModularVit(Plain with { Experts = 1 }, 1));
        Assert.Throws<ArgumentException>(() => new ModularVit(Plain with { KeepsStitches = true }, 1));
        Assert.Throws<ArgumentException>(() => new ModularVit(Plain with { Experts = 4, HiddenActivation = "relu" }, 1));
        Assert.Throws<ArgumentException>(() => new NeuralAttentiveCircuit(new CircuitConfig { Heads = 5 }, 1));
        Assert.Throws<ArgumentException>(() => new NeuralAttentiveCircuit(new CircuitConfig { Propagators = 0 }, 1));
        Assert.Throws<ArgumentException>(() => new M2mKdHybrids(new ModularVit(Small, 1)));

        var hybrids = new M2mKdHybrids(Meta());
        var two = new ModularVit(Plain with { Layers = 6, ModuleLayers = [3, 3] }, 1);
        error = Assert.Throws<ArgumentException>(() => hybrids.Incubate(images, targets, two, 0));
        Assert.Contains("M2mKd.Split", error.Message, StringComparison.Ordinal);
        error = Assert.Throws<ArgumentException>(() =>
            hybrids.Distil(images, targets, Teacher(), new ModularVit(Small with { StitchWidth = 6 }, 1), 0)
        );
        Assert.Contains("StitchWidth", error.Message, StringComparison.Ordinal);
        var wide = new ModularVit(Plain with { HiddenSize = 16, Layers = 6, ModuleLayers = [2, 2, 2] }, 1);
        Assert.Throws<ArgumentException>(() => hybrids.Incubate(images, targets, wide, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => hybrids.Entering(images, 3));
        Assert.Throws<ArgumentOutOfRangeException>(() => two.Body(2, images));
        Assert.Throws<InvalidOperationException>(() => two.Modules[0].Head(randn(1, 5, 8)));
    }

    [Fact]
    public void AStudentTracesAttentionAndWhereTokensWent()
    {
        using var scope = NewDisposeScope();
        var (images, _) = Data();
        var model = new ModularVit(Small, 6).Assemble();
        model.eval();
        string choices = PreNormLayer.ExpertChoices(2);
        var trace = new ForwardTrace(
            TraceRequest.AllAttention + TraceRequest.AllHidden + TraceRequest.Features(choices),
            model.Capabilities
        );
        var output = model.call(images, trace);
        Check.Close(model.call(images, null), output, 1e-6);
        Assert.Equal([5, 2, 5, 5], trace.Attention(2).Probabilities().shape);
        Check.Close(model.Head(trace.Hidden(3)), output, 1e-6);
        var chosen = trace.Feature(choices);
        Assert.Equal([5, 5, 2], chosen.shape);
        Assert.True(chosen.ge(0).all().item<bool>() && chosen.lt(3).all().item<bool>());
        Assert.True(chosen[.., .., 0].ne(chosen[.., .., 1]).all().item<bool>());
        // A request that needs early layers only ends there.
        var early = new ForwardTrace(TraceRequest.Hidden(1), model.Capabilities, wantsOutput: false);
        Assert.Equal([0], model.call(images, early).shape);
        Check.Close(trace.Hidden(1), early.Hidden(1), 1e-6);
        var first = new ForwardTrace(TraceRequest.Attention(0), model.Capabilities, wantsOutput: false);
        model.call(images, first);
        Check.Close(trace.Attention(0).Probabilities(), first.Attention(0).Probabilities(), 1e-6);
        Assert.Throws<ArgumentException>(() => new ForwardTrace(TraceRequest.Features(choices), Meta().Capabilities));
    }

    [Fact]
    public void ACircuitListensAlongItsGraphAndItsDrawsAreGiven()
    {
        using var scope = NewDisposeScope();
        var (images, _) = Data();
        var circuit = (NeuralAttentiveCircuit)Student(true);
        circuit.eval();
        var trace = new ForwardTrace(
            TraceRequest.AllAttention
                + TraceRequest.AllHidden
                + TraceRequest.Features(NeuralAttentiveCircuit.LogKernel, NeuralAttentiveCircuit.PoolWeights),
            circuit.Capabilities
        );
        circuit.call(images, trace);
        var kernel = trace.Feature(NeuralAttentiveCircuit.LogKernel);
        Check.Close(ones(6), kernel.exp().sum(-1), 1e-5);
        Assert.True(kernel.isneginf().any().item<bool>());
        var mass = trace.Attention(1).Probabilities();
        Assert.Equal([5, 2, 6, 6], mass.shape);
        Assert.Equal(0, mass.masked_select(kernel.isneginf().expand_as(mass)).max().item<float>());
        Assert.Equal([5, 2, 2, 6], trace.Attention(2).Probabilities().shape);
        Check.Close(ones(5), trace.Feature(NeuralAttentiveCircuit.PoolWeights).sum(-1), 1e-5);

        var draws = circuit.Draw(5, 7);
        var sampled = circuit.Sampled(images, draws);
        Check.Close(sampled, circuit.Sampled(images, circuit.Draw(5, 7)), 1e-7);
        Assert.False(sampled.allclose(circuit.Sampled(images, circuit.Draw(5, 8))));
        Assert.Throws<ArgumentException>(() => circuit.Sampled(images, draws with { Edges = [draws.Edges[0]] }));
        sampled.square().sum().backward();
        var signatures = ((nn.Module)circuit).named_parameters().Single(pair => pair.name == "signatures").parameter;
        Assert.True(signatures.grad!.abs().sum().item<float>() > 0);
        Assert.Throws<ArgumentException>(() => circuit.InHybrid(1, randn(2, 4, 8)));
    }

    [Fact]
    public void AllExpertsOnAllTokensGiveTheSame()
    {
        using var scope = NewDisposeScope();
        var random = new RandomTensors(9);
        Tensor[] inputs =
        [
            random.Normal(7, 4),
            random.Normal(3, 4),
            random.Normal(3, 6, 4),
            random.Normal(3, 6),
            random.Normal(3, 4, 6),
            random.Normal(3, 4),
        ];
        ExpertRouting Route(Tensor[] at, bool all) =>
            MixtureOfExperts.Compute(at[0], at[1], null, at[2], at[3], at[4], at[5], 2, all);
        Check.Close(Route(inputs, false).Output, Route(inputs, true).Output, 1e-12);
        Check.Gradients(at => Route(at, true).Output.square().sum(), inputs, 1e-5);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void StagesLeaveNothingBehind(bool circuit)
    {
        var (images, targets) = Data();
        var (teacher, student) = (Teacher(), Student(circuit));
        var hybrids = new M2mKdHybrids(Meta());
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int index = 0; index < 3; index++)
        {
            foreach (var (_, value, _) in hybrids.Distil(images, targets, teacher, student, index).Terms)
                value.Dispose();
            foreach (var (_, value, _) in hybrids.Incubate(images, targets, teacher, index).Terms)
                value.Dispose();
        }
        ((ImageModel)student).call(images, null).Dispose();
        if (student is NeuralAttentiveCircuit drawn)
        {
            var draws = drawn.Draw(5, 1);
            drawn.Sampled(images, draws).Dispose();
            draws.Gumbel.Dispose();
            foreach (var edges in draws.Edges)
                edges.Dispose();
        }
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    private sealed class OneBatch : IBatchSource
    {
        public Batch BatchAt(long step) => new() { ["x"] = zeros(1).DetachFromDisposeScope() };
    }
}
