using AttentionDistillation.Attention;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Convolutional classifiers: layers one after the other, hidden state n after layer n, then one vector an example.</summary>
internal static class ConvolutionStack
{
    /// <summary>Runs the layers as far as a trace wants.</summary>
    /// <param name="layers">First to last.</param>
    /// <param name="input">What enters the first one: hidden state 0.</param>
    /// <param name="pool">The last layer's output to [B, C].</param>
    /// <param name="feature">The feature under which a trace finds it.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>[B, C]; null when nobody wants what comes after the last recorded state.</returns>
    public static Tensor? Pooled(
        IEnumerable<nn.Module<Tensor, Tensor>> layers,
        Tensor input,
        Func<Tensor, Tensor> pool,
        string feature,
        ForwardTrace? trace
    )
    {
        bool whole = trace is null || trace.RunsToTheEnd;
        var current = input.alias();
        trace?.RecordHidden(0, current);
        int number = 0;
        foreach (var layer in whole ? layers : layers.Take(trace!.LastHiddenWanted))
        {
            current = layer.call(current);
            trace?.RecordHidden(++number, current);
        }
        if (!whole)
            return null;
        var pooled = pool(current);
        if (trace?.WantsFeature(feature) == true)
            trace.RecordFeature(feature, pooled.alias());
        return pooled;
    }
}
