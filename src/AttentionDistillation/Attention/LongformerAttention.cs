using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>
/// Longformer's attention: every token sees a window and the global tokens; global tokens see every real token, through projections of their own.
/// </summary>
/// <remarks>
/// Beltagy et al., "Longformer", 2020, section 3.1 and 3.2. † Semantics of transformers: local queries see global tokens by the ordinary keys and values, each
/// key once; padded queries give 0. The global tokens here are the first ones of a sequence; <see cref="Mix(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor?, long, double?, double)"/> takes any.
/// </remarks>
public sealed class LongformerAttention : nn.Module, IAttentionForm
{
    private readonly Linear query;
    private readonly Linear key;
    private readonly Linear value;

    /// <summary>Builds the global projections.</summary>
    /// <param name="width">C.</param>
    /// <param name="heads">H.</param>
    /// <param name="window">Total width of the window, even.</param>
    /// <param name="globalTokens">How many of the first tokens are global, 1 or more.</param>
    /// <param name="layers">Makes the weights.</param>
    /// <exception cref="ArgumentException">A number is out of its range.</exception>
    public LongformerAttention(long width, long heads, long window, long globalTokens, SeededLayers layers)
        : base(nameof(LongformerAttention))
    {
        ArgumentNullException.ThrowIfNull(layers);
        AttentionSupport.RequireWindow(window);
        if (globalTokens < 1)
            throw new ArgumentException(
                $"Longformer has 1 or more global tokens, but {globalTokens} were asked for. Without any use {nameof(WindowedAttention)}.",
                nameof(globalTokens)
            );
        if (heads < 1 || width % heads != 0)
            throw new ArgumentException($"{heads} heads do not divide a width of {width}.", nameof(heads));
        (Heads, Window, GlobalTokens) = (heads, window, globalTokens);
        query = layers.Linear(width, width);
        key = layers.Linear(width, width);
        value = layers.Linear(width, width);
        RegisterComponents();
    }

    /// <summary>H.</summary>
    public long Heads { get; }

    /// <summary>Total width of the window.</summary>
    public long Window { get; }

    /// <summary>How many of the first tokens are global.</summary>
    public long GlobalTokens { get; }

    /// <summary>Makes the global projections copies of a layer's ordinary ones, as a conversion begins (†).</summary>
    /// <param name="layer">The attention layer, without cross attention.</param>
    /// <exception cref="ArgumentException">Its projections have other shapes.</exception>
    public void CopyFrom(MultiHeadAttention layer)
    {
        ArgumentNullException.ThrowIfNull(layer);
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        var apart = layer
            .named_parameters()
            .SelectMany(pair => MultiHeadAttention.Separate("attention." + pair.name, pair.parameter))
            .ToDictionary(part => part.Name["attention.".Length..], part => part.Value, StringComparer.Ordinal);
        foreach (var (name, parameter) in named_parameters())
        {
            if (!apart.TryGetValue(name, out var original) || !original.shape.SequenceEqual(parameter.shape))
                throw new ArgumentException(
                    $"The layer has no projection '{name}' of shape {Shapes.Describe(parameter)}: it has {string.Join(", ", apart.Select(part => $"{part.Key} {Shapes.Describe(part.Value)}"))}.",
                    nameof(layer)
                );
            parameter.copy_(original);
        }
    }

    /// <summary>Mixes the values; needs the call's hidden states for the global projections.</summary>
    /// <param name="call">A bidirectional call with <see cref="AttentionCall.Hidden"/>.</param>
    /// <returns>[B, H, L, D].</returns>
    /// <exception cref="NotSupportedException">The call is causal, has a bias, or no hidden states.</exception>
    public Tensor Mix(AttentionCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var state = call.State;
        AttentionSupport.RequireEncoderCall(state, nameof(LongformerAttention));
        if (call.Hidden is not { } hidden)
            throw new NotSupportedException(
                "Longformer's global tokens have projections of their own: the call must carry the hidden states."
            );
        using var scope = NewDisposeScope();
        long length = state.Query.size(2),
            global = Math.Min(GlobalTokens, length),
            half = Window / 2;
        Tensor Apart(Tensor projected) => projected.view(projected.size(0), projected.size(1), Heads, -1).transpose(1, 2);
        // Their queries are the first tokens' alone, so that the global rows cost as many queries as there are global tokens.
        var rows = AttentionMixing.Mix(
            new AttentionState(
                Apart(query.call(hidden.narrow(1, 0, global))),
                Apart(key.call(hidden)),
                Apart(value.call(hidden)),
                state.Mask,
                scale: state.Scale
            ),
            call.Dropout
        );
        if (length == global)
            return Masked(rows, state.Mask).MoveToOuterDisposeScope();
        var local = WindowedAttention.Gathered(
            state.Query,
            state.Key,
            state.Value,
            global,
            state.Mask,
            half,
            state.Scale,
            call.Dropout
        );
        return Masked(cat([rows, local.narrow(2, global, length - global)], 2), state.Mask).MoveToOuterDisposeScope();
    }

    /// <summary>The attention on queries, keys and values of both kinds, with global tokens anywhere.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, L, D].</param>
    /// <param name="value">[B, H, L, D].</param>
    /// <param name="globalQuery">[B, H, L, D]; only rows of global tokens are used.</param>
    /// <param name="globalKey">[B, H, L, D], for global queries.</param>
    /// <param name="globalValue">[B, H, L, D], for global queries.</param>
    /// <param name="globals">bool [B, L], true = global.</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="window">Total width, even.</param>
    /// <param name="scale">Factor on the scores; null means 1 / sqrt(D).</param>
    /// <param name="dropout">Probability with which an attention weight is dropped.</param>
    /// <returns>[B, H, L, D]; padded queries are 0.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the window is odd.</exception>
    public static Tensor Mix(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor globalQuery,
        Tensor globalKey,
        Tensor globalValue,
        Tensor globals,
        Tensor? mask,
        long window,
        double? scale = null,
        double dropout = 0.0
    )
    {
        Shapes.Require(query, "[B, H, L, D]");
        Shapes.RequireExact(globals, [query.size(0), query.size(2)]);
        foreach (var other in new[] { key, value, globalQuery, globalKey, globalValue })
            Shapes.RequireExact(other, query.shape);
        using var scope = NewDisposeScope();
        var local = WindowedAttention.Mix(query, key, value, globals, mask, window, scale, dropout);
        var rows = AttentionMixing.Mix(new AttentionState(globalQuery, globalKey, globalValue, mask, scale: scale), dropout);
        return Masked(where(globals.view(globals.size(0), 1, -1, 1), rows, local), mask).MoveToOuterDisposeScope();
    }

    /// <summary>What each query sees, for pictures.</summary>
    /// <param name="length">L.</param>
    /// <param name="window">Total width.</param>
    /// <param name="globalTokens">How many of the first tokens are global.</param>
    /// <returns>bool [L, L].</returns>
    public static Tensor Support(long length, long window, long globalTokens)
    {
        using var scope = NewDisposeScope();
        var global = arange(length) < globalTokens;
        return AttentionSupport
            .Window(length, window)
            .logical_or(global.unsqueeze(0))
            .logical_or(global.unsqueeze(1))
            .MoveToOuterDisposeScope();
    }

    private static Tensor Masked(Tensor mixed, Tensor? mask) =>
        mask is null ? mixed : mixed.masked_fill(mask.logical_not().view(mask.size(0), 1, -1, 1), 0.0);
}
