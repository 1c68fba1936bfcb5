using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Tensors;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

/// <summary>Entropy, linear attention, averaged heads, attention outputs: every form against the definition, padding, finite differences.</summary>
public class RowLossesTests
{
    /// <summary>A loss of student tensors [B, H, L, D], made of a mask, causality and a form.</summary>
    private delegate Tensor Loss(Tensor[] student, Tensor? mask, bool causal, RelationForm form);

    private sealed record Kind(Loss Loss, Func<RandomTensors, long, Tensor[]> Student, bool HasKernels = false);

    private const long Longest = 800; // 2 x 2 maps of it are two blocks of rows

    // Drawn once at full length, so that a padded batch meets the same teacher.
    private static readonly Tensor[] Teachers =
    [
        .. Enumerable
            .Range(0, 7)
            .Select(which => new RandomTensors(100 + which).Normal(2, 6, Longest, 4).DetachFromDisposeScope()),
    ];

    private static Tensor Teacher(long batch, long heads, long length, int which) =>
        Teachers[which].narrow(0, 0, batch).narrow(1, 0, heads).narrow(2, 0, length);

    private static readonly Dictionary<string, Kind> Kinds = new()
    {
        ["entropy"] = new(
            (student, mask, causal, form) =>
                AttentionEntropy.Mean(new AttentionState(student[0], student[1], student[1], mask, causal), form: form),
            (random, length) => [random.Normal(2, 2, length, 4) * 1.5, random.Normal(2, 1, length, 4)],
            true
        ),
        ["linear"] = new(
            (student, mask, causal, form) =>
                LinearAttentionRelation.KlDivergence(
                    Teacher(2, 2, student[0].size(2), 0),
                    Teacher(2, 1, student[0].size(2), 1),
                    student[0].exp(),
                    student[1].exp(),
                    mask,
                    new() { IsCausal = causal, Form = form }
                ),
            (random, length) => [random.Normal(2, 2, length, 5), random.Normal(2, 2, length, 5)]
        ),
        ["averaged heads"] = new(
            (student, mask, causal, form) =>
                HeadAveragedRelation.KlDivergence(
                    Teacher(2, 3, student[0].size(2), 2),
                    Teacher(2, 3, student[0].size(2), 3),
                    student[0],
                    student[1],
                    mask,
                    new()
                    {
                        IsCausal = causal,
                        Form = form,
                        Reduction = RowReduction.Sequences,
                    }
                ),
            (random, length) => [random.Normal(2, 2, length, 6), random.Normal(2, 2, length, 6)]
        ),
        ["context"] = new(
            (student, mask, causal, form) =>
                AttentionContext.MeanSquaredError(
                    new AttentionState(
                        Teacher(2, 2, student[0].size(2), 4),
                        Teacher(2, 2, student[0].size(2), 5),
                        Teacher(2, 2, student[0].size(2), 6),
                        mask,
                        causal
                    ),
                    new AttentionState(student[0], student[1], student[2], mask, causal),
                    form: form
                ),
            (random, length) => [random.Normal(2, 2, length, 6), random.Normal(2, 2, length, 6), random.Normal(2, 2, length, 4)],
            true
        ),
    };

    public static TheoryData<string, bool, bool> Calls =>
        new(
            Kinds.Keys.SelectMany(kind =>
                new[] { (kind, false, false), (kind, true, false), (kind, false, true), (kind, true, true) }
            )
        );

    public static TheoryData<string> Names => new(Kinds.Keys);

    [Theory]
    [MemberData(nameof(Calls))]
    public void FormsAgree(string name, bool padded, bool causal)
    {
        var kind = Kinds[name];
        var inputs = kind.Student(new RandomTensors(1), Longest);
        var mask = padded ? RandomTensors.Mask(Longest, Longest, 11) : null;
        var truth = Run(RelationForm.Dense);
        foreach (var form in kind.HasKernels ? new[] { RelationForm.Blockwise, RelationForm.Fused } : [RelationForm.Blockwise])
        {
            var result = Run(form);
            for (int part = 0; part < truth.Length; part++)
                Check.Close(truth[part], result[part], 1e-10, $"{form}, part {part}");
        }

        Tensor[] Run(RelationForm form)
        {
            using var scope = NewDisposeScope();
            var student = inputs.Select(input => input.clone().requires_grad_()).ToArray();
            var loss = kind.Loss(student, mask, causal, form);
            (loss * 0.7).backward();
            return
            [
                .. student
                    .Select(tensor => tensor.grad!)
                    .Prepend(loss.detach())
                    .Select(tensor => tensor.clone().MoveToOuterDisposeScope()),
            ];
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void GradientsAreThoseOfFiniteDifferences(string name)
    {
        // Of the definition; FormsAgree carries it to the other forms.
        foreach (bool causal in (bool[])[false, true])
            Check.Gradients(
                student => Kinds[name].Loss(student, RandomTensors.Mask(4, 4, 3), causal, RelationForm.Dense),
                Kinds[name].Student(new RandomTensors(2), 4)
            );
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void PaddingChangesNothing(string name)
    {
        var kind = Kinds[name];
        var random = new RandomTensors(3);
        var real = kind.Student(random, 7);
        var padded = real.Select(tensor =>
                cat([tensor, random.Normal(2, tensor.size(1), 5, tensor.size(3)) * 5], 2).requires_grad_()
            )
            .ToArray();
        foreach (var form in (RelationForm[])[RelationForm.Dense, RelationForm.Blockwise, RelationForm.Fused])
        {
            var expected = kind.Loss(real, null, false, form);
            var actual = kind.Loss(padded, RandomTensors.Mask(12, 7, 7), false, form);
            Check.Close(expected, actual, 1e-12, form.ToString());
            actual.backward();
            foreach (var tensor in padded)
                Assert.Equal(0.0, tensor.grad!.narrow(2, 7, 5).abs().max().item<double>());
        }
    }

    [Fact]
    public void EntropyIsThatOfTheMap()
    {
        var random = new RandomTensors(4);
        var state = new AttentionState(
            random.Normal(2, 2, 5, 4),
            random.Normal(2, 2, 5, 4),
            random.Normal(2, 2, 5, 4),
            null,
            scale: 0.9,
            bias: random.Normal(1, 2, 5, 5)
        );
        var map = state.Probabilities();
        Check.Close(-(map * map.log()).sum(-1).mean(), AttentionEntropy.Mean(state), 1e-12);
        var uniform = new AttentionState(zeros(1, 1, 3, 4), zeros(1, 1, 8, 4), zeros(1, 1, 8, 4), null);
        Assert.Equal(Math.Log(8), AttentionEntropy.Mean(uniform, form: RelationForm.Fused).item<float>(), 6);
        Assert.Throws<NotSupportedException>(() => AttentionEntropy.Mean(state, form: RelationForm.Fused));
    }

    [Fact]
    public void OneHeadAveragedIsTheRelationItself()
    {
        var random = new RandomTensors(5);
        Tensor[] tensors = [.. Enumerable.Range(0, 4).Select(_ => random.Normal(2, 1, 6, 4))];
        Check.Close(
            AttentionRelations.KlDivergence(tensors[0], tensors[1], tensors[2], tensors[3], null),
            HeadAveragedRelation.KlDivergence(tensors[0], tensors[1], tensors[2], tensors[3], null),
            1e-12
        );
    }

    [Fact]
    public void ALinearStudentThatIsUniformLeavesTheTeachersNegentropy()
    {
        var random = new RandomTensors(6);
        var (query, key) = (random.Normal(1, 2, 6, 4), random.Normal(1, 2, 6, 4));
        var features = ones(1, 2, 6, 3, dtype: ScalarType.Float64);
        var entropy = AttentionEntropy.Mean(new AttentionState(query, key, key, null));
        Check.Close(Math.Log(6) - entropy, LinearAttentionRelation.KlDivergence(query, key, features, features, null), 1e-12);
    }

    [Fact]
    public void ContextOfAnotherWidthNeedsAProjection()
    {
        var random = new RandomTensors(7);
        var teacher = new AttentionState(random.Normal(1, 2, 5, 4), random.Normal(1, 2, 5, 4), random.Normal(1, 2, 5, 4), null);
        var student = new AttentionState(random.Normal(1, 2, 5, 3), random.Normal(1, 2, 5, 3), random.Normal(1, 2, 5, 3), null);
        Assert.Contains(
            "projection",
            Assert.Throws<ArgumentException>(() => AttentionContext.MeanSquaredError(teacher, student)).Message,
            StringComparison.Ordinal
        );
        var weight = random.Learned(6, 8);
        AttentionContext.MeanSquaredError(teacher, student, given => given.matmul(weight)).backward();
        Assert.True(weight.grad!.abs().sum().item<double>() > 0);
    }
}
