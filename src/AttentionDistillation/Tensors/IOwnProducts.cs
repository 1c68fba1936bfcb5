using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>
/// A module that multiplies by weights itself, not through a layer it calls: a head tied to a word table, several projections in one product. What
/// counts operations by watching layers asks it for the rest.
/// </summary>
public interface IOwnProducts
{
    /// <summary>Multiply-adds of the module's own products in a call, those of the layers it calls and of attention maps left out.</summary>
    /// <param name="output">What the call gave.</param>
    long MultiplyAdds(Tensor output);
}
