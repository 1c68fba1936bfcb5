using AttentionDistillation.Tensors;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>Sizes and switches of <see cref="NystromAttention"/>.</summary>
/// <param name="Landmarks">m; the sequence is cut into m segments of equal length.</param>
public sealed record NystromOptions(long Landmarks)
{
    /// <summary>Steps of the iterative pseudo-inverse.</summary>
    public int Iterations { get; init; } = 6;

    /// <summary>
    /// True begins the pseudo-inverse of each matrix with that matrix's own largest column sum, so that a sequence's result does not depend on its batch; false takes
    /// the largest of the whole batch, as released.
    /// </summary>
    public bool PerMatrix { get; init; } = true;
}

/// <summary>
/// Nyström attention: softmax attention approximated through m landmarks, means of segments of queries and keys; y = F Z (B v) with F = softmax(q k̃ᵀ),
/// B = softmax(q̃ kᵀ) and Z the pseudo-inverse of softmax(q̃ k̃ᵀ). Time and memory grow with L m.
/// </summary>
/// <remarks>
/// Xiong et al., "Nyströmformer", 2021, section 3, algorithm 1 and equation 11. A padded token is zero in its segment's mean, which it thins out. As a module it may hold
/// a depthwise convolution of the values over the sequence, whose result is added.
/// </remarks>
public sealed class NystromAttention : nn.Module, IAttentionForm
{
    /// <summary>Score of a padded key, as released.</summary>
    private const double PaddedScore = -1e9;

    private readonly Parameter? convolution;

    /// <summary>A form.</summary>
    /// <param name="options">Landmarks, iterations.</param>
    /// <param name="heads">H, for the convolution; not used without one.</param>
    /// <param name="kernelSize">Odd width of the convolution; null for none. It starts at zero, so that a conversion begins without it.</param>
    /// <exception cref="ArgumentException">A number is out of its range.</exception>
    public NystromAttention(NystromOptions options, long heads = 1, long? kernelSize = null)
        : base(nameof(NystromAttention))
    {
        Require(options);
        if (kernelSize is { } size)
        {
            RequireKernel(size);
            convolution = SeededLayers.Blank.ZeroParameter(heads, size);
        }
        Options = options;
        RegisterComponents();
    }

    /// <summary>Landmarks, iterations.</summary>
    public NystromOptions Options { get; }

    /// <summary>Mixes the values. The length must be a multiple of the landmarks, or is filled up with padding.</summary>
    /// <param name="call">A bidirectional call; attention weights are not dropped, as there are none.</param>
    /// <returns>[B, H, L, D].</returns>
    /// <exception cref="NotSupportedException">The call is causal, or has a bias.</exception>
    public Tensor Mix(AttentionCall call)
    {
        ArgumentNullException.ThrowIfNull(call);
        var state = call.State;
        AttentionSupport.RequireEncoderCall(state, nameof(NystromAttention));
        using var scope = NewDisposeScope();
        long length = state.Query.size(2),
            padding = (Options.Landmarks - length % Options.Landmarks) % Options.Landmarks;
        if (padding == 0)
            return Mix(state.Query, state.Key, state.Value, state.Mask, Options, convolution, state.Scale)
                .MoveToOuterDisposeScope();
        var mask = state.Mask ?? ones(state.Query.size(0), length, dtype: ScalarType.Bool, device: state.Query.device);
        mask = cat([mask, zeros(mask.size(0), padding, dtype: ScalarType.Bool, device: mask.device)], 1);
        Tensor Padded(Tensor tensor) => nn.functional.pad(tensor, [0, 0, 0, padding]);
        return Mix(Padded(state.Query), Padded(state.Key), Padded(state.Value), mask, Options, convolution, state.Scale)
            .narrow(2, 0, length)
            .MoveToOuterDisposeScope();
    }

    /// <summary>The attention on queries, keys and values.</summary>
    /// <param name="query">[B, H, L, D], L a multiple of the landmarks.</param>
    /// <param name="key">[B, H, L, D].</param>
    /// <param name="value">[B, H, L, D].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="options">Landmarks, iterations.</param>
    /// <param name="convolution">[H, size], a depthwise convolution of the real values, size odd; null for none.</param>
    /// <param name="scale">Factor on the scores; null means 1 / sqrt(D).</param>
    /// <returns>[B, H, L, D].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the length is no multiple of the landmarks.</exception>
    public static Tensor Mix(
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor? mask,
        NystromOptions options,
        Tensor? convolution = null,
        double? scale = null
    )
    {
        using var scope = NewDisposeScope();
        var parts = Landmarks(query, key, mask, options, scale);
        var third = matmul(parts.QueryLandmarks, parts.Key.transpose(-2, -1));
        if (mask is not null)
            third = third.masked_fill(mask.logical_not().view(mask.size(0), 1, 1, -1), PaddedScore);
        var first = nn.functional.softmax(matmul(parts.Query, parts.KeyLandmarks.transpose(-2, -1)), -1);
        var inverse = PseudoInverse(parts.Kernel, options.Iterations, options.PerMatrix);
        var mixed = matmul(matmul(first, inverse), matmul(nn.functional.softmax(third, -1), value));
        if (convolution is not null)
        {
            Shapes.RequireExact(convolution, [query.size(1), -1]);
            RequireKernel(convolution.size(1));
            var real = mask is null ? value : value.masked_fill(mask.logical_not().view(mask.size(0), 1, -1, 1), 0.0);
            mixed =
                mixed
                + nn.functional.conv2d(
                    real,
                    convolution.view(query.size(1), 1, -1, 1),
                    padding: [convolution.size(1) / 2, 0],
                    groups: query.size(1)
                );
        }
        return mixed.MoveToOuterDisposeScope();
    }

    /// <summary>softmax(q̃ k̃ᵀ), the attention between landmarks that is inverted.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, L, D].</param>
    /// <param name="mask">bool [B, L], true = real token; null when nothing is padded.</param>
    /// <param name="options">Landmarks.</param>
    /// <param name="scale">Factor on the scores; null means 1 / sqrt(D).</param>
    /// <returns>[B, H, m, m].</returns>
    public static Tensor LandmarkKernel(Tensor query, Tensor key, Tensor? mask, NystromOptions options, double? scale = null)
    {
        using var scope = NewDisposeScope();
        return Landmarks(query, key, mask, options, scale).Kernel.MoveToOuterDisposeScope();
    }

    /// <summary>The pseudo-inverse of row-stochastic matrices by steps Z ← ¼ Z (13 I - A Z (15 I - A Z (7 I - A Z))), from Aᵀ / its largest column sum.</summary>
    /// <param name="matrices">[..., m, m], rows that sum to 1.</param>
    /// <param name="iterations">Steps, 1 or more.</param>
    /// <param name="perMatrix">Whether each matrix has its own start (see <see cref="NystromOptions.PerMatrix"/>).</param>
    /// <returns>[..., m, m].</returns>
    /// <exception cref="ArgumentException">The matrices are not square, or there is no step.</exception>
    public static Tensor PseudoInverse(Tensor matrices, int iterations = 6, bool perMatrix = true)
    {
        ArgumentNullException.ThrowIfNull(matrices);
        if (matrices.dim() < 2 || matrices.size(-1) != matrices.size(-2) || iterations < 1)
            throw new ArgumentException(
                $"The pseudo-inverse needs square matrices [..., m, m] and 1 or more iterations, but has {Shapes.Describe(matrices)} and {iterations}."
            );
        using var scope = NewDisposeScope();
        var columns = matrices.sum(-2);
        var largest = perMatrix ? columns.amax([-1], keepdim: true).unsqueeze(-1) : columns.max();
        var inverse = matrices.transpose(-2, -1) / largest;
        var identity = eye(matrices.size(-1), dtype: matrices.dtype, device: matrices.device);
        for (int step = 0; step < iterations; step++)
        {
            var product = matmul(matrices, inverse);
            var inner = matmul(product, identity * 15.0 - matmul(product, identity * 7.0 - product));
            inverse = matmul(inverse, identity * 13.0 - inner) * 0.25;
        }
        return inverse.MoveToOuterDisposeScope();
    }

    /// <summary>The map that a call amounts to, F Z B, for pictures; rows sum to nearly 1 and may hold small negative entries.</summary>
    /// <param name="query">[B, H, L, D].</param>
    /// <param name="key">[B, H, L, D].</param>
    /// <param name="mask">bool [B, L]; null when nothing is padded.</param>
    /// <param name="options">Landmarks, iterations.</param>
    /// <returns>[B, H, L, L].</returns>
    public static Tensor Map(Tensor query, Tensor key, Tensor? mask, NystromOptions options)
    {
        ArgumentNullException.ThrowIfNull(query);
        using var scope = NewDisposeScope();
        long length = query.size(2);
        var values = eye(length, dtype: query.dtype, device: query.device).expand(query.size(0), query.size(1), length, length);
        return Mix(query, key, values, mask, options).MoveToOuterDisposeScope();
    }

    private static (Tensor Query, Tensor Key, Tensor QueryLandmarks, Tensor KeyLandmarks, Tensor Kernel) Landmarks(
        Tensor query,
        Tensor key,
        Tensor? mask,
        NystromOptions options,
        double? scale
    )
    {
        Require(options);
        Shapes.Require(query, "[B, H, L, D]");
        Shapes.RequireExact(key, query.shape);
        long length = query.size(2);
        if (length % options.Landmarks != 0)
            throw new ArgumentException(
                $"The landmarks are means of equally long segments: {options.Landmarks} of them do not divide a length of {length}. Pad the sequence to a multiple.",
                nameof(options)
            );
        // Queries and keys take the root of the scale each, so that means of them are scaled alike.
        double factor = Math.Sqrt(scale ?? 1.0 / Math.Sqrt(query.size(3)));
        Tensor Scaled(Tensor tensor) =>
            mask is null ? tensor * factor : (tensor * factor).masked_fill(mask.logical_not().view(mask.size(0), 1, -1, 1), 0.0);
        Tensor Means(Tensor tensor) => tensor.unflatten(2, options.Landmarks, length / options.Landmarks).mean([3]);
        var (q, k) = (Scaled(query), Scaled(key));
        var (queryMeans, keyMeans) = (Means(q), Means(k));
        return (q, k, queryMeans, keyMeans, nn.functional.softmax(matmul(queryMeans, keyMeans.transpose(-2, -1)), -1));
    }

    private static void Require(NystromOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Landmarks < 1 || options.Iterations < 1)
            throw new ArgumentException(
                $"Nyström attention needs 1 or more landmarks and iterations, but has {options.Landmarks} and {options.Iterations}.",
                nameof(options)
            );
    }

    private static void RequireKernel(long size)
    {
        if (size < 1 || size % 2 == 0)
            throw new ArgumentException(
                $"The convolution's width must be odd, so that it has a middle, but is {size}.",
                nameof(size)
            );
    }
}
