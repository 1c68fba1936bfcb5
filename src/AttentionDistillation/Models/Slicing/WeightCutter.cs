using System.Text.Json.Nodes;
using AttentionDistillation.Models.Hub;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Slicing;

/// <summary>Applies a plan to the weights of a model, one at a time, and to its configuration.</summary>
internal sealed class WeightCutter
{
    private readonly SliceMap map;
    private readonly SlicePlan plan;
    private readonly string model;
    private readonly int heads;
    private readonly int keyHeads;
    private readonly int headWidth;
    private readonly int[] layers;

    /// <exception cref="ArgumentException">The plan names what the model does not have, or parts that do not fit together.</exception>
    internal WeightCutter(IHubModel source, SlicePlan plan)
    {
        this.plan = plan;
        model = source.Architecture;
        Config = ConfigOf(source);
        map = SliceMap.Of(Config["model_type"]?.GetValue<string>());
        int depth = Size(map.Layers),
            width = Size(map.Channels);
        heads = Size(map.Heads);
        keyHeads = map.KeyHeads is { } name && Config[name] is not null ? Size(name) : heads;
        headWidth = map.HasHeadWidth && Config["head_dim"] is not null ? Size("head_dim") : width / heads;
        // GPT-2 leaves its inner width out when it is four times the width.
        int neurons = Config[map.Neurons] is null ? 4 * width : Size(map.Neurons);
        layers = plan.Layers is null ? [.. Enumerable.Range(0, depth)] : [.. plan.Layers];
        RequireParts(layers, depth, "layer", mayRepeat: true);
        if (plan.Channels is not null)
            RequireParts(plan.Channels, width, "channel");
        foreach (var kept in plan.Neurons ?? [])
            RequireParts(kept, neurons, "neuron");
        foreach (var cut in plan.Heads ?? [])
            RequireParts(cut.Kept, heads, "head");
        RequireLayerEntries(plan.Heads?.Count, "heads", plan.Heads?.Select(cut => cut.Kept.Count));
        RequireLayerEntries(plan.Neurons?.Count, "neurons", plan.Neurons?.Select(kept => kept.Count));
        WriteSizes(width, neurons);
    }

    /// <summary>The smaller model's configuration.</summary>
    internal JsonObject Config { get; }

    /// <summary>The bigger model's name of a weight of the smaller.</summary>
    internal string SourceName(string name) =>
        SliceMap.LayerOf(name) is not { } layer ? name
        : layer < layers.Length ? SliceMap.InLayer(name, layers[layer])
        : throw new ArgumentException($"The plan keeps {layers.Length} layers, but the model to fill has '{name}'.");

    /// <summary>What the plan keeps of a weight.</summary>
    /// <param name="name">Its name in the smaller model.</param>
    /// <param name="weight">The bigger model's weight.</param>
    internal Tensor Cut(string name, Tensor weight)
    {
        var axes = map.AxesOf(name);
        if (axes.Length != weight.dim())
            throw new ArgumentException($"'{name}' was expected to have {axes.Length} axes, but has {weight.dim()}.");
        int layer = SliceMap.LayerOf(name) ?? 0;
        var cut = weight.detach();
        for (int axis = 0; axis < axes.Length; axis++)
            cut = CutAxis(cut, axis, axes[axis], layer);
        return cut;
    }

    // What saving the model would write: a loaded model may say the rest of its configuration in what it was loaded from. Read back as from a file, so
    // that all numbers are numbers of JSON.
    private static JsonObject ConfigOf(IHubModel source)
    {
        var config = source.ConfigExtras?.DeepClone().AsObject() ?? [];
        foreach (var (name, value) in source.ToHubConfig())
            config[name] = value?.DeepClone();
        return JsonNode.Parse(config.ToJsonString())!.AsObject();
    }

    private Tensor CutAxis(Tensor weight, int axis, SliceAxis kind, int layer) =>
        kind switch
        {
            SliceAxis.Channels when plan.Channels is not null => WeightCuts.Take(weight, axis, plan.Channels),
            SliceAxis.Neurons when plan.Neurons is not null => WeightCuts.Take(weight, axis, Of(plan.Neurons, layer)),
            SliceAxis.QueryHeads when plan.Heads is not null => CutQueries(weight, axis, Of(plan.Heads, layer)),
            SliceAxis.KeyHeads when plan.Heads is not null => CutKeys(weight, axis, Of(plan.Heads, layer)),
            SliceAxis.FusedHeads when plan.Heads is not null => cat(
                [.. weight.chunk(3, axis).Select(part => CutQueries(part, axis, Of(plan.Heads, layer)))],
                axis
            ),
            _ => weight,
        };

    private Tensor CutQueries(Tensor weight, int axis, HeadCut cut) =>
        cut.Rankings is not { } rankings
            ? WeightCuts.Take(weight, axis, cut.Kept, headWidth)
            : cat(
                [
                    .. rankings.Select(ranking =>
                        WeightCuts.TakeMerged(
                            WeightCuts.Take(weight, axis, ranking, headWidth),
                            axis,
                            [.. Enumerable.Range(0, ranking.Count)],
                            cut.Kept.Count / rankings.Count,
                            headWidth
                        )
                    ),
                ],
                axis
            );

    // With a key head for every query head, keys and values go with it, merged alike; otherwise they stay with their group.
    private Tensor CutKeys(Tensor weight, int axis, HeadCut cut) =>
        keyHeads == heads ? CutQueries(weight, axis, cut) : WeightCuts.Take(weight, axis, KeptGroups(cut), headWidth);

    // The groups of the kept heads, which must lie group by group with as many heads in each.
    private int[] KeptGroups(HeadCut cut)
    {
        int size = heads / keyHeads;
        int[] groups = [.. cut.Kept.Select(head => head / size)];
        int[] distinct = [.. groups.Distinct()];
        int each = groups.Length / distinct.Length;
        for (int place = 0; place < groups.Length; place++)
            if (groups.Length % distinct.Length != 0 || groups[place] != distinct[place / each])
                throw new ArgumentException(
                    $"{model} has {keyHeads} key heads for {heads} query heads, so the heads to keep must lie group by group of {size}, as many of each group, "
                        + $"but they are {string.Join(", ", cut.Kept)}. Use HeadCut.Highest with keyHeads: {keyHeads}."
                );
        return distinct;
    }

    private void WriteSizes(int width, int neurons)
    {
        int newWidth = plan.Channels?.Count ?? width,
            newHeads = plan.Heads?[0].Kept.Count ?? heads;
        if (newHeads * headWidth != newWidth && !map.HasHeadWidth)
            throw new ArgumentException(
                $"{model} has no width of heads of its own: {newHeads} heads of {headWidth} must make the width, which is {newWidth}. Cut heads and channels alike."
            );
        Config[map.Layers] = (long)layers.Length;
        Config[map.Channels] = (long)newWidth;
        Config[map.Heads] = (long)newHeads;
        Config[map.Neurons] = (long)(plan.Neurons?[0].Count ?? neurons);
        if (map.KeyHeads is { } name)
            Config[name] = (long)(
                keyHeads == heads ? newHeads
                : plan.Heads is null ? keyHeads
                : KeptGroups(plan.Heads[0]).Length
            );
        if (map.HasHeadWidth && (Config.ContainsKey("head_dim") || newHeads * headWidth != newWidth))
            Config["head_dim"] = (long)headWidth;
        // Per-layer lists of the bigger model do not hold for the smaller.
        if (Config["layer_types"] is JsonArray kinds)
            Config["layer_types"] = new JsonArray([.. layers.Select(layer => kinds[layer]?.DeepClone())]);
    }

    private static T Of<T>(IReadOnlyList<T> perLayer, int layer) => perLayer.Count == 1 ? perLayer[0] : perLayer[layer];

    private int Size(string name) =>
        Config[name] is JsonValue value && value.TryGetValue(out long size)
            ? checked((int)size)
            : throw new NotSupportedException($"The configuration of {model} does not say its {name}.");

    private void RequireParts(IReadOnlyList<int> kept, int count, string what, bool mayRepeat = false)
    {
        if (kept.Count == 0 || kept.Any(part => part < 0 || part >= count))
            throw new ArgumentException(
                $"{model} has the {what}s 0 to {count - 1}, but the plan keeps: {string.Join(", ", kept)}."
            );
        if (!mayRepeat && kept.Distinct().Count() != kept.Count)
            throw new ArgumentException($"The plan keeps a {what} of {model} twice: {string.Join(", ", kept)}.");
    }

    private void RequireLayerEntries(int? entries, string what, IEnumerable<int>? counts)
    {
        if (entries is not { } given)
            return;
        if (given != 1 && given != layers.Length)
            throw new ArgumentException(
                $"The plan must name {what} once for all or once for each of the {layers.Length} layers it keeps, but names them {given} times."
            );
        if (counts!.Distinct().Count() != 1)
            throw new ArgumentException(
                $"Every layer must keep as many {what}, but the plan keeps {string.Join(", ", counts!)}."
            );
    }
}
