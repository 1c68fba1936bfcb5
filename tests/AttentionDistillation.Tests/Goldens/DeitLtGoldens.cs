using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Training;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 34-deit-lt.</summary>
internal static class DeitLtGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["long_tail_counts"] = LongTailCounts,
            ["effective_weights"] = EffectiveWeights,
            ["deit_lt_loss"] = Loss,
            ["deit_soft_loss"] = SoftLoss,
            ["ldam_loss"] = MarginLoss,
            ["mix_batch"] = Mix,
            ["sam_step"] = SharpnessAwareStep,
            ["group_accuracy"] = Groups,
            ["expert_diversity"] = Diversity,
            ["feature_rank"] = Rank,
            ["attention_rollout"] = Rollout,
        };

    private static Dictionary<string, Tensor> LongTailCounts(GoldenInputs inputs)
    {
        var kind = inputs.Text("kind", "exp") switch
        {
            "exp" => LongTailKind.Exponential,
            "step" => LongTailKind.Step,
            var other => throw new NotSupportedException($"Unknown kind '{other}'."),
        };
        int[] counts = DeitLt.LongTailCounts(
            inputs.Integer("largest"),
            inputs.Integer("classes"),
            inputs.Number("ratio", 1.0),
            kind
        );
        return new() { ["counts"] = tensor(counts.Select(count => (long)count).ToArray()) };
    }

    private static Dictionary<string, Tensor> EffectiveWeights(GoldenInputs inputs) =>
        new()
        {
            ["weights"] = ClassBalance.EffectiveWeights(
                [.. inputs["counts"].to(ScalarType.Int64).data<long>()],
                inputs.Number("beta", ClassBalance.DefaultBeta)
            ),
        };

    private static Dictionary<string, Tensor> Loss(GoldenInputs inputs)
    {
        var (terms, labels) = DeitLt.Loss(
            inputs["cls"],
            inputs["dist"],
            inputs["target"],
            inputs["teacher"],
            inputs.Optional("weights"),
            inputs.Number("alpha", 0.5)
        );
        return new()
        {
            ["loss"] = terms.Total,
            ["base"] = terms[DeitLt.LabelTerm],
            ["distil"] = terms[DeitLt.DistillationTerm],
            ["teacher_label"] = labels,
        };
    }

    private static Dictionary<string, Tensor> SoftLoss(GoldenInputs inputs)
    {
        var terms = DeitLt.SoftLoss(
            inputs["cls"],
            inputs["dist"],
            inputs["target"],
            inputs["teacher"],
            inputs.Number("alpha", 0.5),
            inputs.Number("tau", 3.0)
        );
        return new() { ["loss"] = terms.Total, ["distil"] = terms[DeitLt.DistillationTerm] };
    }

    private static Dictionary<string, Tensor> MarginLoss(GoldenInputs inputs) =>
        new()
        {
            ["loss"] = ClassBalance.MarginLoss(
                inputs["logits"],
                inputs["labels"],
                inputs["counts"],
                inputs.Optional("weights"),
                inputs.Number("max_margin", 0.5),
                inputs.Number("scale", 30.0)
            ),
        };

    private static Dictionary<string, Tensor> Mix(GoldenInputs inputs)
    {
        int classes = inputs.Integer("classes");
        double smoothing = inputs.Number("smoothing", 0.1);
        var (images, labels) = (inputs["images"], inputs["labels"]);
        Tensor mixed,
            targets;
        if (inputs.Optional("box") is { } corners)
        {
            int[] at = [.. corners.to(ScalarType.Int32).data<int>()];
            (mixed, targets) = ImageMixing.CutMix(images, labels, classes, new PixelBox(at[0], at[1], at[2], at[3]), smoothing);
        }
        else
            (mixed, targets) = ImageMixing.Mixup(images, labels, classes, inputs.Number("lam", 1.0), smoothing);
        return new() { ["images"] = mixed, ["targets"] = targets };
    }

    private static Dictionary<string, Tensor> SharpnessAwareStep(GoldenInputs inputs)
    {
        using var weight = new Parameter(inputs["weight"].detach().clone());
        using var bias = new Parameter(inputs["bias"].detach().clone());
        var (here, perturbed) = SharpnessAware.Gradients(
            [weight, bias],
            _ => TokenPrediction.CrossEntropy(nn.functional.linear(inputs["x"], weight, bias), inputs["labels"]),
            inputs.Number("rho", SharpnessAware.DefaultRadius)
        );
        double rate = inputs.Number("lr", 0.0);
        return new()
        {
            ["loss_here"] = here,
            ["loss_perturbed"] = perturbed,
            ["next_weight"] = weight.detach() - rate * weight.grad!,
            ["next_bias"] = bias.detach() - rate * bias.grad!,
        };
    }

    private static Dictionary<string, Tensor> Groups(GoldenInputs inputs)
    {
        int[] bounds = [.. inputs.Numbers("bounds")!.Select(bound => (int)bound)];
        var outputs = new Dictionary<string, Tensor>();
        void Add(string name, Tensor logits)
        {
            var found = GroupAccuracy.Of(logits, inputs["labels"], bounds);
            outputs[$"{name}_overall"] = tensor(found.Overall);
            outputs[$"{name}_groups"] = tensor(found.Groups.ToArray());
        }
        Add("cls", inputs["cls"]);
        Add("dist", inputs["dist"]);
        Add("mean", (inputs["cls"] + inputs["dist"]) / 2);
        return outputs;
    }

    private static Dictionary<string, Tensor> Diversity(GoldenInputs inputs) =>
        new() { ["diversity"] = tensor(DeitLt.ExpertDiversity(inputs["cls_token"], inputs["dist_token"])) };

    private static Dictionary<string, Tensor> Rank(GoldenInputs inputs)
    {
        var (rank, spectrum) = FeatureRank.Of(
            inputs["features"],
            inputs.Number("energy", FeatureRank.DefaultEnergy),
            inputs.Flag("centre", false)
        );
        return new() { ["rank"] = tensor(rank), ["spectrum"] = spectrum };
    }

    private static Dictionary<string, Tensor> Rollout(GoldenInputs inputs)
    {
        var maps = inputs["attention"];
        return new()
        {
            ["rollout"] = AttentionRollout.Compute(
                [.. Enumerable.Range(0, (int)maps.size(0)).Select(layer => maps[layer])],
                null,
                inputs.Number("residual", AttentionRollout.ResidualShare)
            ),
        };
    }
}
