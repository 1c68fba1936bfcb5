using AttentionDistillation.Attention;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>Runs the layers of an encoder, only as many as its trace needs, and keeps what the trace wants.</summary>
internal static class LayerStack
{
    /// <summary>Runs layers that each take (hidden state, mask, trace) and record their own attention under their number.</summary>
    /// <param name="layers">The layers, numbered from 0.</param>
    /// <param name="hidden">The embedding's output, [B, L, C].</param>
    /// <param name="mask">bool [B, L], true = real token, or null.</param>
    /// <param name="trace">Records what it wants; null for none.</param>
    /// <returns>[B, L, C]; what the last layer that ran gave, empty ([0]) when that layer stopped after its attention inputs.</returns>
    public static Tensor Run(
        IEnumerable<nn.Module<Tensor, Tensor?, ForwardTrace?, Tensor>> layers,
        Tensor hidden,
        Tensor? mask,
        ForwardTrace? trace
    )
    {
        using var scope = NewDisposeScope();
        trace?.RecordHidden(0, hidden);
        int last = trace?.LastLayerNeeded ?? int.MaxValue;
        var current = hidden;
        int number = 0;
        foreach (var layer in layers)
        {
            if (number > last)
                break;
            var next = layer.call(current, mask, trace);
            bool kept = number == 0 || trace?.WantsHidden(number) == true;
            if (!kept)
                current.Dispose();
            current = next;
            if (trace?.StopsAfterAttentionInputs(number) != true)
                trace?.RecordHidden(number + 1, current);
            number++;
        }
        if (trace is not null)
        {
            foreach (var state in trace.Attentions.Values)
                state.MoveToOuterDisposeScope();
            for (int state = 1; state <= number; state++)
                if (trace.WantsHidden(state))
                    trace.Hidden(state).MoveToOuterDisposeScope();
        }
        // With no layer run, or a recorded state as result, the caller gets an alias: its own to dispose.
        bool shared = ReferenceEquals(current, hidden) || trace?.WantsHidden(number) == true;
        return (shared ? current.alias() : current).MoveToOuterDisposeScope();
    }
}
