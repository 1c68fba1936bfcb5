using AttentionDistillation.Analysis;
using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Worlds.Signals;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 52-clst.</summary>
internal static class ClstGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["signal_distillation"] = SignalDistillation,
            ["conv_projection_attention"] = ConvolutionalAttention,
            ["gate_attention"] = Gates,
            ["dual_attention"] = Dual,
            ["constellation"] = inputs => new Dictionary<string, Tensor>
            {
                ["points"] = Constellation.Points(inputs.Text("name", "")),
            },
            ["root_raised_cosine"] = inputs => new Dictionary<string, Tensor> { ["taps"] = Taps(inputs) },
            ["linear_modulation"] = inputs => new Dictionary<string, Tensor>
            {
                ["signal"] = Modulation.Linear(
                    inputs["symbols"],
                    Constellation.Points(inputs.Text("name", "")),
                    Taps(inputs),
                    inputs.Integer("per_symbol"),
                    inputs.Integer("offset"),
                    inputs.Integer("length")
                ),
            },
            ["frequency_modulation"] = inputs => new Dictionary<string, Tensor>
            {
                ["signal"] = Modulation.Frequency(
                    inputs["symbols"],
                    inputs.Number("index", 0.5),
                    inputs.Integer("per_symbol"),
                    inputs.Integer("offset"),
                    inputs.Integer("length"),
                    inputs.Number("bandwidth"),
                    inputs.Integer("span")
                ),
            },
            ["radio_channel"] = inputs => new Dictionary<string, Tensor>
            {
                ["signal"] = RadioChannel.Apply(
                    inputs["signal"],
                    inputs["noise"],
                    inputs["snr_db"],
                    inputs["shift"],
                    inputs["phase"],
                    inputs.Optional("taps")
                ),
            },
            ["accuracy_by_snr"] = inputs =>
            {
                var found = SnrAccuracy.Of(inputs["logits"], inputs["labels"], inputs["snr_db"]);
                return new Dictionary<string, Tensor>
                {
                    ["levels"] = tensor(found.Levels.ToArray()),
                    ["accuracy"] = tensor(found.Accuracy.ToArray()),
                };
            },
        };

    private static Tensor Taps(GoldenInputs inputs) =>
        Modulation.RootRaisedCosine(inputs.Number("rolloff", 0.35), inputs.Integer("span"), inputs.Integer("per_symbol"));

    private static Dictionary<string, Tensor> SignalDistillation(GoldenInputs inputs)
    {
        var terms = Clst.Loss(
            inputs["teacher"],
            inputs["student"],
            inputs["labels"],
            inputs.Number("alpha", Clst.DefaultAlpha),
            inputs.Number("tau", Clst.DefaultTemperature)
        );
        return new()
        {
            ["loss"] = terms.Total,
            ["soft"] = terms[Clst.Soft],
            ["hard"] = terms[Clst.Hard],
        };
    }

    private static Dictionary<string, Tensor> ConvolutionalAttention(GoldenInputs inputs)
    {
        Tensor Projected(string name, long stride) =>
            ConvolutionalProjection.Project(
                inputs["x"],
                new(
                    inputs[name + "_depth_w"],
                    new(inputs[name + "_bn_w"], inputs[name + "_bn_b"], inputs[name + "_bn_mean"], inputs[name + "_bn_var"]),
                    inputs[name + "_point_w"]
                ),
                stride,
                training: false
            );
        long stride = inputs.Integer("stride_kv");
        var state = AttentionState.OfHeads(
            Projected("q", 1),
            Projected("k", stride),
            Projected("v", stride),
            inputs.Integer("heads")
        );
        var output = ConvolutionalProjection.Mix(state, inputs["out_w"], inputs.Optional("out_b"));
        return new()
        {
            ["output"] = output,
            ["attention"] = state.Probabilities(),
            ["loss"] = (output * inputs["probe"]).sum(),
        };
    }

    private static Dictionary<string, Tensor> Gates(GoldenInputs inputs)
    {
        var (output, channel, position) = GateAttention.Apply(
            inputs["x"],
            inputs["reduce_w"],
            inputs["expand_w"],
            inputs["spatial_w"]
        );
        return new()
        {
            ["output"] = output,
            ["channel"] = channel,
            ["position"] = position,
            ["loss"] = (output * inputs["probe"]).sum(),
        };
    }

    private static Dictionary<string, Tensor> Dual(GoldenInputs inputs)
    {
        var (output, positions, channels) = DualAttention.Apply(
            inputs["x"],
            inputs["wq"],
            inputs["wk"],
            inputs["wv"],
            inputs["out_w"],
            inputs.Optional("out_b"),
            inputs.Integer("heads")
        );
        return new()
        {
            ["output"] = output,
            ["position_attention"] = positions.Probabilities(),
            ["channel_attention"] = channels,
            ["loss"] = (output * inputs["probe"]).sum(),
        };
    }
}
