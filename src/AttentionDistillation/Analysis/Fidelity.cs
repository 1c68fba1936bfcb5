using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Analysis;

/// <summary>How faithfully a student follows its teacher, computed in float64 without gradients. Positions outside the mask do not count; NaN when none does.</summary>
public static class Fidelity
{
    /// <summary>KL(teacher || student) of the output distributions in nats, mean over positions, times T^2.</summary>
    /// <param name="teacher">Logits [..., V].</param>
    /// <param name="student">Logits [..., V].</param>
    /// <param name="mask">bool [...], true = counts; null when all count.</param>
    /// <param name="temperature">T, which divides both logits.</param>
    /// <exception cref="ArgumentException">Shapes differ, or the temperature is not positive.</exception>
    public static double LogitKl(Tensor teacher, Tensor student, Tensor? mask, double temperature = 1)
    {
        if (!(temperature > 0))
            throw new ArgumentException($"The temperature must be positive, but is {temperature}.", nameof(temperature));
        RequireSameShape(teacher, student);
        using var scope = NewDisposeScope();
        var first = nn.functional.log_softmax(Positions(teacher, mask) / temperature, -1);
        var second = nn.functional.log_softmax(Positions(student, mask) / temperature, -1);
        var terms = where(first.isneginf(), zeros_like(first), first.exp() * (first - second));
        return terms.sum(-1).clamp_min(0).mean().item<double>() * temperature * temperature;
    }

    /// <summary>Share of positions where teacher and student put the same class first.</summary>
    /// <param name="teacher">Logits [..., V].</param>
    /// <param name="student">Logits [..., V].</param>
    /// <param name="mask">bool [...], true = counts; null when all count.</param>
    /// <exception cref="ArgumentException">Shapes differ.</exception>
    public static double TopOneAgreement(Tensor teacher, Tensor student, Tensor? mask)
    {
        RequireSameShape(teacher, student);
        using var scope = NewDisposeScope();
        var same = Positions(teacher, mask).argmax(-1) == Positions(student, mask).argmax(-1);
        return same.to(ScalarType.Float64).mean().item<double>();
    }

    /// <summary>
    /// Linear centred kernel alignment of two representations, between 0 and 1 (Kornblith et al. 2019, "Similarity of Neural Network Representations
    /// Revisited", section 3): |Y^T X|^2 / (|X^T X| |Y^T Y|) in Frobenius norms, of columns with their means taken off. NaN when one is constant.
    /// </summary>
    /// <param name="first">[..., C].</param>
    /// <param name="second">The same positions, any width.</param>
    /// <param name="mask">bool [...], true = counts; null when all count.</param>
    /// <exception cref="ArgumentException">The positions differ.</exception>
    public static double LinearCka(Tensor first, Tensor second, Tensor? mask)
    {
        if (!first.shape[..^1].SequenceEqual(second.shape[..^1]))
            throw new ArgumentException(
                $"Both representations need the same positions, but are {Shapes.Describe(first)} and {Shapes.Describe(second)}."
            );
        using var scope = NewDisposeScope();
        var (x, y) = (Centred(Positions(first, mask)), Centred(Positions(second, mask)));
        double own = Frobenius(matmul(x.t(), x)) * Frobenius(matmul(y.t(), y)),
            cross = Frobenius(matmul(y.t(), x));
        return cross * cross / own;
    }

    private static Tensor Centred(Tensor rows) => rows - rows.mean([0], keepdim: true);

    private static double Frobenius(Tensor matrix) => matrix.square().sum().sqrt().item<double>();

    // The positions that count as rows, [N, C].
    private static Tensor Positions(Tensor tensor, Tensor? mask)
    {
        var rows = tensor.detach().to(ScalarType.Float64).reshape(-1, tensor.size(-1));
        if (mask is null)
            return rows;
        Shapes.RequireExact(mask, tensor.shape.AsSpan()[..^1]);
        return rows[mask.reshape(-1)];
    }

    private static void RequireSameShape(Tensor teacher, Tensor student)
    {
        if (!teacher.shape.SequenceEqual(student.shape))
            throw new ArgumentException(
                $"teacher and student must have the same shape, but are {Shapes.Describe(teacher)} and {Shapes.Describe(student)}."
            );
    }
}
