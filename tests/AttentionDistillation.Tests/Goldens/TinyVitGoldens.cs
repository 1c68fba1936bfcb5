using AttentionDistillation.Attention;
using AttentionDistillation.Methods;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using AttentionDistillation.Worlds.Images;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 21-tinyvit.</summary>
internal static class TinyVitGoldens
{
    // The epsilon of every layer and batch norm of TinyViT (PyTorch's default).
    private const double Epsilon = 1e-5;

    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["sparse_soft_label"] = SparseSoftLabel,
            ["sparse_distillation"] = SparseDistillation,
            ["packed_record"] = PackedRecord,
            ["pair_mix"] = PairMixOf,
            ["cutmix_box"] = CutMixBox,
            ["offset_bias_index"] = OffsetBiasIndex,
            ["biased_attention"] = BiasedAttentionOf,
            ["window_attention"] = WindowAttention,
            ["fold_batch_norm"] = FoldBatchNorm,
        };

    private static Dictionary<string, Tensor> SparseSoftLabel(GoldenInputs inputs)
    {
        var logits = inputs["logits"];
        var (values, indices) = TinyVit.SoftLabel(logits, inputs.Integer("k"), inputs.Flag("half", false));
        return new()
        {
            ["values"] = values,
            ["indices"] = indices,
            ["dense"] = TinyVit.Rebuild(values, indices, logits.size(1)),
        };
    }

    private static Dictionary<string, Tensor> SparseDistillation(GoldenInputs inputs)
    {
        var (student, values, indices) = (inputs["student"], inputs["values"], inputs["indices"]);
        return new()
        {
            ["loss"] = TinyVit.Loss(student, values, indices),
            ["target"] = TinyVit.Rebuild(values, indices, student.size(1)),
        };
    }

    private static Dictionary<string, Tensor> PackedRecord(GoldenInputs inputs)
    {
        var (values, indices) = TinyVit.SoftLabel(inputs["logits"], inputs.Integer("k"), half: true);
        return new() { ["bytes"] = SparseLabelRecord.Pack(values, indices, inputs["seeds"]).to(ScalarType.Int64) };
    }

    private static Dictionary<string, Tensor> PairMixOf(GoldenInputs inputs)
    {
        double[] lambdas = [.. inputs["lam"].to(ScalarType.Float64).data<double>()];
        int[] corners = [.. inputs["boxes"].to(ScalarType.Int32).reshape(-1).data<int>()];
        bool[] cuts = [.. inputs["use_cutmix"].to(ScalarType.Bool).data<bool>()];
        PairMix[] mixes =
        [
            .. lambdas.Select(
                (lambda, pair) =>
                    new PairMix(
                        lambda,
                        cuts[pair]
                            ? new PixelBox(corners[4 * pair], corners[4 * pair + 1], corners[4 * pair + 2], corners[4 * pair + 3])
                            : null
                    )
            ),
        ];
        var (images, targets, shares) = PairMixing.Mix(
            inputs["images"],
            inputs["labels"],
            inputs.Integer("classes"),
            mixes,
            inputs.Number("smoothing", 0.1)
        );
        return new()
        {
            ["images"] = images,
            ["targets"] = targets,
            ["lam"] = shares,
            ["pair_seed"] = PairMixing.Seeds(inputs["seeds"]),
        };
    }

    private static Dictionary<string, Tensor> CutMixBox(GoldenInputs inputs)
    {
        int height = inputs.Integer("height"),
            width = inputs.Integer("width");
        double[] lambdas = [.. inputs["lam"].to(ScalarType.Float64).data<double>()];
        long[] rows = [.. inputs["cy"].to(ScalarType.Int64).data<long>()],
            columns = [.. inputs["cx"].to(ScalarType.Int64).data<long>()];
        PixelBox[] boxes =
        [
            .. lambdas.Select((lambda, at) => PixelBox.Around(lambda, (int)rows[at], (int)columns[at], height, width)),
        ];
        return new()
        {
            ["box"] = tensor(
                boxes.SelectMany(box => new long[] { box.Top, box.Bottom, box.Left, box.Right }).ToArray(),
                boxes.Length,
                4
            ),
            ["lam"] = tensor(boxes.Select(box => box.ShareOutside(height, width)).ToArray()),
        };
    }

    private static Dictionary<string, Tensor> OffsetBiasIndex(GoldenInputs inputs)
    {
        var grid = new ImageSize(inputs.Integer("height"), inputs.Integer("width"));
        var (index, count) = PositionOffsets.Absolute(grid);
        return new() { ["index"] = tensor(index).view(grid.Area, grid.Area), ["count"] = tensor((long)count) };
    }

    private static Dictionary<string, Tensor> BiasedAttentionOf(GoldenInputs inputs)
    {
        var grid = new ImageSize(inputs.Integer("height"), inputs.Integer("width"));
        var (output, attention) = Attend(inputs, inputs["x"], grid);
        return new()
        {
            ["output"] = output,
            ["attention"] = attention,
            ["loss"] = (output * inputs["probe"]).sum(),
        };
    }

    private static Dictionary<string, Tensor> WindowAttention(GoldenInputs inputs)
    {
        var x = inputs["x"];
        var size = new ImageSize(inputs.Integer("height"), inputs.Integer("width"));
        long window = inputs.Integer("window");
        var map = Windows.Pad(x.view(x.size(0), size.Height, size.Width, -1), window);
        var (mixed, _) = Attend(inputs, Windows.Cut(map, window), window);
        var output = Windows.Join(mixed, window, size).reshape(x.shape);
        return new() { ["output"] = output, ["loss"] = (output * inputs["probe"]).sum() };
    }

    private static Dictionary<string, Tensor> FoldBatchNorm(GoldenInputs inputs)
    {
        var (weight, bias) = ConvolutionNorm.Fold(
            inputs["weight"],
            inputs["bn_w"],
            inputs["bn_b"],
            inputs["mean"],
            inputs["var"],
            Epsilon
        );
        return new() { ["weight"] = weight, ["bias"] = bias };
    }

    private static (Tensor Output, Tensor Attention) Attend(GoldenInputs inputs, Tensor tokens, ImageSize grid)
    {
        long heads = inputs.Integer("heads");
        var normalised = nn.functional.layer_norm(tokens, [tokens.size(-1)], inputs["norm_w"], inputs["norm_b"], Epsilon);
        var state = BiasedAttention.State(
            normalised,
            BiasedAttention.FromPerHead(inputs["qkv_w"], heads),
            BiasedAttention.FromPerHead(inputs["qkv_b"], heads),
            heads,
            BiasedAttention.ScoresOf(inputs["biases"], PositionBias.Absolute, grid)
        );
        var output = nn.functional.linear(BiasedAttention.Mix(state), inputs["proj_w"], inputs["proj_b"]);
        return (output, state.Probabilities());
    }
}
