using AttentionDistillation.Attention;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>The tensors of a module that a checkpoint holds.</summary>
internal static class HubTensors
{
    /// <summary>Parameters and buffers under the checkpoint's names.</summary>
    /// <param name="module">The model.</param>
    /// <param name="rename">Our name to theirs.</param>
    public static Dictionary<string, Tensor> Of(nn.Module module, Func<string, string> rename) =>
        module
            .named_parameters()
            .SelectMany(pair => MultiHeadAttention.Separate(pair.name, pair.parameter))
            .Concat(module.named_buffers(include_nonpersistent: false).Select(pair => (Name: pair.name, Value: pair.buffer)))
            .ToDictionary(pair => rename(pair.Name), pair => pair.Value, StringComparer.Ordinal);
}
