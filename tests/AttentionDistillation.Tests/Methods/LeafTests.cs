using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class LeafTests
{
    private static LlamaConfig Config { get; } =
        new()
        {
            VocabularySize = 17,
            HiddenSize = 16,
            IntermediateSize = 24,
            Layers = 2,
            Heads = 2,
            MaximumPositions = 32,
            InitializerRange = 0.3,
        };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TheLossHasTrueGradientsAndLeavesPaddingOut(bool isShifted)
    {
        var random = new RandomTensors(1);
        var options = new LeafOptions
        {
            IsShifted = isShifted,
            Temperature = 2,
            OriginalWeight = 0.3,
        };
        Tensor[] logits = [random.Normal(2, 4, 3), random.Normal(2, 4, 3)];
        Tensor[] teacher = [random.Normal(2, 4, 5), random.Normal(2, 4, 5)];
        var mask = RandomTensors.Mask(4, 4, 2);
        Tensor Loss(Tensor[] students) => Leaf.Loss(teacher[0], students[0], mask, teacher[1], students[1], mask, options).Total;
        Check.Gradients(Loss, logits);
        // A shifted mask selects the places before its own.
        var noise = logits[0].clone();
        noise[0] = 0.0;
        noise[1, ..(isShifted ? 1 : 2)] = 0.0;
        Check.Close(Loss(logits), Loss([logits[0] + 50 * noise, logits[1]]), 1e-12);
        Assert.Equal(
            Leaf.Loss(teacher[0], logits[0], mask, teacher[1], logits[1], mask, options).Total.item<double>(),
            Leaf.MixedLoss(cat(teacher), cat(logits), cat([mask, mask]), 2, options).Total.item<double>(),
            12
        );
    }

    [Fact]
    public void TheHiddenLossHasTrueGradients()
    {
        var random = new RandomTensors(2);
        var (teacher, student) = (random.Normal(2, 1, 3, 4), random.Normal(2, 1, 3, 4));
        Check.Gradients(inputs => Leaf.HiddenLoss(teacher, inputs[0], RandomTensors.Mask(3, 2)), [student]);
        Assert.Equal(0.0, Leaf.HiddenLoss(teacher, teacher * 3, null).item<double>(), 12);
    }

    [Fact]
    public void SensitivityIsAFiniteDifferenceOfTheModelsLossAndKnowsNoNeighbours()
    {
        using var scope = NewDisposeScope();
        var model = new LlamaForCausalLanguageModel(Config, 1);
        model.to(ScalarType.Float64);
        var ids = tensor(new long[] { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3 }).view(2, 5);
        var labels = full([2, 5], Batch.IgnoredLabel, dtype: ScalarType.Int64);
        labels[.., 3..] = ids[.., 3..];
        var (losses, gradients) = LeafSensitivity.Gradients(model, ids, null, labels);
        Assert.Equal([2, 5, 16], gradients.shape);
        Assert.All(model.parameters(), parameter => Assert.Null(parameter.grad));
        // Alone, a sample has the same gradients.
        Check.Close(gradients[1], LeafSensitivity.Gradients(model, ids[1..], null, labels[1..]).Gradients[0], 1e-9);
        // Padding after the response changes nothing.
        var padded = cat([ids, zeros(2, 2, dtype: ScalarType.Int64)], 1);
        var paddedLabels = cat([labels, full([2, 2], Batch.IgnoredLabel, dtype: ScalarType.Int64)], 1);
        var other = LeafSensitivity.Gradients(model, padded, RandomTensors.Mask(7, 5, 5), paddedLabels);
        Check.Close(losses, other.Losses, 1e-9);
        Check.Close(gradients, other.Gradients[.., ..5], 1e-9);
        // Against central differences, one entry of each token.
        var embeddings = model.Embed(ids).detach();
        Tensor Moved(int token, double step)
        {
            var moved = embeddings.clone();
            moved[0, token, 2] += step;
            return NextTokenPrediction.CrossEntropyPerSequence(
                model.call(DecoderInput.FromEmbeddings(moved, null), null),
                labels
            )[0];
        }
        for (int token = 0; token < 5; token++)
            Assert.Equal(
                ((Moved(token, 1e-5) - Moved(token, -1e-5)) / 2e-5).item<double>(),
                gradients[0, token, 2].item<double>(),
                7
            );
        model.Dispose();
    }

    [Fact]
    public void TheLeastDifferencesAreFlaggedAndProtectedTokensSpared()
    {
        var student = tensor(new[] { 0.0, 1.0, 0.9, 0.1, 0.2, 0.8 });
        var teacher = tensor(new[] { 1.0, 0.0, 0.1, 0.9, 0.8, 0.0 });
        var found = LeafConfounders.Detect(student, teacher, null, 0.34);
        Assert.Equal([false, true, true, false, false, true], found.Flags);
        Assert.Equal([new LeafRun(1, 2), new LeafRun(5, 1)], found.Runs);
        Assert.Equal([-1, 0, 0, -1, -1, 1], found.RunTensor().data<long>());
        var spared = LeafConfounders.Detect(student, teacher, tensor(new[] { false, true, false, false, false, false }), 0.34);
        Assert.Equal([false, false, true, false, false, true], spared.Flags);
        Assert.Equal([new LeafRun(5, 1)], found.Where(run => run.Start == 5).Runs);
        // Equal models: nothing tells tokens apart, and the cap is above the common value 0.
        Assert.All(LeafConfounders.Detect(student, student, null, 0.1).Flags, Assert.True);
        Assert.Throws<ArgumentException>(() => LeafConfounders.Detect(student, teacher, null, 1.0));
        Assert.Throws<ArgumentException>(() => LeafConfounders.Detect(student, teacher[..3], null, 0.1));
    }

    [Fact]
    public void LowestValuesAreFlaggedWithoutCap()
    {
        var values = tensor(new[] { 5.0, 1.0, 3.0, 2.0 });
        Assert.Equal([false, true, false, true], LeafConfounders.Lowest(values, null, 0.25).Flags);
        Assert.Equal([false, true, true, true], LeafConfounders.Lowest(values, null, 0.5).Flags);
        Assert.True(LeafConfounders.IsProtected(" \n") && LeafConfounders.IsProtected("\\") && !LeafConfounders.IsProtected("x"));
    }

    [Fact]
    public void RandomPlacesKeepNumberAndLengthAndReachEveryPlace()
    {
        var found = LeafConfounders.Given([true, true, false, false, true, false, false, false]);
        var reached = new int[8];
        for (int seed = 0; seed < 400; seed++)
        {
            var random = found.AtRandomPlaces(seed);
            Assert.Equal(3, random.Flags.Count(flag => flag));
            Assert.Equal(random.Flags, found.AtRandomPlaces(seed).Flags);
            for (int token = 0; token < 8; token++)
                reached[token] += random.Flags[token] ? 1 : 0;
        }
        Assert.All(reached, count => Assert.InRange(count, 60, 260));
    }

    [Fact]
    public void PruningRebuildsPrompts()
    {
        long[] prompt = [10, 11, 12, 13, 14];
        var found = LeafConfounders.Given([false, true, true, false, true]);
        Assert.Equal(
            [
                [10, 13, 14],
                [10, 11, 12, 13],
            ],
            LeafPruning.Variants(prompt, found)
        );
        Assert.Equal(
            [
                [10, 13],
            ],
            LeafPruning.Variants(prompt, found, LeafPruningStrategy.Collective)
        );
        Assert.Equal([prompt], LeafPruning.Variants(prompt, found.Where(_ => false)));
        Assert.Throws<ArgumentException>(() => LeafPruning.Variants(prompt[..3], found));
    }

    [Fact]
    public void EarlierSegmentsBecomePrompt()
    {
        Assert.Equal(
            [new LeafResponseLevel(7, 7), new LeafResponseLevel(10, 10), new LeafResponseLevel(13, 13)],
            LeafPruning.Levels(7, 10, 3)
        );
        Assert.Throws<ArgumentException>(() => LeafPruning.Levels(7, 2, 3));
    }
}
