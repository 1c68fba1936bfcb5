using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>The pooler of ViT and DeiT: the class token through a linear layer and an activation.</summary>
public sealed class ClassTokenPooler : nn.Module<Tensor, Tensor>
{
    private readonly Linear dense;
    private readonly Func<Tensor, Tensor> activation;

    /// <summary>Builds the pooler.</summary>
    public ClassTokenPooler(VisionTransformerConfig config, SeededLayers layers)
        : base(nameof(ClassTokenPooler))
    {
        ArgumentNullException.ThrowIfNull(config);
        activation = Activation.Find(config.PoolerActivation);
        dense = layers.Linear(config.HiddenSize, config.PoolerSize ?? config.HiddenSize);
        RegisterComponents();
    }

    /// <summary>[B, L, C] to [B, pooler width].</summary>
    public override Tensor forward(Tensor hidden)
    {
        using var scope = NewDisposeScope();
        return activation(dense.call(hidden.select(1, 0))).MoveToOuterDisposeScope();
    }
}
