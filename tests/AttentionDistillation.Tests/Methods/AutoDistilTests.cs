using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Slicing;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using AttentionDistillation.Training;
using AttentionDistillation.Worlds;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class AutoDistilTests
{
    private static readonly SubNetworkSpace Space = new("little", [1, 2], [1, 2], [6, 8], [1, 2]);

    private static BertForMaskedLanguageModel Model(long seed, MultiHopLookup world) =>
        new(
            new BertConfig
            {
                VocabularySize = world.VocabularySize,
                HiddenSize = 8,
                Layers = 2,
                Heads = 2,
                IntermediateSize = 16,
                MaximumPositions = 32,
                HiddenDropout = 0,
                AttentionDropout = 0,
            },
            seed
        );

    [Theory]
    [InlineData(AutoDistilForm.ScoresMeanSquaredError)]
    [InlineData(AutoDistilForm.KlDivergence)]
    public void GradientsAreTrueAndPaddingDoesNotCountInThePapersConvention(AutoDistilForm form)
    {
        var random = new RandomTensors(1);
        var options = new AutoDistilOptions
        {
            RelationHeads = 2,
            Form = form,
            Padding = Convention.Paper,
        };
        var mask = RandomTensors.Mask(4, 4, 2);
        Tensor[] teacher = [random.Normal(2, 3, 4, 2), random.Normal(2, 3, 4, 2), random.Normal(2, 3, 4, 2)];
        Tensor[] student = [random.Normal(2, 1, 4, 5), random.Normal(2, 1, 4, 5), random.Normal(2, 1, 4, 5)];
        AttentionState State(Tensor[] parts, Tensor? seen) => new(parts[0], parts[1], parts[2], seen);
        Check.Gradients(inputs => AutoDistil.Loss(State(teacher, mask), State(inputs, mask), options).Total, student);
        Tensor[] Longer(Tensor[] parts, double fill) =>
            [.. parts.Select(part => nn.functional.pad(part, [0, 0, 0, 3], value: fill))];
        Check.Close(
            AutoDistil.Loss(State(teacher, mask), State(student, mask), options).Total,
            AutoDistil
                .Loss(
                    State(Longer(teacher, 5), nn.functional.pad(mask, [0, 3])),
                    State(Longer(student, -5), nn.functional.pad(mask, [0, 3])),
                    options
                )
                .Total,
            1e-12
        );
    }

    [Fact]
    public void TheSpacesHoldTheReleasedPicks()
    {
        Assert.All(
            new[] { SubNetworkSpace.Base, SubNetworkSpace.Small, SubNetworkSpace.Tiny },
            space => Assert.Equal(256, space.Candidates.Count)
        );
        Assert.Contains(new SubNetwork(12, 9, 544, 3), SubNetworkSpace.Base.Candidates);
        Assert.Contains(new SubNetwork(11, 7, 256, 3), SubNetworkSpace.Small.Candidates);
        Assert.Contains(new SubNetwork(7, 10, 160, 3.5), SubNetworkSpace.Tiny.Candidates);
        Assert.Equal("L7 A10 H160 R3.5", new SubNetwork(7, 10, 160, 3.5).ToString());
        var joined = SubNetworkSpace.Union("all", SubNetworkSpace.Base, SubNetworkSpace.Small);
        Assert.Equal(512, joined.Candidates.Count);
        Assert.Equal(SubNetworkSpace.Base.Largest, joined.Largest);
    }

    [Fact]
    public void EveryStepTrainsTheEndsAndTheSameOthersEverywhere()
    {
        for (long step = 0; step < 20; step++)
        {
            int[] chosen = SandwichSampling.Choose(Space.Parameters, SandwichSampling.Draws(16, 3, step));
            Assert.Equal(4, chosen.Distinct().Count());
            Assert.Equal((15, 0), (chosen[0], chosen[1]));
            Assert.Equal(chosen, SandwichSampling.Choose(Space.Parameters, SandwichSampling.Draws(16, 3, step)));
        }
        Assert.True(Enumerable.Range(0, 200).SelectMany(step => SandwichSampling.Draws(16, 3, step)).Distinct().Count() == 14);
        Assert.Throws<ArgumentException>(() => SandwichSampling.Choose(Space.Parameters, [14]));
    }

    [Fact]
    public void TheGradientsOfAStepAreTheSumOfItsSubNetworks()
    {
        var world = new MultiHopLookup();
        using var teacher = Model(1, world);
        using var student = Model(2, world);
        var elastic = new ElasticEncoder(student);
        var training = new AutoDistilTraining(teacher, elastic, Space, new AutoDistilOptions { RelationHeads = 2 });
        using var batch = new SubNetworkBatches(world.Text(5, 3), Space, SubNetworkSampling.Sandwich, 5).BatchAt(7);
        training.Loss(batch).Total.backward();
        var summed = student.parameters().Select(parameter => parameter.grad?.clone()).ToArray();
        student.zero_grad();
        int[] chosen = new SubNetworkBatches(world.Text(5, 3), Space, SubNetworkSampling.Sandwich, 5).ChosenAt(7);
        foreach (int number in chosen)
            training.Loss(Space.Candidates[number], batch).backward();
        foreach (var (parameter, expected) in student.parameters().Zip(summed))
            if (expected is not null)
                Check.Close(expected, parameter.grad!, 1e-4);
    }

    [Fact]
    public void TrainingBringsASubNetworkNearer()
    {
        var world = new MultiHopLookup();
        using var teacher = Model(1, world);
        using var student = Model(2, world);
        var training = new AutoDistilTraining(
            teacher,
            new ElasticEncoder(student),
            Space,
            new AutoDistilOptions { RelationHeads = 2, Form = AutoDistilForm.KlDivergence }
        );
        double Held() => training.HeldOutLoss(Space.Smallest, world.HeldOutText(1, 8).All(), CPU);
        double before = Held();
        using var trainer = new Trainer(
            student,
            training.Loss,
            new TrainingOptions
            {
                Steps = 20,
                LearningRate = 5e-3,
                Seed = 1,
            }
        );
        trainer.Run(new SubNetworkBatches(world.Text(3, 4), Space, SubNetworkSampling.Sandwich, 3));
        Assert.True(Held() < before, $"{before} to {Held()}");
    }

    [Fact]
    public void TheSearchKeepsToItsLimit()
    {
        (SubNetwork, double, double)[] candidates =
        [
            (new(1, 1, 6, 1), 1, 0.5),
            (new(1, 1, 8, 1), 2, 0.4),
            (new(2, 1, 6, 1), 3, 0.45),
            (new(2, 2, 8, 1), 4, 0.1),
        ];
        Assert.Equal(8, SubNetworkSearch.Best(candidates, 3, higherIsBetter: false).Hidden);
        Assert.Equal([1.0, 2.0, 4.0], SubNetworkSearch.ParetoFront(candidates, higherIsBetter: false).Select(item => item.Cost));
        Assert.Equal([1.0], SubNetworkSearch.ParetoFront(candidates, higherIsBetter: true).Select(item => item.Cost));
        Assert.Throws<ArgumentException>(() => SubNetworkSearch.Best(candidates, 0.5, true));
    }
}
