using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>A model whose modules can be taken out and put into another model, through stitching layers where widths differ.</summary>
public interface IModularStudent
{
    /// <summary>L.</summary>
    int ModuleCount { get; }

    /// <summary>The width that stitches lead to and from; null when modules have none.</summary>
    long? StitchWidth { get; }

    /// <summary>What is trained of module i: its layers and stitches, of the first also the embeddings, of the last the head.</summary>
    /// <param name="index">i, from 0.</param>
    nn.Module ModuleAt(int index);

    /// <summary>Module i in a hybrid: the first takes images, the last ends in its own head, all else is [B, L, stitch width].</summary>
    /// <param name="index">i, from 0.</param>
    /// <param name="entering">Images [B, channels, height, width] for the first module, else [B, L, stitch width].</param>
    /// <returns>[B, L, stitch width], or of the last module logits [B, classes].</returns>
    Tensor InHybrid(int index, Tensor entering);
}
