using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 18-bd-kd.</summary>
internal static class BdKdGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["bd_kd_student"] = Student,
            ["bd_kd_teacher"] = Teacher,
            ["bd_kd_joint"] = Joint,
            ["mutual_learning"] = Mutual,
            ["calibration"] = CalibrationOf,
        };

    private static BdKdOptions Options(GoldenInputs inputs) =>
        new()
        {
            Temperature = inputs.Number("tau", 1.0),
            Boost = inputs.Number("boost", 2.0),
            DistillationWeight = inputs.Number("kd_weight", 1.0),
            TeacherDirection = inputs.Text("direction", "reverse") switch
            {
                "reverse" => DivergenceDirection.Reverse,
                "forward" => DivergenceDirection.Forward,
                var other => throw new NotSupportedException($"Unknown direction '{other}'."),
            },
        };

    private static Dictionary<string, Tensor> Student(GoldenInputs inputs)
    {
        var loss = BdKd.StudentLoss(inputs["student"], inputs["teacher"], inputs["labels"], Options(inputs));
        return new()
        {
            ["loss"] = loss.Terms.Total,
            ["ce"] = loss.Terms[BdKd.LabelTerm],
            ["kd"] = loss.Terms[BdKd.DistillationTerm],
            ["forward"] = loss.Forward,
            ["reverse"] = loss.Reverse,
            ["entropy_student"] = loss.StudentEntropy,
            ["entropy_teacher"] = loss.TeacherEntropy,
            ["w_forward"] = loss.ForwardWeight,
            ["w_reverse"] = loss.ReverseWeight,
        };
    }

    private static Dictionary<string, Tensor> Teacher(GoldenInputs inputs)
    {
        var options = Options(inputs);
        var terms = BdKd.TeacherLoss(inputs["student"], inputs["teacher"], inputs["labels"], options);
        return new()
        {
            ["loss"] = terms.Total,
            ["ce"] = terms[BdKd.LabelTerm],
            ["kd"] = terms[BdKd.DistillationTerm],
            ["kl"] = Divergences.KlRows(
                inputs["teacher"],
                inputs["student"],
                new DivergenceOptions
                {
                    Temperature = options.Temperature,
                    ScalesByTemperatureSquared = false,
                    Direction = options.TeacherDirection,
                }
            ),
        };
    }

    private static Dictionary<string, Tensor> Joint(GoldenInputs inputs) =>
        Pair(BdKd.JointLoss(inputs["student"], inputs["teacher"], inputs["labels"], Options(inputs)));

    private static Dictionary<string, Tensor> Mutual(GoldenInputs inputs) =>
        Pair(
            BdKd.MutualLearning(
                inputs["student"],
                inputs["teacher"],
                inputs["labels"],
                inputs.Number("tau", 1.0),
                inputs.Number("kd_weight", 1.0)
            )
        );

    private static Dictionary<string, Tensor> Pair(LossTerms terms) =>
        new()
        {
            ["loss"] = terms.Total,
            ["student"] = terms["student"],
            ["teacher"] = terms["teacher"],
        };

    private static Dictionary<string, Tensor> CalibrationOf(GoldenInputs inputs)
    {
        var found = Calibration.OfLogits(inputs["logits"], inputs["labels"], null, inputs.Integer("bins"));
        Tensor Bins(Func<CalibrationBin, double> of) => tensor(found.Bins.Select(of).ToArray());
        return new()
        {
            ["ece"] = tensor(found.ExpectedError),
            ["mce"] = tensor(found.MaximumError),
            ["accuracy"] = tensor(found.Accuracy),
            ["nll"] = tensor(found.NegativeLogLikelihood),
            ["brier"] = tensor(found.Brier),
            ["bin_accuracy"] = Bins(bin => bin.Accuracy),
            ["bin_confidence"] = Bins(bin => bin.Confidence),
            ["bin_count"] = tensor(found.Bins.Select(bin => bin.Count).ToArray()),
        };
    }
}
