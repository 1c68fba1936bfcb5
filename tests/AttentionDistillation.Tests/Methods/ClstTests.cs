using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Methods;

public class ClstTests
{
    [Fact]
    public void AlphaGoesFromTheLabelsToTheTeacherAndTheTeacherIsConstant()
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        var student = randn(5, 8, dtype: ScalarType.Float64).requires_grad_();
        var teacher = randn(5, 8, dtype: ScalarType.Float64).requires_grad_();
        var labels = tensor(new long[] { 0, 3, 1, 7, 2 });
        Check.Close(nn.functional.cross_entropy(student, labels), Clst.Loss(teacher, student, labels, alpha: 0).Total, 1e-12);
        Check.Close(
            Divergences.KlDivergence(teacher, student, null, 4.0),
            Clst.Loss(teacher, student, labels, alpha: 1).Total,
            1e-12
        );
        Assert.Equal(0, Clst.Loss(student, student, labels)[Clst.Soft].item<double>(), 1e-12);
        Clst.Loss(teacher, student, labels).Total.backward();
        Assert.True(teacher.grad is null);
        Assert.NotNull(student.grad);
        Assert.Contains(
            "0 to 1",
            Assert.Throws<ArgumentException>(() => Clst.Loss(teacher, student, labels, alpha: 1.5)).Message
        );
        Assert.Throws<ArgumentException>(() => Clst.Loss(teacher, student[..4], labels));
    }
}
