using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Models.Slicing;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 10-autodistil.</summary>
internal static class AutoDistilGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["autodistil_relations"] = Relations,
            ["elastic_linear"] = ElasticLinear,
            ["elastic_layer_norm"] = ElasticLayerNorm,
            ["elastic_kept_layers"] = KeptLayers,
            ["elastic_block"] = ElasticBlock,
            ["autodistil_cost"] = Cost,
            ["autodistil_space"] = Space,
            ["autodistil_sandwich"] = Sandwich,
        };

    private static Dictionary<string, Tensor> Relations(GoldenInputs inputs)
    {
        AttentionState State(string model) =>
            new(
                inputs[model + "q"].unsqueeze(1),
                inputs[model + "k"].unsqueeze(1),
                inputs[model + "v"].unsqueeze(1),
                inputs.Optional("mask")
            );
        var options = new AutoDistilOptions
        {
            RelationHeads = inputs.Has("relation_heads") ? inputs.Integer("relation_heads") : 12,
            Form = inputs.Text("form", "mse-scores") switch
            {
                "mse-scores" => AutoDistilForm.ScoresMeanSquaredError,
                "kl" => AutoDistilForm.KlDivergence,
                var other => throw new NotSupportedException($"Unknown form '{other}'."),
            },
        };
        var terms = AutoDistil.Loss(State("t"), State("s"), options);
        return new()
        {
            ["loss"] = terms.Total,
            ["qq"] = terms["qq"],
            ["kk"] = terms["kk"],
            ["vv"] = terms["vv"],
        };
    }

    private static Dictionary<string, Tensor> ElasticLinear(GoldenInputs inputs)
    {
        var y = ElasticLayers.Linear(inputs["x"], inputs["weight"], inputs.Optional("bias"), inputs.Integer("out_features"));
        return new() { ["y"] = y, ["loss"] = y.square().mean() };
    }

    private static Dictionary<string, Tensor> ElasticLayerNorm(GoldenInputs inputs)
    {
        var y = ElasticLayers.LayerNorm(inputs["x"], inputs["weight"], inputs["bias"], inputs.Number("eps", 1e-12));
        return new() { ["y"] = y, ["loss"] = y.pow(3).mean() };
    }

    private static Dictionary<string, Tensor> KeptLayers(GoldenInputs inputs) =>
        new() { ["kept"] = Numbers(LayerSelection.EvenlySpaced(inputs.Integer("layers"), inputs.Integer("depth"))) };

    private static Dictionary<string, Tensor> ElasticBlock(GoldenInputs inputs)
    {
        (Tensor, Tensor) Layer(string weight, string bias) => (inputs[weight], inputs[bias]);
        long width = inputs["x"].size(2);
        var y = ElasticLayers.Block(
            inputs["x"],
            new ElasticBlockWeights(
                Layer("wq", "bq"),
                Layer("wk", "bk"),
                Layer("wv", "bv"),
                Layer("wo", "bo"),
                Layer("g1", "b1"),
                Layer("w1", "c1"),
                Layer("w2", "c2"),
                Layer("g2", "b2")
            ),
            inputs.Integer("heads"),
            inputs.Integer("head_dim"),
            (int)(width * inputs.Number("ratio", 4)),
            inputs.Optional("mask"),
            inputs.Number("eps", 1e-12)
        );
        return new() { ["y"] = y, ["loss"] = y.pow(3).mean() };
    }

    private static Dictionary<string, Tensor> Cost(GoldenInputs inputs)
    {
        double[] Sizes(string name) => [.. inputs[name].to(ScalarType.Float64).data<double>()];
        var (layers, heads, hidden, ratio) = (Sizes("layers"), Sizes("heads"), Sizes("hidden"), Sizes("ratio"));
        SubNetwork[] networks =
        [
            .. layers.Select((count, row) => new SubNetwork((int)count, (int)heads[row], (int)hidden[row], ratio[row])),
        ];
        int length = inputs.Has("length") ? inputs.Integer("length") : 128;
        return new()
        {
            ["params"] = tensor([.. networks.Select(SubNetworkPricing.BertBase.Parameters)]),
            ["flops"] = tensor([.. networks.Select(network => SubNetworkPricing.BertBase.MultiplyAdds(network, length))]),
        };
    }

    private static Dictionary<string, Tensor> Space(GoldenInputs inputs)
    {
        var space = inputs.Text("name", "base") switch
        {
            "base" => SubNetworkSpace.Base,
            "small" => SubNetworkSpace.Small,
            "tiny" => SubNetworkSpace.Tiny,
            var other => throw new NotSupportedException($"Unknown space '{other}'."),
        };
        return new()
        {
            ["candidates"] = tensor([
                    .. space.Candidates.SelectMany(network =>
                        new[] { network.Layers, network.Heads, network.Hidden, network.Ratio }
                    ),
                ])
                .view(-1, 4),
            ["params"] = tensor([.. space.Parameters]),
            ["probe"] = inputs["probe"],
        };
    }

    private static Dictionary<string, Tensor> Sandwich(GoldenInputs inputs) =>
        new()
        {
            ["chosen"] = Numbers(
                SandwichSampling.Choose(
                    [.. inputs["params_"].to(ScalarType.Float64).data<double>()],
                    [.. inputs["draws"].data<long>()]
                )
            ),
        };

    private static Tensor Numbers(int[] values) => tensor([.. values.Select(value => (long)value)]);
}
