using AttentionDistillation.Attention;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Blocks;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods.Circuits;

/// <summary>A language model of the library as a circuit's nodes: GPT-2, Llama, Qwen2, Mistral. Key heads shared by a group are taken apart, one for each query head.</summary>
/// <remarks>Sequences are whole: no padding, no cache. Dropout is off, whatever mode the model is in; low-rank adapters must be merged first.</remarks>
public sealed class DecoderNodes : ICircuitModel
{
    private readonly CausalLanguageModel model;

    /// <summary>Takes a model apart; its weights are used where they are, so that later training shows.</summary>
    /// <param name="model">The model.</param>
    /// <exception cref="NotSupportedException">An attention layer mixes values in a form other than softmax attention, or has a low-rank adapter.</exception>
    public DecoderNodes(CausalLanguageModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        foreach (var layer in model.DecoderLayers)
        {
            if (layer.Attention.Form is not FullAttention)
                throw new NotSupportedException(
                    $"Layer {layer.Attention.Layer} mixes its values by {layer.Attention.Form.GetType().Name}. Circuits are found in softmax attention: put FullAttention back."
                );
            if (layer.Attention.Input.Adapters.Count > 0 || layer.Attention.Output.Adapters.Count > 0)
                throw new NotSupportedException(
                    $"Layer {layer.Attention.Layer} has a low-rank adapter. Merge it into the weights first."
                );
        }
        this.model = model;
        Graph = new CircuitGraph(model.DecoderConfig.Layers, (int)model.DecoderConfig.Heads);
    }

    /// <inheritdoc/>
    public CircuitGraph Graph { get; }

    /// <summary>The input node's output: embeddings, with learned positions where the model has them.</summary>
    /// <param name="inputIds">int64 [B, L].</param>
    /// <returns>[B, L, C], without a gradient.</returns>
    public Tensor Embed(Tensor inputIds)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var embedded = model.Embed(inputIds);
        if (model.PositionTable is { } table)
            embedded = embedded + table.narrow(0, 0, inputIds.size(1));
        return embedded.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor Heads(int layer, Tensor queryInput, Tensor keyInput, Tensor valueInput)
    {
        ArgumentNullException.ThrowIfNull(queryInput);
        using var scope = NewDisposeScope();
        var attention = model.DecoderLayers[layer].Attention;
        long length = queryInput.size(2);
        var query = Projected(layer, queryInput, 0);
        var key = Projected(layer, keyInput, 1);
        if (model.RotationOf(length, query.dtype) is { } rotation)
            (query, key) = (Turned(rotation, query), Turned(rotation, key));
        var state = new AttentionState(
            query,
            key,
            Projected(layer, valueInput, 2),
            null,
            isCausal: true,
            scale: attention.Scale,
            window: attention.Window
        );
        return attention.Writes(matmul(state.Probabilities(), state.Value)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor? HeadBias(int layer) => model.DecoderLayers[layer].Attention.Output.Bias;

    /// <inheritdoc/>
    public Tensor FeedForward(int layer, Tensor input)
    {
        using var scope = NewDisposeScope();
        var block = model.DecoderLayers[layer];
        return block.FeedForward.call(block.FeedForwardNorm.call(input)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public Tensor Logits(Tensor residual)
    {
        using var scope = NewDisposeScope();
        return model.Scores(model.FinalNorm.call(residual)).MoveToOuterDisposeScope();
    }

    // Kind 0, 1, 2: queries, keys, values of every query head from its own input, [B, H, L, C] to [B, H, L, D].
    private Tensor Projected(int layer, Tensor input, int kind)
    {
        var block = model.DecoderLayers[layer];
        var attention = block.Attention;
        long width = attention.HeadWidth,
            heads = kind == 0 ? attention.Heads : attention.KeyValueHeads,
            start = (kind == 0 ? 0 : attention.Heads + (kind - 1) * attention.KeyValueHeads) * width;
        Tensor PerHead(Tensor rows) => heads == attention.Heads ? rows : rows.repeat_interleave(attention.Heads / heads, 0);
        var weight = PerHead(attention.Input.Weight.narrow(0, start, heads * width).view(heads, width, -1));
        var projected = matmul(block.AttentionNorm.call(input), weight.transpose(-2, -1));
        return attention.Input.Bias is { } bias
            ? projected + PerHead(bias.narrow(0, start, heads * width).view(heads, 1, width))
            : projected;
    }

    private static Tensor Turned(Rotation rotation, Tensor heads) => rotation.Apply(heads.transpose(1, 2)).transpose(1, 2);
}
