using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 54-map-at-k-self-kd.</summary>
internal static class MapAtKGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["qa_kl"] = QaKl,
            ["map_at_k"] = MapAtK,
            ["skd"] = Skd,
            ["xlt_pairs"] = Pairs,
            ["qa_best_spans"] = BestSpans,
            ["qa_overlap"] = Overlap,
        };

    private static MapAtKOptions Options(GoldenInputs inputs)
    {
        var defaults = new MapAtKOptions();
        return new()
        {
            K = inputs.Has("k") ? inputs.Integer("k") : defaults.K,
            Context = inputs.Has("context") ? inputs.Integer("context") : defaults.Context,
            Score = inputs.Text("form", "code") switch
            {
                "code" => RankScore.Code,
                "mrr" => RankScore.ReciprocalRank,
                "ap" => RankScore.AveragePrecision,
                "none" => RankScore.None,
                var other => throw new NotSupportedException($"Unknown form '{other}'."),
            },
            Temperature = inputs.Number("temperature", defaults.Temperature),
            Direction = inputs.Text("kind", "fw") switch
            {
                "fw" => DivergenceDirection.Forward,
                "rv" => DivergenceDirection.Reverse,
                "sym" => DivergenceDirection.Symmetric,
                var other => throw new NotSupportedException($"Unknown kind '{other}'."),
            },
            CrossEntropyWeight = inputs.Number("alpha_ce", defaults.CrossEntropyWeight),
        };
    }

    private static Dictionary<string, Tensor> QaKl(GoldenInputs inputs)
    {
        var options = Options(inputs);
        return new()
        {
            ["loss"] = SpanPrediction
                .DivergenceRows(
                    inputs["teacher"],
                    inputs["student"],
                    inputs.Optional("mask"),
                    options.Temperature,
                    options.Direction
                )
                .mean(),
        };
    }

    private static Dictionary<string, Tensor> MapAtK(GoldenInputs inputs)
    {
        var score = MapAtKSelfDistillation.Coefficient(
            inputs["start_logits"],
            inputs["end_logits"],
            inputs["start"],
            inputs["end"],
            Options(inputs)
        );
        return new()
        {
            ["coefficient"] = score.Coefficient,
            ["start"] = score.Start,
            ["end"] = score.End,
        };
    }

    private static Dictionary<string, Tensor> Skd(GoldenInputs inputs)
    {
        var terms = MapAtKSelfDistillation.Loss(
            inputs["t_start"],
            inputs["t_end"],
            inputs["s_start"],
            inputs["s_end"],
            inputs["start"],
            inputs["end"],
            inputs.Optional("mask"),
            Options(inputs)
        );
        return new()
        {
            ["ce"] = terms["cross-entropy"],
            ["kl"] = terms["divergence"],
            ["coefficient"] = terms["coefficient"],
            ["loss"] = terms.Total,
        };
    }

    private static Dictionary<string, Tensor> Pairs(GoldenInputs inputs)
    {
        var (question, context) = MapAtKSelfDistillation.LanguagePairs(inputs["languages"]);
        return new() { ["question"] = question, ["context"] = context };
    }

    private static Dictionary<string, Tensor> BestSpans(GoldenInputs inputs) =>
        new()
        {
            ["spans"] = SpanMetrics.BestSpans(
                inputs["start_logits"],
                inputs["end_logits"],
                inputs.Optional("valid"),
                inputs.Has("n_best") ? inputs.Integer("n_best") : 20,
                inputs.Has("max_length") ? inputs.Integer("max_length") : 30
            ),
        };

    private static Dictionary<string, Tensor> Overlap(GoldenInputs inputs)
    {
        var score = SpanMetrics.Overlap(inputs["pred"], inputs["gold"]);
        return new() { ["f1"] = tensor(score.F1), ["exact"] = tensor(score.ExactMatch) };
    }
}
