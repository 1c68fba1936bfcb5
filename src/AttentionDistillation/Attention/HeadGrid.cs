using System.Globalization;
using System.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>Draws attention maps as a small picture in HTML, for hosts without a plotting library.</summary>
internal static class HeadGrid
{
    // A picture to glance at: more heads or positions would make a page of it.
    private const int MostHeads = 16;
    private const int MostPositions = 32;
    private const int HeadsInARow = 8;
    private const int Side = 96;
    private const int Gap = 8;
    private const int Label = 12;

    /// <summary>The heads of the first example, each a map with queries down and keys across; darker is more attention.</summary>
    internal static string Of(AttentionState state)
    {
        using var scope = NewDisposeScope();
        using var noGradient = no_grad();
        int heads = (int)Math.Min(MostHeads, state.Heads);
        int queries = (int)Math.Min(MostPositions, state.Query.size(2)),
            keys = (int)Math.Min(MostPositions, state.Key.size(2));
        // One example alone: a batch of long maps may not fit.
        var first = new AttentionState(
            state.Query.narrow(0, 0, 1),
            state.Key.narrow(0, 0, 1),
            state.Value.narrow(0, 0, 1),
            state.Mask?.narrow(0, 0, 1),
            state.IsCausal,
            state.Scale,
            state.Bias is { } bias && bias.dim() == 4 && bias.size(0) > 1 ? bias.narrow(0, 0, 1) : state.Bias,
            state.Window
        );
        var map = first.Probabilities()[0].narrow(0, 0, heads).narrow(1, 0, queries).narrow(2, 0, keys);
        float[] values = map.detach().to(ScalarType.Float32).cpu().contiguous().data<float>().ToArray();
        int rows = (heads + HeadsInARow - 1) / HeadsInARow;
        var svg = new StringBuilder();
        svg.Append(
            CultureInfo.InvariantCulture,
            $"<svg width=\"{Math.Min(heads, HeadsInARow) * (Side + Gap)}\" height=\"{rows * (Side + Label + Gap)}\" xmlns=\"http://www.w3.org/2000/svg\">"
        );
        for (int head = 0; head < heads; head++)
            Draw(svg, head, values.AsSpan(head * queries * keys, queries * keys), queries, keys);
        return svg.Append("</svg>").ToString();
    }

    private static void Draw(StringBuilder svg, int head, ReadOnlySpan<float> map, int queries, int keys)
    {
        int left = head % HeadsInARow * (Side + Gap),
            top = head / HeadsInARow * (Side + Label + Gap);
        svg.Append(
            CultureInfo.InvariantCulture,
            $"<text x=\"{left}\" y=\"{top + Label - 2}\" font-size=\"10\" fill=\"#52606d\">head {head + 1}</text><rect x=\"{left}\" y=\"{top + Label}\" width=\"{Side}\" height=\"{Side}\" fill=\"#f7fafc\"/>"
        );
        float most = 0;
        foreach (float value in map)
            most = Math.Max(most, value);
        double width = (double)Side / keys,
            height = (double)Side / queries;
        for (int query = 0; query < queries; query++)
        for (int key = 0; key < keys; key++)
            if (map[query * keys + key] / most is var share && share > 0.01f)
                svg.Append(
                    CultureInfo.InvariantCulture,
                    $"<rect x=\"{left + key * width:0.#}\" y=\"{top + Label + query * height:0.#}\" width=\"{width:0.#}\" height=\"{height:0.#}\" fill=\"#1b3a5c\" fill-opacity=\"{share:0.##}\"/>"
                );
    }
}
