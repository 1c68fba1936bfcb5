using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>A low-rank change of a linear layer's output: scale * (dropout(x) Aᵀ) Bᵀ.</summary>
/// <remarks>
/// Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, section 4.1. B starts at zero, so that the layer starts unchanged; A is
/// uniform in ±1/sqrt(input), as PEFT draws it.
/// </remarks>
public sealed class LowRankAdapter : nn.Module<Tensor, Tensor>
{
    private const string Stream = "lora";

    private readonly Parameter down;
    private readonly Parameter up;
    private readonly Dropout dropout;

    /// <summary>Builds an adapter.</summary>
    /// <param name="input">Width of the layer's input.</param>
    /// <param name="output">Width of the layer's output.</param>
    /// <param name="options">Rank, alpha and dropout.</param>
    /// <param name="seed">Seed of A.</param>
    /// <param name="like">Gives element type and device.</param>
    public LowRankAdapter(long input, long output, LowRankOptions options, long seed, Tensor like)
        : base(nameof(LowRankAdapter))
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(like);
        options.Validate();
        Scale = options.Scale;
        using (NewDisposeScope())
        {
            double bound = 1.0 / Math.Sqrt(input);
            var start = zeros(options.Rank, input).uniform_(-bound, bound, Seeds.Generator(seed, Stream));
            down = nn.Parameter(start.to(like.dtype, like.device).detach().MoveToOuterDisposeScope());
            up = nn.Parameter(zeros(output, options.Rank, dtype: like.dtype, device: like.device).MoveToOuterDisposeScope());
            down.DetachFromDisposeScope();
            up.DetachFromDisposeScope();
        }
        dropout = nn.Dropout(options.Dropout);
        RegisterComponents();
    }

    /// <summary>A, [rank, input] (<c>lora_A</c>).</summary>
    public Parameter Down => down;

    /// <summary>B, [output, rank] (<c>lora_B</c>).</summary>
    public Parameter Up => up;

    /// <summary>Factor on the change: alpha / rank, or alpha / sqrt(rank).</summary>
    public double Scale { get; }

    /// <summary>The change of the output, [..., output].</summary>
    /// <param name="input">[..., input].</param>
    public override Tensor forward(Tensor input)
    {
        using var scope = NewDisposeScope();
        return nn.functional.linear(nn.functional.linear(dropout.call(input), down), up).mul(Scale).MoveToOuterDisposeScope();
    }

    /// <summary>The change of the weight, scale * B A, [output, input], computed in float32 at least.</summary>
    public Tensor WeightChange()
    {
        using var scope = NewDisposeScope();
        var type = down.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        return matmul(up.to(type), down.to(type)).mul(Scale).MoveToOuterDisposeScope();
    }
}

/// <summary>How low-rank adapters are made, under PEFT's names in <c>adapter_config.json</c>.</summary>
public sealed record LowRankOptions
{
    /// <summary>r, the rank.</summary>
    public int Rank { get; init; } = 8;

    /// <summary>lora_alpha: the change is scaled by alpha / rank.</summary>
    public double Alpha { get; init; } = 8;

    /// <summary>lora_dropout, on the adapters' inputs.</summary>
    public double Dropout { get; init; }

    /// <summary>Whether the scale is alpha / sqrt(rank) instead (Kalajdzievski, "A Rank Stabilization Scaling Factor", 2023).</summary>
    public bool RankStabilized { get; init; }

    /// <summary>
    /// target_modules: the last part of a projection's name in the checkpoint (<c>q_proj</c>), a whole name, or <c>all-linear</c> for every
    /// projection of the layers.
    /// </summary>
    public IReadOnlyList<string> Targets { get; init; } = ["q_proj", "v_proj"];

    /// <summary>
    /// modules_to_save: whole modules that train and are saved beside the adapters, by the last part of their name (<c>score</c>,
    /// <c>lm_head</c>, <c>embed_tokens</c>).
    /// </summary>
    public IReadOnlyList<string> TrainedModules { get; init; } = [];

    /// <summary>The factor on the change.</summary>
    public double Scale => RankStabilized ? Alpha / Math.Sqrt(Rank) : Alpha / Rank;

    internal void Validate()
    {
        if (Rank < 1)
            throw new ArgumentException($"The rank of low-rank adapters must be 1 or more, but is {Rank}.");
        if (!(Dropout is >= 0 and < 1))
            throw new ArgumentException($"The dropout of low-rank adapters must be from 0 to below 1, but is {Dropout}.");
        if (Targets.Count == 0)
            throw new ArgumentException("Low-rank adapters need a target, for example q_proj, or all-linear.");
    }
}
