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
            ["mutual_learning"] = MutualLearning,
            ["calibration"] = MeasureCalibration,
        };

    private static BdKdOptions Options(GoldenInputs inputs) =>
        new()
        {
            Temperature = inputs.Number("tau", 1.0),
            Boost = inputs.Number("boost", 2.0),
            DistillationWeight = inputs.Number("kd_weight", 1.0),
            TeacherDirection =
                inputs.Text("direction", "reverse") == "reverse" ? DivergenceDirection.Reverse : DivergenceDirection.Forward,
        };

    private static Dictionary<string, Tensor> Student(GoldenInputs inputs)
    {
        var options = Options(inputs);
        var terms = BdKd.StudentLoss(inputs["student"], inputs["teacher"], inputs["labels"], options);
        var samples = BdKd.Samples(inputs["student"], inputs["teacher"], options);
        return new()
        {
            ["loss"] = terms.Total,
            ["ce"] = terms["labels"],
            ["kd"] = terms["divergence"],
            ["forward"] = samples.Forward,
            ["reverse"] = samples.Reverse,
            ["entropy_student"] = samples.StudentEntropy,
            ["entropy_teacher"] = samples.TeacherEntropy,
            ["w_forward"] = samples.ForwardWeight,
            ["w_reverse"] = samples.ReverseWeight,
        };
    }

    private static Dictionary<string, Tensor> Teacher(GoldenInputs inputs)
    {
        var options = Options(inputs);
        var terms = BdKd.TeacherLoss(inputs["teacher"], inputs["student"], inputs["labels"], options);
        var rows = Divergences.KlRows(
            inputs["student"],
            inputs["teacher"],
            new DivergenceOptions
            {
                Temperature = options.Temperature,
                ScalesByTemperatureSquared = false,
                Direction =
                    options.TeacherDirection == DivergenceDirection.Reverse
                        ? DivergenceDirection.Forward
                        : DivergenceDirection.Reverse,
            }
        );
        return new()
        {
            ["loss"] = terms.Total,
            ["ce"] = terms["labels"],
            ["kd"] = terms["divergence"],
            ["kl"] = rows,
        };
    }

    private static Dictionary<string, Tensor> Joint(GoldenInputs inputs)
    {
        var options = Options(inputs);
        var student = BdKd.StudentLoss(inputs["student"], inputs["teacher"].detach(), inputs["labels"], options).Total;
        var teacher = BdKd.TeacherLoss(inputs["teacher"], inputs["student"].detach(), inputs["labels"], options).Total;
        return new()
        {
            ["loss"] = student + teacher,
            ["student"] = student,
            ["teacher"] = teacher,
        };
    }

    private static Dictionary<string, Tensor> MutualLearning(GoldenInputs inputs)
    {
        double temperature = inputs.Number("tau", 1.0),
            weight = inputs.Number("kd_weight", 1.0);
        var student = BdKd.MutualLearning(inputs["student"], inputs["teacher"], inputs["labels"], temperature, weight).Total;
        var teacher = BdKd.MutualLearning(inputs["teacher"], inputs["student"], inputs["labels"], temperature, weight).Total;
        return new()
        {
            ["loss"] = student + teacher,
            ["student"] = student,
            ["teacher"] = teacher,
        };
    }

    private static Dictionary<string, Tensor> MeasureCalibration(GoldenInputs inputs)
    {
        var found = Calibration.Of(inputs["logits"], inputs["labels"], inputs.Integer("bins"));
        return new()
        {
            ["ece"] = tensor(found.Expected),
            ["mce"] = tensor(found.Maximum),
            ["accuracy"] = tensor(found.Accuracy),
            ["nll"] = tensor(found.NegativeLogLikelihood),
            ["brier"] = tensor(found.Brier),
            ["bin_accuracy"] = tensor(found.Bins.Select(bin => bin.Accuracy).ToArray()),
            ["bin_confidence"] = tensor(found.Bins.Select(bin => bin.Confidence).ToArray()),
            ["bin_count"] = tensor(found.Bins.Select(bin => (double)bin.Count).ToArray()),
        };
    }
}
