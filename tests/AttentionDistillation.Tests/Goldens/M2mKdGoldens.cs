using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Models.Blocks;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 24-m2mkd.</summary>
internal static class M2mKdGoldens
{
    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["m2m_loss"] = Loss,
            ["hybrid_module"] = Hybrid,
            ["moe_top_k"] = Experts,
            ["code_modulated_linear"] = CodeModulatedLinear,
            ["signature_kernel"] = inputs => new Dictionary<string, Tensor>
            {
                ["log_kernel"] = ModularAttention.SignatureKernel(
                    inputs["receivers"],
                    inputs["senders"],
                    inputs.Number("bandwidth", 1.0),
                    inputs.Number("truncation")
                ),
            },
            ["modular_attention"] = Attention,
            ["latent_pooling"] = Pooling,
        };

    private static Dictionary<string, Tensor> Loss(GoldenInputs inputs) => Terms(inputs, inputs["student"], inputs["teacher"]);

    private static Dictionary<string, Tensor> Terms(GoldenInputs inputs, Tensor student, Tensor teacher)
    {
        var terms = M2mKd.Loss(
            student,
            teacher,
            inputs["target"],
            inputs.Number("alpha", 0.5),
            inputs.Number("tau", 1.0),
            Enum.Parse<ModuleDistillation>(inputs.Text("kind", "soft"), ignoreCase: true)
        );
        return new()
        {
            ["loss"] = terms.Total,
            ["base"] = terms[M2mKd.Base],
            ["distil"] = terms[M2mKd.Distil],
        };
    }

    private static Dictionary<string, Tensor> Hybrid(GoldenInputs inputs)
    {
        int index = inputs.Integer("index");
        Func<Tensor, Tensor>[] Layers(string name) =>
            [
                .. Enumerable
                    .Range(0, (int)inputs[$"{name}_w"].size(0))
                    .Select(layer =>
                        (Func<Tensor, Tensor>)(x => Residual(x, inputs[$"{name}_w"][layer], inputs[$"{name}_b"][layer]))
                    ),
            ];
        var meta = Layers("meta");
        bool isLast = index == meta.Length - 1;
        Tensor Head(Tensor x) => nn.functional.linear(x, inputs["head_w"], inputs["head_b"]);
        Tensor Student(Tensor x)
        {
            if (index > 0)
                x = nn.functional.linear(x, inputs["pre_w"], inputs["pre_b"]);
            return nn.functional.linear(Residual(x, inputs["stud_w"], inputs["stud_b"]), inputs["post_w"], inputs["post_b"]);
        }
        var entering = M2mKd.Prefix(inputs["x"], meta, index);
        var teacher = M2mKd.Hybrid(entering, x => Layers("teach").Aggregate(x, (at, layer) => layer(at)), meta, Head, index);
        var student = M2mKd.Hybrid(entering, Student, meta, isLast ? null : Head, index);
        var outputs = Terms(inputs, student, teacher);
        outputs["student_logits"] = student;
        outputs["teacher_logits"] = teacher;
        return outputs;
    }

    private static Tensor Residual(Tensor x, Tensor weight, Tensor bias) =>
        x + nn.functional.gelu(nn.functional.linear(x, weight, bias));

    private static Dictionary<string, Tensor> Experts(GoldenInputs inputs)
    {
        var routing = MixtureOfExperts.Compute(
            inputs["x"],
            inputs["gate_w"],
            inputs.Optional("gate_b"),
            inputs["w1"],
            inputs["b1"],
            inputs["w2"],
            inputs["b2"],
            inputs.Has("top") ? inputs.Integer("top") : 2
        );
        return new()
        {
            ["output"] = routing.Output,
            ["chosen"] = routing.Chosen,
            ["gate"] = routing.Gates,
            ["tokens_per_expert"] = routing.Load,
            ["loss"] = (routing.Output * inputs["probe"]).sum(),
        };
    }

    private static Dictionary<string, Tensor> CodeModulatedLinear(GoldenInputs inputs)
    {
        var output = ModularAttention.CodeModulatedLinear(
            inputs["x"],
            inputs["context"],
            inputs["scale_w"],
            inputs["weight"],
            inputs.Optional("bias"),
            inputs["gain"],
            inputs.Flag("add_one", true)
        );
        return new() { ["output"] = output, ["loss"] = (output * inputs["probe"]).sum() };
    }

    private static Dictionary<string, Tensor> Attention(GoldenInputs inputs)
    {
        (Tensor, Tensor) Part(string name) => (inputs[$"scale_{name}"], inputs[$"w{name}"]);
        var weights = new ModularAttentionWeights
        {
            Norm = (inputs["norm_w"], inputs["norm_b"]),
            Query = Part("q"),
            Key = Part("k"),
            Value = Part("v"),
            Exit = (inputs["scale_o"], inputs["wo"], inputs["bo"]),
            LayerScale = inputs["gamma"],
            Gain = tensor(inputs.Number("gain", 0.1), dtype: inputs["states"].dtype),
        };
        var kernel = inputs.Flag("use_kernel", true)
            ? ModularAttention.SignatureKernel(
                inputs["signatures"],
                inputs["signatures"],
                inputs.Number("bandwidth", 1.0),
                inputs.Number("truncation")
            )
            : null;
        var (output, state) = ModularAttention.Attend(
            inputs["states"],
            inputs["codes"],
            weights,
            inputs.Integer("heads"),
            kernel
        );
        return new()
        {
            ["output"] = output,
            ["attention"] = state.Probabilities(),
            ["loss"] = (output * inputs["probe"]).sum(),
        };
    }

    private static Dictionary<string, Tensor> Pooling(GoldenInputs inputs)
    {
        var (weights, logits) = ModularAttention.PoolLatents(
            inputs["states"],
            (inputs["score_w"], inputs["score_b"]),
            (inputs["logit_w"], inputs["logit_b"]),
            inputs.Number("tau", 1.0),
            inputs.Optional("gumbel")
        );
        return new() { ["weights"] = weights, ["logits"] = logits };
    }
}
