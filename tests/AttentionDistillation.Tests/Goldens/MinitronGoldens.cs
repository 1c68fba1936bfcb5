using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models.Slicing;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 47-minitron.</summary>
internal static class MinitronGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["minitron_importance"] = Importance,
            ["minitron_head_importance"] = HeadImportance,
            ["minitron_embedding_importance"] = EmbeddingImportance,
            ["minitron_block_influence"] = BlockInfluence,
            ["minitron_drop_layers"] = DropLayers,
            ["minitron_prune_ffn"] = PruneFeedForward,
            ["minitron_prune_heads"] = PruneHeads,
            ["minitron_prune_hidden"] = PruneHidden,
            ["minitron_logit_kd"] = LogitLoss,
            ["minitron_hidden"] = HiddenLoss,
            ["minitron_balance"] = Balance,
            ["minitron_parameters"] = Parameters,
        };

    private static ActivationAggregation Aggregation(string name) =>
        name switch
        {
            "mean" => ActivationAggregation.Mean,
            "l2" => ActivationAggregation.L2,
            "var" => ActivationAggregation.Variance,
            _ => throw new NotSupportedException($"Unknown aggregation '{name}'."),
        };

    private static (ActivationAggregation Sequence, ActivationAggregation Batch) Aggregations(GoldenInputs inputs) =>
        (Aggregation(inputs.Text("seq_agg", "mean")), Aggregation(inputs.Text("batch_agg", "l2")));

    private static Dictionary<string, Tensor> Importance(GoldenInputs inputs)
    {
        var (sequence, batch) = Aggregations(inputs);
        return new() { ["score"] = ActivationImportance.Channels(inputs["x"], inputs.Optional("mask"), sequence, batch) };
    }

    private static Dictionary<string, Tensor> HeadImportance(GoldenInputs inputs)
    {
        var (sequence, batch) = Aggregations(inputs);
        int heads = inputs.Integer("heads");
        int groups = inputs.Has("groups") ? inputs.Integer("groups") : heads;
        var score = ActivationImportance.Heads(inputs["x"], heads, inputs.Optional("mask"), sequence, batch);
        double[] values = [.. score.to(ScalarType.Float64).data<double>()];
        return new()
        {
            ["score"] = score,
            ["order"] = Numbers(ImportanceRanking.Descending(values)),
            ["order_in_group"] = Numbers([.. ImportanceRanking.DescendingInGroups(values, groups).SelectMany(group => group)])
                .view(groups, heads / groups),
        };
    }

    private static Dictionary<string, Tensor> EmbeddingImportance(GoldenInputs inputs)
    {
        var (sequence, batch) = Aggregations(inputs);
        return new()
        {
            ["score"] = ActivationImportance.Embedding(inputs["norm_outputs"], inputs.Optional("mask"), sequence, batch),
        };
    }

    private static Dictionary<string, Tensor> BlockInfluence(GoldenInputs inputs) =>
        new() { ["score"] = ActivationImportance.BlockInfluence(inputs["x"], inputs["y"], inputs.Optional("mask")) };

    private static Dictionary<string, Tensor> DropLayers(GoldenInputs inputs) =>
        new()
        {
            ["kept"] = Numbers(
                LayerSelection.Highest([.. inputs["score"].to(ScalarType.Float64).data<double>()], inputs.Integer("keep"))
            ),
        };

    private static Dictionary<string, Tensor> PruneFeedForward(GoldenInputs inputs)
    {
        var (inner, bias, outer) = MinitronPruning.FeedForward(
            inputs["w1"],
            inputs.Optional("b1"),
            inputs["w2"],
            inputs["score"],
            inputs.Integer("keep")
        );
        var outputs = new Dictionary<string, Tensor> { ["w1"] = inner, ["w2"] = outer };
        if (bias is not null)
            outputs["b1"] = bias;
        return outputs;
    }

    private static Dictionary<string, Tensor> PruneHeads(GoldenInputs inputs)
    {
        var (query, key, value, output) = MinitronPruning.Heads(
            inputs["wq"],
            inputs["wk"],
            inputs["wv"],
            inputs["wo"],
            inputs["score"],
            inputs.Integer("keep"),
            inputs.Flag("merge", false)
        );
        return new()
        {
            ["wq"] = query,
            ["wk"] = key,
            ["wv"] = value,
            ["wo"] = output,
        };
    }

    private static Dictionary<string, Tensor> PruneHidden(GoldenInputs inputs)
    {
        var (reading, writing, gain, table) = MinitronPruning.Hidden(
            inputs["w_in"],
            inputs["w_out"],
            inputs["gain"],
            inputs["table"],
            inputs["score"],
            inputs.Integer("keep")
        );
        return new()
        {
            ["w_in"] = reading,
            ["w_out"] = writing,
            ["gain"] = gain,
            ["table"] = table,
        };
    }

    private static Dictionary<string, Tensor> LogitLoss(GoldenInputs inputs)
    {
        var form = inputs.Text("kind", "kl") switch
        {
            "kl" => MinitronLogitForm.KlDivergence,
            "mse" => MinitronLogitForm.MeanSquaredError,
            "cosine" => MinitronLogitForm.Cosine,
            var other => throw new NotSupportedException($"Unknown kind '{other}'."),
        };
        var options = Minitron.LogitOptions with
        {
            Temperature = inputs.Number("temperature", 1.0),
            Direction = inputs.Flag("reverse", false) ? DivergenceDirection.Reverse : DivergenceDirection.Forward,
            TopClasses = inputs.Has("top_k") ? inputs.Integer("top_k") : null,
        };
        return new()
        {
            ["loss"] = Minitron.LogitLoss(inputs["teacher"], inputs["student"], inputs.Optional("mask"), form, options),
        };
    }

    private static Dictionary<string, Tensor> HiddenLoss(GoldenInputs inputs)
    {
        var form = inputs.Text("kind", "cosine") switch
        {
            "cosine" => MinitronHiddenForm.Cosine,
            "mse" => MinitronHiddenForm.SumOfSquares,
            var other => throw new NotSupportedException($"Unknown kind '{other}'."),
        };
        var projected = nn.functional.linear(inputs["student"], inputs["weight"], inputs.Optional("bias"));
        return new() { ["loss"] = Minitron.HiddenLoss(inputs["teacher"], projected, inputs.Optional("mask"), form) };
    }

    private static Dictionary<string, Tensor> Balance(GoldenInputs inputs) =>
        new()
        {
            ["loss"] = Minitron.Balance(
                inputs["logits_loss"],
                inputs.Optional("hidden_losses"),
                inputs.Flag("skip_lm", true) ? null : inputs["lm_loss"],
                inputs.Number("kd_scale", 1.0)
            ),
        };

    private static Dictionary<string, Tensor> Parameters(GoldenInputs inputs)
    {
        double[] Sizes(string name) => [.. inputs[name].to(ScalarType.Float64).data<double>()];
        var (layers, hidden, heads) = (Sizes("layers"), Sizes("hidden"), Sizes("heads"));
        var (groups, feedForward) = (Sizes("groups"), Sizes("ffn"));
        var counts = layers
            .Select(
                (count, row) =>
                    Minitron.Parameters(
                        count,
                        hidden[row],
                        heads[row],
                        groups[row],
                        feedForward[row],
                        inputs.Integer("head_dim"),
                        inputs.Integer("vocab")
                    )
            )
            .ToArray();
        return new()
        {
            ["non_embedding"] = tensor([.. counts.Select(count => count.NonEmbedding)]),
            ["total"] = tensor([.. counts.Select(count => count.Total)]),
        };
    }

    private static Tensor Numbers(int[] values) => tensor([.. values.Select(value => (long)value)]);
}
