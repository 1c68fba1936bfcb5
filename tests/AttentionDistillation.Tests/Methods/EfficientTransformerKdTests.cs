using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class EfficientTransformerKdTests
{
    private static readonly RobertaConfig Small = new()
    {
        VocabularySize = 40,
        HiddenSize = 16,
        Layers = 4,
        Heads = 2,
        IntermediateSize = 32,
        MaximumPositions = 18,
        HiddenDropout = 0,
        AttentionDropout = 0,
        InitializerRange = 0.2,
        Labels = TextEncoderConfig.DefaultLabels(5),
    };

    [Fact]
    public void TheLossHasItsGradientAndDoesNotSeePadding()
    {
        var random = new RandomTensors(1);
        var (teacher, student) = (random.Normal(2, 5, 4), random.Normal(2, 5, 4));
        var (teacherHidden, studentHidden) = (random.Normal(2, 5, 3), random.Normal(2, 5, 3));
        var mask = RandomTensors.Mask(5, 5, 3);
        var labels = tensor(new long[] { 1, -100, 2, 0, -100, 3, -100, 0, -100, -100 }).view(2, 5);
        var options = new DistilTripleOptions();
        Check.Gradients(
            inputs => EfficientTransformerKd.Loss(teacher, inputs[0], teacherHidden, inputs[1], labels, mask, options).Total,
            [student, studentHidden]
        );
        var one = EfficientTransformerKd.Loss(
            teacher[1..],
            student[1..],
            teacherHidden[1..],
            studentHidden[1..],
            labels[1..],
            mask[1..],
            options
        );
        var cut = EfficientTransformerKd.Loss(
            teacher[1.., ..3],
            student[1.., ..3],
            teacherHidden[1.., ..3],
            studentHidden[1.., ..3],
            labels[1.., ..3],
            null,
            options
        );
        Check.Close(cut.Total, one.Total, 1e-12);
        var same = EfficientTransformerKd.Loss(teacher, teacher, teacherHidden, teacherHidden, labels, mask, options);
        Assert.Equal(0, same["ce"].item<double>(), 1e-12);
        Assert.Equal(0, same["cos"].item<double>(), 1e-12);
        var unlabelled = EfficientTransformerKd.Loss(
            teacher,
            student,
            teacherHidden,
            studentHidden,
            full_like(labels, -100),
            mask,
            options
        );
        Assert.Equal(0, unlabelled["mlm"].item<double>());
    }

    [Fact]
    public void ExtendedPositionsRepeatAndKeepTheRowsInFront()
    {
        var table = new RandomTensors(2).Normal(6, 3);
        var longer = EfficientTransformerKd.ExtendPositions(table, 13);
        Check.Close(table, longer[..6], 0);
        Check.Close(table[2..], longer[6..10], 0);
        Check.Close(table[2..], longer[10..14], 0);
        Assert.Throws<ArgumentException>(() => EfficientTransformerKd.ExtendPositions(table, 3));
        Assert.Throws<ArgumentException>(() => EfficientTransformerKd.ExtendPositions(table, 9, 6));
    }

    [Fact]
    public void GlobalTokensAreAPositionAndAWord()
    {
        var (positions, words) = (new RandomTensors(3).Normal(8, 4), new RandomTensors(4).Normal(10, 4));
        var global = EfficientTransformerKd.GlobalEmbeddings(positions, words, 3, beginToken: 0, maskToken: 9);
        Check.Close(positions[2] + words[0], global[0], 1e-12);
        Check.Close(positions[4] + words[9], global[2], 1e-12);
        Assert.Throws<ArgumentException>(() => EfficientTransformerKd.GlobalEmbeddings(positions, words, 7, 0, 9));
    }

    [Fact]
    public void AConvertedModelThatSeesEverythingIsTheModel()
    {
        using var teacher = new RobertaForTokenClassification(Small, 1);
        using var longer = new RobertaForTokenClassification(Small with { MaximumPositions = 50 }, 2);
        var tokens = randint(3, 40, [2, 12], dtype: ScalarType.Int64, generator: new Generator(5));
        var mask = RandomTensors.Mask(12, 12, 9);
        teacher.eval();
        using var guard = no_grad();
        var expected = teacher.call(tokens, mask, null, null);
        foreach (
            Func<int, IAttentionForm?> form in new Func<int, IAttentionForm?>[]
            {
                _ => null,
                // All tokens global, by copies of the ordinary projections.
                layer => new LongformerAttention(16, 2, 4, 12, new SeededLayers(layer, 1.0)),
                _ => new WindowedAttention(24),
                _ => new BigBirdAttention(6, 0, 1),
                _ => new LsgAttention(6, 2, LsgSparsity.Norm),
            }
        )
        {
            EfficientTransformerKd.Convert(teacher, longer, form);
            longer.eval();
            var got = longer.call(tokens, mask, null, null);
            // Padded queries differ between forms; real tokens do not.
            Check.Close(expected[mask], got[mask], 1e-4, form(0)?.GetType().Name ?? "full");
        }
        var far = randint(3, 40, [1, 40], dtype: ScalarType.Int64, generator: new Generator(6));
        Assert.Equal([1L, 40L, 5L], longer.call(far, null, null, null).shape);
    }

    [Fact]
    public void StudentsStartFromEverySecondLayerWithItsForm()
    {
        using var source = new RobertaForTokenClassification(Small, 1);
        using var teacher = new RobertaForTokenClassification(Small, 2);
        using var student = new RobertaForTokenClassification(Small with { Layers = 2 }, 3);
        Func<int, IAttentionForm> form = layer => new LongformerAttention(16, 2, 4, 1, new SeededLayers(layer, 1.0));
        EfficientTransformerKd.Convert(source, teacher, form);
        student.SetAttention(form);
        EfficientTransformerKd.StartStudent(teacher, student);
        var (theirs, ours) = (teacher.HubParameters(), student.HubParameters());
        Assert.Contains(ours.Keys, name => name.Contains("query_global", StringComparison.Ordinal));
        foreach (var (name, weight) in ours)
            Check.Close(theirs[name.Replace("layer.1.", "layer.2.", StringComparison.Ordinal)], weight, 0, name);
        Assert.Throws<ArgumentException>(() => EfficientTransformerKd.StartStudent(teacher, student, [0, 1, 2]));
        student.SetAttention(_ => null);
        source.SetAttention(_ => new WindowedAttention(4));
        EfficientTransformerKd.StartStudent(source, student, [1, 3]);
    }

    [Fact]
    public void RetentionIsTheMeanOverTasks()
    {
        Assert.Equal(0.85, EfficientTransformerKd.Retention([0.9, 0.4], [1.0, 0.5]), 1e-12);
        Assert.Throws<ArgumentException>(() => EfficientTransformerKd.Retention([0.9], [0.0]));
    }
}
