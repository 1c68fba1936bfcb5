using AttentionDistillation.Analysis;
using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 22-efficient-transformer-kd.</summary>
internal static class EfficientTransformerKdGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["distil_triple"] = DistilTriple,
            ["longformer_attention"] = Longformer,
            ["bigbird_attention"] = BigBird,
            ["lsg_attention"] = Lsg,
            ["iterative_pinv"] = IterativeInverse,
            ["nystrom_attention"] = Nystrom,
            ["extend_positions"] = ExtendPositions,
            ["entity_f1"] = EntityF1,
        };

    private static Dictionary<string, Tensor> DistilTriple(GoldenInputs inputs)
    {
        var standard = new DistilTripleOptions();
        var terms = EfficientTransformerKd.Loss(
            inputs["t_logits"],
            inputs["s_logits"],
            inputs["t_hidden"],
            inputs["s_hidden"],
            inputs["labels"],
            inputs.Optional("mask"),
            new DistilTripleOptions
            {
                Temperature = inputs.Number("temperature", standard.Temperature),
                SoftTargets = inputs.Number("a_ce", standard.SoftTargets),
                Labels = inputs.Number("a_mlm", standard.Labels),
                Cosine = inputs.Number("a_cos", standard.Cosine),
                LabelledOnly = inputs.Flag("masked_only", false),
            }
        );
        return new()
        {
            ["loss"] = terms.Total,
            ["ce"] = terms[EfficientTransformerKd.SoftTargetTerm],
            ["mlm"] = terms[EfficientTransformerKd.LabelTerm],
            ["cos"] = terms[EfficientTransformerKd.CosineTerm],
        };
    }

    private static Dictionary<string, Tensor> Longformer(GoldenInputs inputs) =>
        Mixed(
            LongformerAttention.Mix(
                inputs["q"],
                inputs["k"],
                inputs["v"],
                inputs["qg"],
                inputs["kg"],
                inputs["vg"],
                inputs["global_mask"],
                inputs.Optional("mask"),
                inputs.Integer("window")
            )
        );

    private static Dictionary<string, Tensor> BigBird(GoldenInputs inputs)
    {
        var blocks = inputs["random_blocks"];
        IReadOnlyList<IReadOnlyList<long>> random =
        [
            .. Enumerable
                .Range(0, (int)blocks.size(0))
                .Select(row => (IReadOnlyList<long>)[.. blocks[row].contiguous().data<long>()]),
        ];
        return Mixed(
            BigBirdAttention.Mix(inputs["q"], inputs["k"], inputs["v"], random, inputs.Optional("mask"), inputs.Integer("block"))
        );
    }

    private static Dictionary<string, Tensor> Lsg(GoldenInputs inputs) =>
        Mixed(
            LsgAttention.Mix(
                inputs["q"],
                inputs["k"],
                inputs["v"],
                inputs.Optional("mask"),
                inputs.Integer("block"),
                inputs.Integer("factor"),
                inputs.Text("sparsity", "pooling") switch
                {
                    "pooling" => LsgSparsity.Pooling,
                    "norm" => LsgSparsity.Norm,
                    "stride" => LsgSparsity.Stride,
                    var other => throw new NotSupportedException($"Unknown sparsity '{other}'."),
                }
            )
        );

    private static Dictionary<string, Tensor> IterativeInverse(GoldenInputs inputs)
    {
        var inverse = NystromAttention.PseudoInverse(
            nn.functional.softmax(inputs["a"], -1),
            inputs.Has("iterations") ? inputs.Integer("iterations") : 6,
            inputs.Flag("per_matrix", false)
        );
        return new() { ["x"] = inverse, ["loss"] = inverse.square().mean() };
    }

    private static Dictionary<string, Tensor> Nystrom(GoldenInputs inputs)
    {
        var options = new NystromOptions(inputs.Integer("landmarks"))
        {
            Iterations = inputs.Has("iterations") ? inputs.Integer("iterations") : 6,
            PerMatrix = inputs.Flag("per_matrix", false),
        };
        var mask = inputs.Optional("mask");
        var outputs = Mixed(NystromAttention.Mix(inputs["q"], inputs["k"], inputs["v"], mask, options, inputs.Optional("conv")));
        outputs["kernel2"] = NystromAttention.LandmarkKernel(inputs["q"], inputs["k"], mask, options);
        return outputs;
    }

    private static Dictionary<string, Tensor> ExtendPositions(GoldenInputs inputs) =>
        new()
        {
            ["table"] = EfficientTransformerKd.ExtendPositions(
                inputs["table"],
                inputs.Integer("length"),
                inputs.Has("offset") ? inputs.Integer("offset") : EfficientTransformerKd.RobertaOffset
            ),
        };

    private static Dictionary<string, Tensor> EntityF1(GoldenInputs inputs)
    {
        var score = SpanMetrics.EntityF1(inputs["pred"], inputs["gold"], inputs.Optional("mask"));
        return new()
        {
            ["precision"] = tensor(score.Precision),
            ["recall"] = tensor(score.Recall),
            ["f1"] = tensor(score.F1),
            ["predicted"] = tensor(score.Predicted),
            ["gold"] = tensor(score.Gold),
            ["correct"] = tensor(score.Correct),
        };
    }

    // The goldens' loss: the mean over batch, heads and positions of the squared length of each output vector.
    private static Dictionary<string, Tensor> Mixed(Tensor y) => new() { ["y"] = y, ["loss"] = y.square().sum(-1).mean() };
}
