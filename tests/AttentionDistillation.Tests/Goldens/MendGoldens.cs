using AttentionDistillation.Methods;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 46-mend.</summary>
internal static class MendGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["mend_query_kl"] = QueryKl,
            ["mend_finetune"] = Finetuning,
            ["mend_distiller_inputs"] = DistillerInputs,
            ["mend_vectors"] = Vectors,
            ["mend_llm_inputs"] = LanguageModelInputs,
            ["mend_option_scores"] = OptionScores,
            ["mend_split"] = Split,
            ["mend_label_mask"] = LabelMask,
        };

    private static Dictionary<string, Tensor> QueryKl(GoldenInputs inputs) =>
        new()
        {
            ["loss"] = Mend.QueryKl(
                inputs["teacher"],
                inputs["teacher_mask"],
                inputs["student"],
                inputs["student_mask"],
                inputs.Number("temperature", 1.0)
            ),
        };

    private static Dictionary<string, Tensor> Finetuning(GoldenInputs inputs)
    {
        var terms = Mend.FinetuningLoss(
            inputs["teacher"],
            inputs["teacher_mask"],
            inputs["student"],
            inputs["student_mask"],
            inputs["tokens"],
            inputs["answer"],
            inputs.Number("lam", 1.0),
            inputs.Number("temperature", 1.0)
        );
        return new()
        {
            ["ce"] = terms["answer"],
            ["kl"] = terms["divergence"],
            ["loss"] = terms.Total,
        };
    }

    private static Dictionary<string, Tensor> DistillerInputs(GoldenInputs inputs)
    {
        var (embeddings, mask) = MendDistiller.DecoderInputOf(
            inputs["demo_embeds"],
            inputs.Optional("demo_mask"),
            inputs["placeholders"]
        );
        return new()
        {
            ["x"] = embeddings,
            ["mask"] = mask,
            ["loss"] = embeddings.masked_fill(mask.unsqueeze(-1).logical_not(), 0.0).square().mean(),
        };
    }

    private static Dictionary<string, Tensor> Vectors(GoldenInputs inputs)
    {
        var vectors = MendDistiller.VectorsOf(
            inputs["hidden"],
            inputs.Integer("n"),
            inputs.Optional("weight"),
            inputs.Optional("bias")
        );
        return new() { ["vectors"] = vectors, ["loss"] = vectors.square().mean() };
    }

    private static Dictionary<string, Tensor> LanguageModelInputs(GoldenInputs inputs)
    {
        var (embeddings, mask) = Mend.LanguageModelInput(inputs["vecs"], inputs["query_embeds"], inputs.Optional("query_mask"));
        return new() { ["x"] = embeddings, ["mask"] = mask };
    }

    private static Dictionary<string, Tensor> OptionScores(GoldenInputs inputs)
    {
        long rows = inputs["logits"].size(0);
        int options = inputs.Has("options") ? inputs.Integer("options") : (int)inputs["valid"].size(1);
        var valid = inputs.Optional("valid") ?? ones(rows / options, options, dtype: ScalarType.Bool);
        var (scores, prediction) = Mend.OptionScores(inputs["logits"], inputs["tokens"], inputs["option_mask"], valid);
        return new() { ["scores"] = scores, ["prediction"] = prediction };
    }

    private static Dictionary<string, Tensor> Split(GoldenInputs inputs)
    {
        double share = inputs.Number("percent", Mend.DemonstrationShare);
        var parts = inputs["lengths"].data<long>().Select(length => Mend.Split(length, share)).ToArray();
        return new()
        {
            ["demonstration"] = tensor([.. parts.Select(part => part.Demonstration)]),
            ["query"] = tensor([.. parts.Select(part => part.Query)]),
        };
    }

    private static Dictionary<string, Tensor> LabelMask(GoldenInputs inputs) =>
        new()
        {
            ["allowed"] = MendDistiller.Visibility(
                inputs["demo_is_label"],
                inputs.Optional("demo_mask"),
                new MendOptions
                {
                    Vectors = inputs.Integer("vectors_count"),
                    LabelVectors = inputs.Integer("label_vectors"),
                    OthersSeeInputsAlone = inputs.Flag("input_too", false),
                }
            ),
        };
}
