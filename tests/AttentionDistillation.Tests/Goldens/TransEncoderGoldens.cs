using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 31-trans-encoder.</summary>
internal static class TransEncoderGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["bi_labels"] = BiLabels,
            ["cross_labels"] = inputs => Named("labels", TransEncoder.CrossEncoderLabels(inputs["logits"])),
            ["symmetric_pairs"] = SymmetricPairs,
            ["cross_loss"] = inputs => CrossLoss(inputs, CrossEncoderLoss.BinaryCrossEntropy),
            ["cross_loss_mse"] = inputs => CrossLoss(inputs, CrossEncoderLoss.SquaredError),
            ["bi_loss"] = inputs => Named("loss", TransEncoder.BiEncoder(inputs["a"], inputs["b"], inputs["labels"])),
            ["mutual_labels"] = inputs => Named("labels", TransEncoder.MutualLabels(inputs["labels"])),
            ["correlations"] = Correlations,
            ["auc"] = Auc,
        };

    private static Dictionary<string, Tensor> Named(string name, Tensor value) => new() { [name] = value };

    private static Dictionary<string, Tensor> BiLabels(GoldenInputs inputs)
    {
        var mode = inputs.Text("mode", "cls") switch
        {
            "cls" => PoolingMode.Cls,
            "mean" => PoolingMode.Mean,
            "max" => PoolingMode.Max,
            "last" => PoolingMode.Last,
            var other => throw new NotSupportedException($"Unknown mode '{other}'."),
        };
        return Named(
            "labels",
            TransEncoder.BiEncoderLabels(
                inputs["hidden_a"],
                inputs.Optional("mask_a"),
                inputs["hidden_b"],
                inputs.Optional("mask_b"),
                mode
            )
        );
    }

    private static Dictionary<string, Tensor> SymmetricPairs(GoldenInputs inputs)
    {
        var (pair, swapped, labels) = TransEncoder.SymmetricPairs(inputs["labels"]);
        return new()
        {
            ["pair"] = pair,
            ["swapped"] = swapped,
            ["labels"] = labels,
        };
    }

    private static Dictionary<string, Tensor> CrossLoss(GoldenInputs inputs, CrossEncoderLoss loss) =>
        Named("loss", TransEncoder.CrossEncoder(inputs["logits"], inputs["labels"], loss, inputs.Flag("clamp", false)));

    // Other papers' files call the classes labels.
    private static Dictionary<string, Tensor> Auc(GoldenInputs inputs) =>
        Named("auc", tensor(RankMetrics.RocAuc(inputs["scores"], inputs.Optional("positive") ?? inputs["labels"])));

    private static Dictionary<string, Tensor> Correlations(GoldenInputs inputs) =>
        new()
        {
            ["pearson"] = tensor(RankMetrics.Pearson(inputs["x"], inputs["y"])),
            ["spearman"] = tensor(RankMetrics.Spearman(inputs["x"], inputs["y"])),
        };
}
