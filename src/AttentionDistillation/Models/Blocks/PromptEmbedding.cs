using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>
/// A prompt of few slots as states for cross-attention, without a text encoder: a learned vector per word plus one per slot. Slot vectors start
/// with unit variance, so that queries can tell the slots apart from the first step.
/// </summary>
public sealed class PromptEmbedding : nn.Module<Tensor, Tensor>
{
    private readonly Embedding words;
    private readonly Parameter slots;

    /// <summary>Builds the tables.</summary>
    /// <param name="vocabulary">V.</param>
    /// <param name="slots">S.</param>
    /// <param name="width">Width of the states.</param>
    /// <param name="layers">Makes the weights; layers drawn by their inputs (<see cref="SeededLayers.FanIn"/>) give words unit variance.</param>
    public PromptEmbedding(long vocabulary, long slots, long width, SeededLayers layers)
        : base(nameof(PromptEmbedding))
    {
        ArgumentNullException.ThrowIfNull(layers);
        words = layers.Embedding(vocabulary, width);
        this.slots = layers.NormalParameter(1.0, slots, width);
        RegisterComponents();
    }

    /// <summary>int64 [B, S] to [B, S, width].</summary>
    /// <exception cref="ArgumentException">The prompt has another number of slots.</exception>
    public override Tensor forward(Tensor prompt)
    {
        Shapes.RequireExact(prompt, [-1, slots.size(0)]);
        using var scope = NewDisposeScope();
        return (words.call(prompt) + slots).MoveToOuterDisposeScope();
    }
}
