using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models;

/// <summary>Copies weights between models that are made of the same modules.</summary>
internal static class ModuleWeights
{
    /// <summary>Copies by name into a model, on whose device the other then is.</summary>
    /// <param name="from">Has every parameter that is taken.</param>
    /// <param name="to">Goes to the device of the other.</param>
    /// <param name="takes">Which names are taken.</param>
    public static void Copy(nn.Module from, nn.Module to, Func<string, bool> takes)
    {
        using var guard = no_grad();
        var source = from.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter);
        to.to(source.Values.First().device);
        foreach (var (name, parameter) in to.named_parameters())
            if (takes(name))
                parameter.copy_(source[name]);
    }
}
