using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 01-minilm.</summary>
internal static class MiniLmGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["relation_kl"] = RelationKl,
            ["relation_kl_attention"] = RelationKlAttention,
            ["minilm"] = MiniLmLoss,
            ["minilm_v2"] = MiniLmV2Loss,
        };

    private static AttentionRelationOptions Options(GoldenInputs inputs) =>
        new()
        {
            Reduction = inputs.Text("reduction", "tokens") switch
            {
                "tokens" => RowReduction.Tokens,
                "sequences" => RowReduction.Sequences,
                var other => throw new NotSupportedException($"Unknown reduction '{other}'."),
            },
            IsCausal = inputs.Flag("causal", false),
            TeacherScale = inputs.Number("scale_t"),
            StudentScale = inputs.Number("scale_s"),
        };

    private static Dictionary<string, Tensor> RelationKl(GoldenInputs inputs)
    {
        var options = Options(inputs);
        return new()
        {
            ["loss"] = AttentionRelations.KlDivergence(
                inputs["tq"],
                inputs["tk"],
                inputs["sq"],
                inputs["sk"],
                inputs.Optional("mask"),
                options
            ),
            ["rows"] = AttentionRelations.KlRows(
                inputs["tq"],
                inputs["tk"],
                inputs["sq"],
                inputs["sk"],
                inputs.Optional("mask"),
                options
            ),
        };
    }

    private static Dictionary<string, Tensor> RelationKlAttention(GoldenInputs inputs)
    {
        var options = Options(inputs) with { Form = RelationForm.Fused };
        var mask = inputs.Optional("mask");
        var (studentQuery, studentKey) = (inputs["sq"].detach().requires_grad_(), inputs["sk"].detach().requires_grad_());
        var relation = AttentionRelations.Inputs(inputs["tq"], inputs["tk"], studentQuery, studentKey, mask, options);
        var pieces = FusedRelation.Compute(relation, null);
        var loss = AttentionRelations.KlDivergence(inputs["tq"], inputs["tk"], studentQuery, studentKey, mask, options);
        loss.backward();
        return new()
        {
            ["loss"] = loss,
            ["rows"] = AttentionRelations.KlRows(inputs["tq"], inputs["tk"], studentQuery, studentKey, mask, options),
            ["lse_t"] = pieces.TeacherLogSumExp,
            ["lse_s"] = pieces.StudentLogSumExp,
            ["at_kt"] = pieces.TeacherOfTeacherKeys,
            ["at_ks"] = pieces.TeacherOfStudentKeys,
            ["as_ks"] = pieces.StudentOfStudentKeys,
            ["dsq"] = studentQuery.grad!,
            ["dsk"] = studentKey.grad!,
        };
    }

    private static Dictionary<string, Tensor> MiniLmLoss(GoldenInputs inputs)
    {
        var (teacher, student) = States(inputs);
        var terms = MiniLm.Loss(teacher, student, new MiniLmOptions { Relation = Options(inputs) });
        return new()
        {
            ["loss"] = terms.Total,
            ["attention"] = terms["attention"],
            ["value"] = terms["value"],
        };
    }

    private static Dictionary<string, Tensor> MiniLmV2Loss(GoldenInputs inputs)
    {
        var (teacher, student) = States(inputs);
        double[] weights = inputs.Numbers("weights") ?? [1.0, 1.0, 1.0];
        var terms = MiniLmV2.Loss(
            teacher,
            student,
            new MiniLmV2Options
            {
                RelationHeads = inputs.Integer("relation_heads"),
                QueryWeight = weights[0],
                KeyWeight = weights[1],
                ValueWeight = weights[2],
                Relation = Options(inputs),
            }
        );
        return new()
        {
            ["loss"] = terms.Total,
            ["qq"] = terms["qq"],
            ["kk"] = terms["kk"],
            ["vv"] = terms["vv"],
        };
    }

    private static (AttentionState Teacher, AttentionState Student) States(GoldenInputs inputs)
    {
        var mask = inputs.Optional("mask");
        bool causal = inputs.Flag("causal", false);
        return (
            new AttentionState(Heads("tq"), Heads("tk"), Heads("tv"), mask, causal, inputs.Number("scale_t")),
            new AttentionState(Heads("sq"), Heads("sk"), Heads("sv"), mask, causal, inputs.Number("scale_s"))
        );

        // Concatenated heads [b, L, hidden] are one head of the whole width.
        Tensor Heads(string name) => inputs[name].dim() == 3 ? inputs[name].unsqueeze(1) : inputs[name];
    }
}
