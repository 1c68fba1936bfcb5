using AttentionDistillation.Attention;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Adapters of 21-tinyvit: the mechanisms of its architecture.</summary>
internal static class TinyVitGoldens
{
    // The epsilon of every layer and batch norm of TinyViT (PyTorch's default).
    private const double Epsilon = 1e-5;

    internal static Dictionary<string, GoldenAdapter> Adapters { get; } =
        new()
        {
            ["offset_bias_index"] = OffsetBiasIndex,
            ["biased_attention"] = BiasedAttentionOf,
            ["window_attention"] = WindowAttention,
            ["fold_batch_norm"] = FoldBatchNorm,
        };

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
