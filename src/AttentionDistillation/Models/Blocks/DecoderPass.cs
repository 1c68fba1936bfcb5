using AttentionDistillation.Attention;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Blocks;

/// <summary>What all layers of one forward pass share: padding, rotation, cache, trace, intervention, and masks built once.</summary>
public sealed class DecoderPass
{
    private readonly Dictionary<long, KernelVisibility> visibilities = [];
    private readonly List<Tensor> kept = [];

    internal DecoderPass() { }

    /// <summary>bool [B, S], true = real key, past included; null when nothing is padded.</summary>
    internal Tensor? Mask { get; init; }

    /// <summary>True when padding stands only after real tokens, where no real token of a causal model sees it.</summary>
    internal bool IsPaddedOnTheRight { get; init; }

    /// <summary>Null for models with learned positions.</summary>
    internal Rotation? Rotation { get; init; }

    internal KeyValueCache? Cache { get; init; }

    internal ForwardTrace? Trace { get; init; }

    internal HeadIntervention? Heads { get; init; }

    /// <summary>The mask of the last keys.</summary>
    internal Tensor? MaskOf(long keys) => Mask is null || Mask.size(1) == keys ? Mask : Mask.narrow(1, Mask.size(1) - keys, keys);

    /// <summary>The visibility of a layer's keys, the same object for all layers of one window.</summary>
    internal KernelVisibility Visibility(long queries, long keys, long? window, Device device)
    {
        if (visibilities.TryGetValue(window ?? 0, out var known))
            return known;
        var mask = IsPaddedOnTheRight && queries == keys ? null : MaskOf(keys);
        var visibility = KernelVisibility.Of(mask, true, queries, keys, window, device);
        // Made in a layer's scope, used by later layers: the pass owns it.
        visibility.Allowed?.DetachFromDisposeScope();
        if (visibility.Allowed is not null)
            kept.Add(visibility.Allowed);
        return visibilities[window ?? 0] = visibility;
    }

    /// <summary>True when the trace wants a feature.</summary>
    internal bool Wants(string feature) => Trace?.WantsFeature(feature) == true;

    /// <summary>Records a feature and keeps its tensor for the caller.</summary>
    internal void Record(string feature, Tensor tensor) => Trace!.RecordFeature(feature, Keep(tensor));

    /// <summary>Records an attention call and keeps its tensors for the caller.</summary>
    internal void Record(int layer, AttentionState state)
    {
        Trace!.RecordAttention(layer, state);
        Keep(state.Query);
        Keep(state.Key);
        Keep(state.Value);
        if (state.Mask is not null && !ReferenceEquals(state.Mask, Mask))
            Keep(state.Mask);
    }

    /// <summary>Keeps a tensor for the caller, past the scopes of layers.</summary>
    internal Tensor Keep(Tensor tensor)
    {
        kept.Add(tensor.DetachFromDisposeScope());
        return tensor;
    }

    /// <summary>Hands everything kept to the scope outside of <paramref name="scope"/>.</summary>
    internal void HandOut(DisposeScope scope)
    {
        foreach (var visibility in visibilities.Values)
            if (visibility.Allowed is not null)
            {
                kept.Remove(visibility.Allowed);
                visibility.Allowed.Dispose();
            }
        foreach (var tensor in kept)
        {
            scope.Attach(tensor);
            tensor.MoveToOuterDisposeScope();
        }
        kept.Clear();
    }

    /// <summary>Frees everything kept, after a pass that failed.</summary>
    internal void Abandon()
    {
        foreach (var tensor in kept)
            tensor.Dispose();
        kept.Clear();
    }
}
