using System.Globalization;
using System.Net;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// One attention call as the model made it. Nothing of size L x S exists until <see cref="Scores"/> or <see cref="Probabilities"/> is called,
/// so models can use fused kernels and losses can choose a form that never builds a map.
/// </summary>
[TypeFormatterSource(typeof(HtmlFormatterSource))]
public sealed class AttentionState : IHtmlValue
{
    /// <summary>Records an attention call.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, S, D]; with grouped queries the number of key heads divides H.</param>
    /// <param name="value">[B, H, S, D] (heads as <paramref name="key"/>, width free).</param>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded.</param>
    /// <param name="isCausal">True when query i sees only keys up to i + S - L.</param>
    /// <param name="scale">Factor on the scores; null means 1 / sqrt(D).</param>
    /// <param name="bias">Added to the scaled scores, broadcastable to [B, H, L, S]; null for none.</param>
    /// <param name="window">Keys that a query of a causal call sees at most, its own included (sliding window); null for all.</param>
    /// <exception cref="ArgumentException">Shapes do not fit together, or a window is given to a call that is not causal.</exception>
    public AttentionState(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? mask,
        bool isCausal = false,
        double? scale = null,
        Tensor? bias = null,
        long? window = null
    )
    {
        Shapes.Require(query, "[B, H, L, D]");
        Shapes.Require(key, "[B, H, S, D]");
        Shapes.Require(value, "[B, H, S, D]");
        Shapes.RequireSame(query, key, 0, "batch size");
        Shapes.RequireSame(query, key, 3, "head width");
        Shapes.RequireSame(key, value, 2, "length");
        if (query.size(1) % key.size(1) != 0 || key.size(1) != value.size(1))
            throw new ArgumentException(
                $"Key heads must equal value heads and divide query heads, but heads are {query.size(1)} (query), {key.size(1)} (key), {value.size(1)} (value)."
            );
        if (mask is not null)
        {
            if (mask.dtype != ScalarType.Bool)
                throw new ArgumentException(
                    $"The mask must be bool (true = real key), but is {mask.dtype}. Convert it with .to(ScalarType.Bool).",
                    nameof(mask)
                );
            Shapes.RequireExact(mask, [key.size(0), key.size(2)]);
        }
        if (window is not null && (!isCausal || window < 1))
            throw new ArgumentException(
                $"A sliding window must be 1 or more and belongs to a causal call, but it is {window} and isCausal is {isCausal}.",
                nameof(window)
            );
        (Query, Key, Value, Mask, IsCausal, Bias, Window) = (query, key, value, mask, isCausal, bias, window);
        Scale = scale ?? 1.0 / Math.Sqrt(query.size(3));
    }

    /// <summary>The call of projected sequences whose width holds the heads one after the other.</summary>
    /// <param name="query">[B, L, H x D].</param>
    /// <param name="key">[B, S, H x D].</param>
    /// <param name="value">[B, S, H x D].</param>
    /// <param name="heads">H.</param>
    /// <param name="mask">bool [B, S], true = real key; null when nothing is padded.</param>
    /// <exception cref="ArgumentException">Shapes do not fit, or the heads do not divide the width.</exception>
    public static AttentionState OfHeads(Tensor query, Tensor key, Tensor value, long heads, Tensor? mask = null)
    {
        Shapes.Require(query, "[B, L, C]");
        long width = query.size(2);
        Shapes.RequireExact(key, [query.size(0), -1, width]);
        Shapes.RequireExact(value, key.shape);
        if (heads < 1 || width % heads != 0)
            throw new ArgumentException(
                $"The heads must divide the width, but there are {heads} heads and the width is {width}.",
                nameof(heads)
            );
        Tensor Split(Tensor projected) => projected.view(projected.size(0), projected.size(1), heads, -1).transpose(1, 2);
        return new AttentionState(Split(query), Split(key), Split(value), mask);
    }

    /// <summary>[B, H, L, D].</summary>
    public Tensor Query { get; }

    /// <summary>[B, H, S, D].</summary>
    public Tensor Key { get; }

    /// <summary>[B, H, S, D].</summary>
    public Tensor Value { get; }

    /// <summary>bool [B, S], true = real key; null when nothing is padded.</summary>
    public Tensor? Mask { get; }

    /// <summary>True when query i sees only keys up to i + S - L.</summary>
    public bool IsCausal { get; }

    /// <summary>Factor on the scores.</summary>
    public double Scale { get; }

    /// <summary>Added to the scaled scores; null for none.</summary>
    public Tensor? Bias { get; }

    /// <summary>Keys that a query of a causal call sees at most, its own included; null for all.</summary>
    public long? Window { get; }

    /// <summary>
    /// True when queries and keys alone, with padding and causality, give the map: no position bias, and no window that hides a key. Forms
    /// without maps need that.
    /// </summary>
    public bool IsPlain => Bias is null && (Window is null || Window >= Key.size(2));

    /// <summary>Query heads.</summary>
    public long Heads => Query.size(1);

    /// <summary>Scaled scores before softmax, [B, H, L, S]; keys that may not be seen hold -inf.</summary>
    public Tensor Scores()
    {
        using var scope = NewDisposeScope();
        var key = AttentionMask.RepeatHeads(Key, Heads);
        var scores = matmul(Query, key.transpose(-2, -1)).mul(Scale);
        if (Bias is not null)
            scores = scores + Bias;
        return AttentionMask.Apply(scores, Mask, IsCausal, Window).MoveToOuterDisposeScope();
    }

    /// <summary>The attention map, [B, H, L, S]; rows that may see nothing are zero.</summary>
    public Tensor Probabilities()
    {
        using var scope = NewDisposeScope();
        var map = nn.functional.softmax(Scores(), -1);
        if (Mask is not null || (IsCausal && Query.size(2) > Key.size(2)))
            map = map.nan_to_num(0.0);
        return map.MoveToOuterDisposeScope();
    }

    /// <summary>Moves query, key and value out of the current dispose scope; mask and bias stay with whoever made them.</summary>
    public AttentionState MoveToOuterDisposeScope()
    {
        Query.MoveToOuterDisposeScope();
        Key.MoveToOuterDisposeScope();
        Value.MoveToOuterDisposeScope();
        return this;
    }

    /// <summary>The same call cut off from the graph of gradients.</summary>
    public AttentionState Detach() =>
        new(Query.detach(), Key.detach(), Value.detach(), Mask, IsCausal, Scale, Bias?.detach(), Window);

    /// <summary>Shapes in words, and a small map of each head of the first example.</summary>
    public string ToHtml()
    {
        string words = string.Create(
            CultureInfo.InvariantCulture,
            $"AttentionState: query [{string.Join(", ", Query.shape)}], key [{string.Join(", ", Key.shape)}], scale {Scale:G4}{(IsCausal ? ", causal" : "")}"
        );
        return $"<div style=\"font-size:13px\">{WebUtility.HtmlEncode(words)}</div>{HeadGrid.Of(this)}";
    }
}
