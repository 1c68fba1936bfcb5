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
            ["long_tail_counts"] = Counts,
            ["effective_weights"] = Weights,
            ["deit_lt_loss"] = Loss,
            ["deit_soft_loss"] = SoftLoss,
            ["ldam_loss"] = Ldam,
            ["mix_batch"] = Mix,
            ["sam_step"] = Sam,
            ["group_accuracy"] = Groups,
            ["expert_diversity"] = inputs => new Dictionary<string, Tensor>
            {
                ["diversity"] = tensor(FeatureStatistics.Diversity(inputs["cls_token"], inputs["dist_token"])),
            },
            ["feature_rank"] = Rank,
            ["attention_rollout"] = Rollout,
        };

    private static Dictionary<string, Tensor> Counts(GoldenInputs inputs)
    {
        int largest = inputs.Integer("largest"),
            classes = inputs.Integer("classes");
        double ratio = inputs.Number("ratio")!.Value;
        int[] counts =
            inputs.Text("kind", "exp") == "step"
                ? LongTail.Step(largest, classes, ratio)
                : LongTail.Exponential(largest, classes, ratio);
        return new() { ["counts"] = tensor(counts.Select(count => (long)count).ToArray()) };
    }

    private static Dictionary<string, Tensor> Weights(GoldenInputs inputs) =>
        new()
        {
            ["weights"] = tensor(
                ClassBalance.EffectiveNumberWeights([.. inputs["counts"].data<long>()], inputs.Number("beta", 0.9999))
            ),
        };

    private static Dictionary<string, Tensor> Loss(GoldenInputs inputs)
    {
        var terms = DeitLt.Loss(
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
            ["base"] = terms["labels"],
            ["distil"] = terms["distillation"],
            ["teacher_label"] = DeitLt.HardLabels(inputs["teacher"]),
        };
    }

    private static Dictionary<string, Tensor> SoftLoss(GoldenInputs inputs)
    {
        var terms = DeitLt.SoftLoss(
            inputs["cls"],
            inputs["dist"],
            inputs["target"],
            inputs["teacher"],
            inputs.Number("alpha")!.Value,
            inputs.Number("tau")!.Value
        );
        return new() { ["loss"] = terms.Total, ["distil"] = terms["distillation"] };
    }

    private static Dictionary<string, Tensor> Ldam(GoldenInputs inputs) =>
        new()
        {
            ["loss"] = ClassBalance.LdamLoss(
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
        double smoothing = inputs.Number("smoothing", 0.0);
        var (images, targets) = inputs.Optional("box") is { } box
            ? ImageMixing.CutMix(inputs["images"], inputs["labels"], classes, Box([.. box.data<long>()]), smoothing)
            : ImageMixing.Mixup(inputs["images"], inputs["labels"], classes, inputs.Number("lam")!.Value, smoothing);
        return new() { ["images"] = images, ["targets"] = targets };
    }

    private static PixelBox Box(long[] edges) => new((int)edges[0], (int)edges[1], (int)edges[2], (int)edges[3]);

    private static Dictionary<string, Tensor> Sam(GoldenInputs inputs)
    {
        var weight = new Parameter(inputs["weight"].detach().clone());
        var bias = new Parameter(inputs["bias"].detach().clone());
        var (here, perturbed) = SharpnessAware.Gradients(
            [weight, bias],
            () => nn.functional.cross_entropy(nn.functional.linear(inputs["x"], weight, bias), inputs["labels"]),
            inputs.Number("rho", 0.05)
        );
        double rate = inputs.Number("lr")!.Value;
        return new()
        {
            ["loss_here"] = tensor(here),
            ["loss_perturbed"] = tensor(perturbed),
            ["next_weight"] = weight.detach() - rate * weight.grad!,
            ["next_bias"] = bias.detach() - rate * bias.grad!,
        };
    }

    private static Dictionary<string, Tensor> Groups(GoldenInputs inputs)
    {
        int[] bounds = inputs.Integers("bounds");
        var results = new Dictionary<string, Tensor>();
        foreach (
            var (name, logits) in new[]
            {
                ("cls", inputs["cls"]),
                ("dist", inputs["dist"]),
                ("mean", (inputs["cls"] + inputs["dist"]) / 2),
            }
        )
        {
            var found = ClassGroups.Of(logits, inputs["labels"], bounds);
            results[name + "_overall"] = tensor(found.Overall);
            results[name + "_groups"] = tensor(found.Groups.ToArray());
        }
        return results;
    }

    private static Dictionary<string, Tensor> Rank(GoldenInputs inputs)
    {
        var (rank, spectrum) = FeatureStatistics.EnergyRank(
            inputs["features"],
            inputs.Number("energy", 0.99),
            inputs.Flag("centre", false)
        );
        return new() { ["rank"] = tensor((long)rank), ["spectrum"] = tensor(spectrum) };
    }

    private static Dictionary<string, Tensor> Rollout(GoldenInputs inputs)
    {
        var attention = inputs["attention"];
        Tensor[] layers = [.. Enumerable.Range(0, (int)attention.size(0)).Select(layer => attention[layer])];
        return new() { ["rollout"] = AttentionRollout.Compute(layers, null, inputs.Number("residual", 0.5)) };
    }
}
