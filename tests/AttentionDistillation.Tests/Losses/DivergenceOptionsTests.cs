using AttentionDistillation.Losses;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

public class DivergenceOptionsTests
{
    private static readonly Tensor Ragged = RandomTensors.Mask(4, 4, 1, 0);

    public static TheoryData<DivergenceOptions> Variants() =>
        [
            DivergenceOptions.Default,
            new DivergenceOptions { Direction = DivergenceDirection.Reverse, Temperature = 2.0 },
            new DivergenceOptions { Direction = DivergenceDirection.Symmetric, Reduction = DivergenceReduction.Sequences },
            new DivergenceOptions()
            {
                Temperature = 0.5,
                ScalesByTemperatureSquared = false,
                Reduction = DivergenceReduction.BatchMean,
            },
            new DivergenceOptions { TopClasses = 2, Direction = DivergenceDirection.Symmetric },
            new DivergenceOptions { Alignment = LabelAlignment.Shifted, TruncatesTeacherVocabulary = true },
            new DivergenceOptions { OmitsTeacherEntropy = true },
        ];

    [Theory]
    [MemberData(nameof(Variants))]
    public void GradientsAreTrueAndPaddingDoesNotCount(DivergenceOptions options)
    {
        var random = new RandomTensors(1);
        var (teacher, student) = (random.Normal(3, 4, 5), random.Normal(3, 4, 5));
        Check.Gradients(inputs => Divergences.KlDivergence(teacher, inputs[0], Ragged, options), [student]);
        // Rows that do not count, for the alignment the option names.
        var counted =
            options.Alignment == LabelAlignment.Shifted ? cat([Ragged[.., 1..], zeros_like(Ragged[.., ..1])], 1) : Ragged;
        var noise = random.Normal(3, 4, 5).masked_fill(counted.unsqueeze(-1), 0.0) * 100;
        Check.Close(
            Divergences.KlDivergence(teacher, student, Ragged, options),
            Divergences.KlDivergence(teacher + noise, student - noise, Ragged, options),
            1e-12
        );
        var longer = nn.functional.pad(Ragged, [0, 3]);
        Check.Close(
            Divergences.KlDivergence(teacher, student, Ragged, options),
            Divergences.KlDivergence(
                nn.functional.pad(teacher, [0, 0, 0, 3], value: 7),
                nn.functional.pad(student, [0, 0, 0, 3], value: -7),
                longer,
                options
            ),
            1e-12
        );
    }

    [Fact]
    public void ReductionsDifferOnlyInTheWeightOfSequences()
    {
        var random = new RandomTensors(2);
        var (teacher, student) = (random.Normal(3, 4, 5), random.Normal(3, 4, 5));
        var rows = Divergences.KlRows(teacher, student, DivergenceOptions.Default);
        double first = rows[0].sum().item<double>(),
            second = rows[1, 0].item<double>();
        Assert.Equal((first + second) / 5, Value(DivergenceReduction.Tokens), 12);
        Assert.Equal((first / 4 + second) / 2, Value(DivergenceReduction.Sequences), 12);
        Assert.Equal((first + second) / 3, Value(DivergenceReduction.BatchMean), 12);
        Assert.True((rows >= 0).all().item<bool>());
        Assert.Equal(0.0, Divergences.KlRows(teacher, teacher, DivergenceOptions.Default).abs().max().item<double>(), 12);

        double Value(DivergenceReduction reduction) =>
            Divergences.KlDivergence(teacher, student, Ragged, new DivergenceOptions { Reduction = reduction }).item<double>();
    }

    [Fact]
    public void DirectionsAreEachOthersMirror()
    {
        var random = new RandomTensors(3);
        var (teacher, student) = (random.Normal(6, 5), random.Normal(6, 5));
        Tensor Value(Tensor a, Tensor b, DivergenceDirection direction) =>
            Divergences.KlDivergence(a, b, null, new DivergenceOptions { Direction = direction, Temperature = 1.5 });
        var (forward, reverse) = (
            Value(teacher, student, DivergenceDirection.Forward),
            Value(teacher, student, DivergenceDirection.Reverse)
        );
        Check.Close(Value(student, teacher, DivergenceDirection.Forward), reverse, 1e-12);
        Check.Close(forward + reverse, Value(teacher, student, DivergenceDirection.Symmetric), 1e-12);
    }

    [Fact]
    public void TopClassesAreTheTeachersWithTheOthersAtMinusInfinity()
    {
        var random = new RandomTensors(4);
        var (teacher, student) = (random.Normal(6, 5), random.Normal(6, 5));
        var dropped = teacher < teacher.topk(2, -1).values[.., ^1..];
        foreach (var direction in Enum.GetValues<DivergenceDirection>())
        {
            var options = new DivergenceOptions { Direction = direction };
            Check.Close(
                Divergences.KlDivergence(
                    teacher.masked_fill(dropped, double.NegativeInfinity),
                    student.masked_fill(dropped, double.NegativeInfinity),
                    null,
                    options
                ),
                Divergences.KlDivergence(teacher, student, null, options with { TopClasses = 2 }),
                1e-12
            );
        }
        var learned = student.clone().requires_grad_();
        Divergences
            .KlDivergence(
                teacher.masked_fill(dropped, double.NegativeInfinity),
                learned.masked_fill(dropped, double.NegativeInfinity),
                null,
                new DivergenceOptions { Direction = DivergenceDirection.Symmetric }
            )
            .backward();
        Assert.True(learned.grad!.isfinite().all().item<bool>());
    }

    [Fact]
    public void AlignedRowsAreComparedInOrder()
    {
        var random = new RandomTensors(5);
        var (teacher, student) = (random.Normal(2, 6, 5), random.Normal(2, 4, 5));
        var teacherMask = tensor(
            new[,]
            {
                { false, false, true, true, true, false },
                { false, true, false, false, false, false },
            }
        );
        var studentMask = tensor(
            new[,]
            {
                { true, true, true, false },
                { false, false, false, true },
            }
        );
        var options = new DivergenceOptions { Reduction = DivergenceReduction.Sequences, Temperature = 2 };
        var expected =
            (
                Divergences.KlDivergence(teacher[0, 2..5], student[0, ..3], null, 2)
                + Divergences.KlDivergence(teacher[1, 1..2], student[1, 3..4], null, 2)
            ) / 2;
        Check.Close(expected, Divergences.AlignedKlDivergence(teacher, teacherMask, student, studentMask, options), 1e-12);
        Check.Gradients(
            inputs => Divergences.AlignedKlDivergence(teacher, teacherMask, inputs[0], studentMask, options),
            [student]
        );
        Assert.Contains(
            "truncated",
            Assert
                .Throws<ArgumentException>(() =>
                    Divergences.AlignedKlDivergence(teacher, teacherMask, student, studentMask.logical_not(), options)
                )
                .Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void ProbabilityDistancesHaveTrueGradients()
    {
        var random = new RandomTensors(6);
        var (teacher, student) = (random.Normal(3, 4, 5), random.Normal(3, 4, 5));
        var options = new DivergenceOptions { Temperature = 1.5, Alignment = LabelAlignment.Shifted };
        Check.Gradients(inputs => Divergences.ProbabilitySquaredError(teacher, inputs[0], Ragged, options), [student]);
        Check.Gradients(inputs => Divergences.ProbabilityCosineDistance(teacher, inputs[0], Ragged, options), [student]);
        Assert.Equal(0.0, Divergences.ProbabilityCosineDistance(teacher, teacher, Ragged, options).item<double>(), 12);
    }

    [Fact]
    public void NonsenseIsRefused()
    {
        var (few, many) = (zeros(2, 3), zeros(2, 4));
        Assert.Contains(
            "Truncates",
            Assert.Throws<ArgumentException>(() => Divergences.KlDivergence(many, few, null)).Message,
            StringComparison.Ordinal
        );
        var truncating = new DivergenceOptions { TruncatesTeacherVocabulary = true };
        Assert.Equal(0.0, Divergences.KlDivergence(many, few, null, truncating).item<float>());
        Assert.Throws<ArgumentException>(() => Divergences.KlDivergence(few, many, null, truncating));
        Assert.Throws<ArgumentException>(() =>
            Divergences.KlDivergence(few, few, null, new DivergenceOptions { TopClasses = 0 })
        );
        Assert.Throws<ArgumentException>(() =>
            Divergences.KlDivergence(
                few,
                few,
                null,
                new DivergenceOptions { OmitsTeacherEntropy = true, Direction = DivergenceDirection.Reverse }
            )
        );
        Assert.Throws<ArgumentException>(() => Divergences.KlDivergence(few, few, ones(3, dtype: ScalarType.Bool)));
    }
}
