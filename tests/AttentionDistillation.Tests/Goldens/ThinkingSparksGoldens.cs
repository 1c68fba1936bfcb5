using AttentionDistillation.Analysis;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Methods.Circuits;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 20-thinking-sparks.</summary>
internal static class ThinkingSparksGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["eap_ig"] = Attribution,
            ["circuit"] = Selection,
            ["circuit_run"] = Run,
            ["head_importance"] = Importance,
            ["importance_shift"] = Shift,
            ["emergence"] = Emergence,
            ["head_intervention"] = Intervention,
            ["grpo"] = Grpo,
            ["coverage"] = Coverage,
        };

    private static PlainDecoder Decoder(GoldenInputs inputs) =>
        new(inputs["wq"], inputs["wk"], inputs["wv"], inputs["wo"], inputs["w1"], inputs["w2"], inputs["u"]);

    private static Dictionary<string, Tensor> Attribution(GoldenInputs inputs)
    {
        var scores = EdgeAttribution.Score(
            Decoder(inputs),
            inputs["clean"].unsqueeze(0),
            inputs["corrupt"].unsqueeze(0),
            inputs.Has("steps") ? inputs.Integer("steps") : 5,
            inputs.Has("first") ? inputs.Integer("first") : 0
        );
        return new()
        {
            ["scores"] = scores.Scores[0],
            ["clean_logits"] = scores.CleanLogits[0],
            ["corrupt_logits"] = scores.CorruptedLogits[0],
            ["kl_corrupt"] = scores.CorruptedKl[0],
        };
    }

    private static Dictionary<string, Tensor> Selection(GoldenInputs inputs)
    {
        var (layers, heads) = (inputs.Integer("layers"), inputs.Integer("heads"));
        var circuit = inputs.Number("threshold") is { } threshold
            ? Circuit.Above(inputs["scores"], layers, heads, threshold)
            : Circuit.Top(inputs["scores"], layers, heads, inputs.Integer("top_n"));
        return new()
        {
            ["edges"] = circuit.Edges,
            ["nodes"] = circuit.Nodes,
            ["heads"] = circuit.Heads,
        };
    }

    private static Dictionary<string, Tensor> Run(GoldenInputs inputs)
    {
        var outcome = CircuitRun.Run(
            Decoder(inputs),
            inputs["clean"].unsqueeze(0),
            inputs["corrupt"].unsqueeze(0),
            inputs["keep"]
        );
        return new()
        {
            ["logits"] = outcome.Logits[0],
            ["kl"] = outcome.Kl[0],
            ["kl_corrupt"] = outcome.CorruptedKl[0],
        };
    }

    private static Dictionary<string, Tensor> Importance(GoldenInputs inputs)
    {
        var raw = HeadImportance.Raw(inputs["scores"], inputs["edges"], inputs.Integer("layers"), inputs.Integer("heads"));
        return new() { ["raw"] = raw, ["normalized"] = HeadImportance.Normalised(raw) };
    }

    private static Dictionary<string, Tensor> Shift(GoldenInputs inputs)
    {
        var each = HeadImportance.Shift(inputs["pre"], inputs["post"]);
        return new() { ["each"] = each, ["mean"] = each.mean([0]) };
    }

    private static Dictionary<string, Tensor> Emergence(GoldenInputs inputs)
    {
        var emergence = new HeadEmergence(inputs["base"], inputs["checkpoints"]);
        return new()
        {
            ["emergent"] = emergence.Emergent,
            ["emergent_count"] = tensor([.. emergence.EmergentCount]),
            ["kept_count"] = tensor([.. emergence.KeptCount]),
            ["first_seen"] = emergence.FirstSeen,
            ["cohorts"] = emergence.Cohorts,
            ["frequency"] = emergence.Frequency,
        };
    }

    private static Dictionary<string, Tensor> Intervention(GoldenInputs inputs)
    {
        var y = ThinkingSparks.Intervene(inputs["head_outputs"], inputs["factor"], inputs.Optional("mean"));
        return new() { ["y"] = y, ["loss"] = y.square().mean() };
    }

    private static Dictionary<string, Tensor> Grpo(GoldenInputs inputs)
    {
        var options = new GroupRelativePolicyOptions
        {
            Clip = inputs.Number("clip", 0.2),
            Beta = inputs.Number("beta", 0.04),
            IsUnbiased = inputs.Flag("unbiased", true),
            DeviationEpsilon = inputs.Number("std_eps", 0.0),
        };
        var advantages = GroupRelativePolicy.Advantages(inputs["rewards"], options);
        var mask = inputs.Optional("mask");
        return new()
        {
            ["advantage"] = advantages,
            ["loss"] = GroupRelativePolicy.Loss(inputs["new"], inputs["old"], inputs["ref"], advantages, mask, options),
            ["kl"] = GroupRelativePolicy.KlEstimate(inputs["new"], inputs["ref"], mask),
        };
    }

    private static Dictionary<string, Tensor> Coverage(GoldenInputs inputs)
    {
        int[] counts = [.. inputs.Numbers("ks")!.Select(k => (int)k)];
        var correct = inputs["correct"];
        return new()
        {
            ["pass"] = tensor([.. counts.Select(k => SamplingMetrics.PassAtK(correct, k))]),
            ["success"] = tensor([.. counts.Select(k => SamplingMetrics.SuccessAtK(correct, k))]),
        };
    }
}
