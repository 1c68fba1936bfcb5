using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class MendTests
{
    private static LlamaConfig Config(long width) =>
        new()
        {
            VocabularySize = 13,
            HiddenSize = width,
            IntermediateSize = 24,
            Layers = 2,
            Heads = 2,
            MaximumPositions = 32,
            InitializerRange = 0.3,
        };

    private static Tensor Ids(int seed, long batch, long length)
    {
        var random = new Random(seed);
        return tensor([.. Enumerable.Range(0, (int)(batch * length)).Select(_ => random.NextInt64(13))]).view(batch, length);
    }

    [Fact]
    public void TheLossesHaveTrueGradientsAndLeavePaddingOut()
    {
        var random = new RandomTensors(1);
        var (teacher, student) = (random.Normal(2, 6, 5), random.Normal(2, 4, 5));
        var studentMask = RandomTensors.Mask(4, 4, 2);
        var teacherMask = tensor(
                new[,]
                {
                    { 0, 0, 1, 1, 1, 1 },
                    { 0, 1, 1, 0, 0, 0 },
                }
            )
            .ne(0);
        var answer = tensor(
                new[,]
                {
                    { 0, 0, 1, 1 },
                    { 0, 1, 0, 0 },
                }
            )
            .ne(0);
        var tokens = tensor(
            new long[,]
            {
                { 1, 2, 3, 4 },
                { 0, 1, 2, 3 },
            }
        );
        Tensor Loss(Tensor logits) =>
            Mend.FinetuningLoss(teacher, teacherMask, logits, studentMask, tokens, answer, 0.7, 2.0).Total;
        Check.Gradients(inputs => Loss(inputs[0]), [student]);
        Check.Close(Loss(student), Loss(student.masked_fill(studentMask.unsqueeze(-1).logical_not(), 7.0)), 1e-12);
        // A teacher whose query was cut is refused.
        Assert.Throws<ArgumentException>(() =>
            Mend.QueryKl(teacher, teacherMask.logical_and(arange(6).ne(2)), student, studentMask)
        );
    }

    [Theory]
    [InlineData(16, MendPlaceholderStart.Vocabulary)]
    [InlineData(24, MendPlaceholderStart.Normal)]
    public void OnlyTheDistillerLearnsAndPaddingOfDemonstrationsChangesNothing(long width, MendPlaceholderStart start)
    {
        using var scope = NewDisposeScope();
        var model = new LlamaForCausalLanguageModel(Config(width), 1);
        foreach (var parameter in model.parameters())
            parameter.requires_grad_(false);
        var options = new MendOptions { Vectors = 3, Start = start };
        var distiller = new MendDistiller(new LlamaModel(Config(16), 2), width, options, 3);
        Assert.Equal(width == 16, distiller.Projection is null);
        var demonstrations = Ids(4, 2, 6);
        var vectors = distiller.call(new MendDemonstrations(demonstrations, null), null);
        Assert.Equal([2, 3, width], vectors.shape);
        var query = Ids(5, 2, 4);
        var logits = Mend.Read(model, vectors, query, null);
        Assert.Equal([2, 4, 13], logits.shape);
        logits.square().mean().backward();
        Assert.All(distiller.parameters(), parameter => Assert.NotNull(parameter.grad));
        Assert.All(model.parameters(), parameter => Assert.Null(parameter.grad));
        // With the mask of an unpadded batch, and with padded queries, all is as before.
        Check.Close(
            vectors,
            distiller.call(new MendDemonstrations(demonstrations, ones(2, 6, dtype: ScalarType.Bool)), null),
            1e-5
        );
        var padded = Mend.Read(
            model,
            vectors,
            cat([query, zeros(2, 2, dtype: ScalarType.Int64)], 1),
            RandomTensors.Mask(6, 4, 4)
        );
        Check.Close(logits, padded[.., ..4], 1e-5);
        // What stands at padding does not matter.
        var mask = RandomTensors.Mask(6, 6, 4);
        var changed = demonstrations.clone();
        changed[1, 4..] = 0;
        Check.Close(
            distiller.call(new MendDemonstrations(demonstrations, mask), null),
            distiller.call(new MendDemonstrations(changed, mask), null),
            1e-6
        );
        distiller.Dispose();
        model.Dispose();
    }

    [Fact]
    public void SeparatedVectorsDependOnWhatTheySee()
    {
        using var scope = NewDisposeScope();
        var options = new MendOptions
        {
            Vectors = 3,
            LabelVectors = 1,
            OthersSeeInputsAlone = true,
        };
        // One layer, so that tokens cannot pass on what others may not see.
        using var distiller = new MendDistiller(new LlamaModel(Config(16) with { Layers = 1 }, 2), 16, options, 3);
        var demonstrations = tensor(
            new long[,]
            {
                { 1, 2, 3, 4, 5, 6 },
            }
        );
        var isLabel = tensor(
            new[,]
            {
                { false, false, true, false, false, true },
            }
        );
        Tensor Vectors(Tensor ids) => distiller.call(new MendDemonstrations(ids, null) { IsLabel = isLabel }, null)[0];
        var before = Vectors(demonstrations);
        var otherInput = demonstrations.clone();
        otherInput[0, 3] = 9;
        var otherLabel = demonstrations.clone();
        otherLabel[0, 2] = 9;
        double Change(Tensor ids, int vector) => (Vectors(ids)[vector] - before[vector]).abs().max().ToDouble();
        Assert.True(Change(otherInput, 0) > 1e-4 && Change(otherInput, 2) == 0);
        Assert.True(Change(otherLabel, 0) == 0 && Change(otherLabel, 2) > 1e-4);
        Assert.Throws<ArgumentException>(() => distiller.call(new MendDemonstrations(demonstrations, null), null));
        Assert.Throws<ArgumentException>(() =>
            new MendDistiller(new LlamaModel(Config(16), 2), 16, new MendOptions { Vectors = 3, LabelVectors = 4 }, 1)
        );
    }

    [Fact]
    public void ReadingRecordsTheVectorsPlaces()
    {
        using var scope = NewDisposeScope();
        using var model = new LlamaForCausalLanguageModel(Config(16), 1);
        var trace = new ForwardTrace(TraceRequest.LastAttention, model.Capabilities);
        Mend.Read(model, zeros(1, 3, 16), Ids(1, 1, 4), null, trace);
        Assert.Equal([1, 2, 7, 7], trace.LastAttention.Probabilities().shape);
    }

    [Fact]
    public void TheTeachersInputIsCutOnTheLeftAndNeverTheQuery()
    {
        Assert.Equal([3, 4, 8, 9], Mend.TeacherTokens([1, 2, 3, 4], [8, 9], 4));
        Assert.Equal([1, 2, 8, 9], Mend.TeacherTokens([1, 2], [8, 9]));
        Assert.Throws<ArgumentException>(() => Mend.TeacherTokens([1], [8, 9], 1));
        Assert.Throws<ArgumentException>(() => Mend.Split(10, 1.0));
    }
}
