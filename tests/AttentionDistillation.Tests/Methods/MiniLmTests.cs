using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class MiniLmTests
{
    private static readonly TraceCapabilities Teacher = new("the teacher", 4) { Heads = 4, HiddenWidth = 32 };
    private static readonly TraceCapabilities Student = new("the student", 2) { Heads = 4, HiddenWidth = 16 };

    private static AttentionState State(RandomTensors random, int heads, int width, Tensor? mask) =>
        new(random.Normal(2, heads, 6, width), random.Normal(2, heads, 6, width), random.Normal(2, heads, 6, width), mask);

    [Fact]
    public void V1IsTheSumOfAttentionAndValueRelations()
    {
        var random = new RandomTensors(1);
        var mask = RandomTensors.Mask(6, 6, 4);
        var (teacher, student) = (State(random, 4, 8, mask), State(random, 4, 4, mask));
        var terms = MiniLm.Loss(teacher, student, new MiniLmOptions { ValueWeight = 0.5 });
        var attention = AttentionRelations.KlDivergence(teacher.Query, teacher.Key, student.Query, student.Key, mask);
        var value = AttentionRelations.KlDivergence(teacher.Value, teacher.Value, student.Value, student.Value, mask);
        Check.Close(attention + value * 0.5, terms.Total, 1e-12);
        Assert.Single(MiniLm.Loss(teacher, student, new MiniLmOptions { ValueWeight = 0 }).Terms);
    }

    [Fact]
    public void V2ComparesModelsOfDifferentHeads()
    {
        var random = new RandomTensors(2);
        var (teacher, student) = (State(random, 4, 8, null), State(random, 2, 8, null));
        var terms = MiniLmV2.Loss(teacher, student, new MiniLmV2Options { RelationHeads = 8 });
        Assert.Equal(["qq", "kk", "vv"], terms.Terms.Select(term => term.Name));
        Assert.All(terms.Terms, term => Assert.True(term.Value.item<double>() > 0));
        var same = MiniLmV2.Loss(teacher, teacher, new MiniLmV2Options { RelationHeads = 8 });
        Assert.True(same.Total.abs().item<double>() < 1e-12);
    }

    [Fact]
    public void TheObjectiveReadsTheLayersItAskedFor()
    {
        var random = new RandomTensors(3);
        var method = new MiniLm(Teacher, Student, new MiniLmOptions { TeacherLayer = 2 });
        var (teacher, student) = (
            new ForwardTrace(method.TeacherRequest, Teacher, false),
            new ForwardTrace(method.StudentRequest, Student, false)
        );
        Assert.Equal((2, 1), (teacher.LastLayerNeeded, student.LastLayerNeeded));
        Assert.True(teacher.StopsAfterAttentionInputs(2));
        var (teacherState, studentState) = (State(random, 4, 8, null), State(random, 4, 4, null));
        teacher.RecordAttention(2, teacherState);
        student.RecordAttention(1, studentState);
        var terms = method.Loss(teacher, student, new Batch());
        Check.Close(MiniLm.Loss(teacherState, studentState).Total, terms.Total, 0);
    }

    [Fact]
    public void MisfitsAreRefusedAtConstruction()
    {
        var eight = Student with { Heads = 8 };
        Assert.Contains(
            "MiniLmV2",
            Assert.Throws<ArgumentException>(() => new MiniLm(Teacher, eight)).Message,
            StringComparison.Ordinal
        );
        Assert.Contains(
            "attention layers 0 to 3",
            Assert.Throws<ArgumentException>(() => new MiniLm(Teacher, Student, new MiniLmOptions { TeacherLayer = 4 })).Message,
            StringComparison.Ordinal
        );
        Assert.Throws<ArgumentException>(() =>
            new MiniLm(Teacher, Student, new MiniLmOptions { AttentionWeight = 0, ValueWeight = 0 })
        );
        Assert.Contains(
            "divisor of 16",
            Assert
                .Throws<ArgumentException>(() => new MiniLmV2(Teacher, Student, new MiniLmV2Options { RelationHeads = 32 }))
                .Message,
            StringComparison.Ordinal
        );
        _ = new MiniLmV2(Teacher, eight, new MiniLmV2Options { RelationHeads = 16 });
    }

    [Fact]
    public void AnAssistantHasTheTeachersDepthAndTheStudentsWidth()
    {
        Assert.True(TeacherAssistant.IsAdvised(12, 768, 6, 384));
        Assert.False(TeacherAssistant.IsAdvised(12, 768, 6, 768));
        Assert.Equal((12, 384), TeacherAssistant.Shape(12, 384));
        Assert.Throws<ArgumentException>(() => TeacherAssistant.IsAdvised(0, 768, 6, 384));
    }

    [Fact]
    public void TinyBertMapsLayersUniformly()
    {
        using var method = new TinyBert(Teacher, Student, seed: 1);
        var teacher = new ForwardTrace(method.TeacherRequest, Teacher);
        Assert.Equal([false, true, false, true], Enumerable.Range(0, 4).Select(teacher.WantsAttention));
        Assert.Equal([true, false, true, false, true], Enumerable.Range(0, 5).Select(teacher.WantsHidden));
        Assert.Equal(16 * 32 + 32, method.parameters().Sum(parameter => parameter.numel()));
        Assert.Throws<ArgumentException>(() => new TinyBert(Teacher, Student with { Layers = 3 }, 1));
        Assert.Throws<ArgumentException>(() => new TinyBert(Teacher, Student with { Heads = 2 }, 1));
    }
}
