using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Attention;

/// <summary>Weights of one <see cref="ModularAttention.Attend(Tensor, Tensor, ModularAttentionWeights, long, Tensor)"/>. Matrices are [output, input].</summary>
public sealed record ModularAttentionWeights
{
    /// <summary>The layer norm before, weight and bias, shared by receivers and senders, [C].</summary>
    public required (Tensor Weight, Tensor Bias) Norm { get; init; }

    /// <summary>Modulation [C, code width] and matrix [C, C] of the queries.</summary>
    public required (Tensor Scale, Tensor Weight) Query { get; init; }

    /// <summary>Modulation and matrix of the keys.</summary>
    public required (Tensor Scale, Tensor Weight) Key { get; init; }

    /// <summary>Modulation and matrix of the values.</summary>
    public required (Tensor Scale, Tensor Weight) Value { get; init; }

    /// <summary>Modulation, matrix and bias of the exit.</summary>
    public required (Tensor Scale, Tensor Weight, Tensor Bias) Exit { get; init; }

    /// <summary>γ, layer scale of the branch, [C] (0.1 at first).</summary>
    public required Tensor LayerScale { get; init; }

    /// <summary>g, how strongly codes modulate (0.1 at first), a scalar.</summary>
    public required Tensor Gain { get; init; }
}

/// <summary>
/// The parts of a neural attentive circuit: modules that each have a state, a code (which modulates shared linear layers) and a signature (which decides
/// whom it listens to). n modules, states [B, n, C], codes [n, K], signatures [n, S].
/// </summary>
/// <remarks>Rahaman et al., "Neural Attentive Circuits", 2022, as m2mKD (Lo et al., 2024, arXiv 2402.16918) trains them; its code for NAC students.</remarks>
public static class ModularAttention
{
    private const double Epsilon = 1e-5;

    /// <summary>A linear layer whose input channels a code scales: (x ⊙ (1 + g · LN(code W_sᵀ))) Wᵀ + b, LN without weights.</summary>
    /// <param name="input">[B, n, C].</param>
    /// <param name="codes">[n, K].</param>
    /// <param name="scale">W_s, [C, K].</param>
    /// <param name="weight">W, [output, C].</param>
    /// <param name="bias">[output], or null.</param>
    /// <param name="gain">g, a scalar.</param>
    /// <param name="addOne">False leaves the 1 out.</param>
    /// <returns>[B, n, output].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor CodeModulatedLinear(
        Tensor input,
        Tensor codes,
        Tensor scale,
        Tensor weight,
        Tensor? bias,
        Tensor gain,
        bool addOne = true
    )
    {
        Shapes.Require(input, "[B, n, C]");
        Shapes.RequireExact(codes, [input.size(1), -1]);
        Shapes.RequireExact(scale, [input.size(2), codes.size(1)]);
        using var scope = NewDisposeScope();
        var modulation =
            nn.functional.layer_norm(nn.functional.linear(codes, scale), [scale.size(0)], null, null, Epsilon) * gain;
        if (addOne)
            modulation = modulation + 1.0;
        return LinearProduct.Of(input * modulation, weight, bias).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Log of the graph that signatures make: log k = −(1 − cos(u, v)) / bandwidth, −∞ where 1 − cos exceeds the truncation, normalised over senders.
    /// </summary>
    /// <param name="receivers">Signatures, [n, S].</param>
    /// <param name="senders">Signatures, [m, S].</param>
    /// <param name="bandwidth">How quickly affinity falls.</param>
    /// <param name="truncation">Greatest distance 1 − cos of an edge (0.9 in the code); null for none.</param>
    /// <returns>[n, m], rows of exp sum to 1; a receiver without any edge has NaN.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the bandwidth is not positive.</exception>
    public static Tensor SignatureKernel(Tensor receivers, Tensor senders, double bandwidth = 1.0, double? truncation = null)
    {
        Shapes.Require(receivers, "[n, S]");
        Shapes.RequireExact(senders, [-1, receivers.size(1)]);
        if (!(bandwidth > 0))
            throw new ArgumentException($"The bandwidth must be above 0, but is {bandwidth}.", nameof(bandwidth));
        using var scope = NewDisposeScope();
        var distance =
            matmul(nn.functional.normalize(receivers, dim: -1), nn.functional.normalize(senders, dim: -1).t()).neg() + 1.0;
        var affinity = distance / -bandwidth;
        if (truncation is { } greatest)
            affinity = affinity.masked_fill(distance > greatest, double.NegativeInfinity);
        return (affinity - affinity.logsumexp(-1, keepdim: true)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// A draw of the graph that gradients pass through: each edge is a relaxed Bernoulli variable with the probability that its kernel gives relative to the
    /// receiver's strongest edge (temperature 0.5 in the code), rows normalised again.
    /// </summary>
    /// <param name="logKernel">Of <see cref="SignatureKernel"/>, [n, m].</param>
    /// <param name="uniform">Draws from (0, 1), [n, m].</param>
    /// <param name="temperature">Smoothness; towards 0 edges are there or not.</param>
    /// <returns>[n, m], logs.</returns>
    public static Tensor SampleKernel(Tensor logKernel, Tensor uniform, double temperature = 0.5)
    {
        Shapes.RequireExact(uniform, logKernel.shape);
        using var scope = NewDisposeScope();
        // A probability of 1 has no finite logit: the strongest edge is kept just below.
        var probability = (logKernel - logKernel.amax([-1L], keepdim: true)).exp().clamp(1e-6, 1 - 1e-6);
        var logits = probability.log() - (-probability).log1p() + uniform.log() - (-uniform).log1p();
        var edges = nn.functional.logsigmoid(logits / temperature).masked_fill(logKernel.isneginf(), double.NegativeInfinity);
        return (edges - edges.logsumexp(-1, keepdim: true)).MoveToOuterDisposeScope();
    }

    /// <summary>Attention between modules: shared pre-norm, code-modulated projections, the log kernel added to scores, layer scale, residual.</summary>
    /// <param name="states">[B, n, C].</param>
    /// <param name="codes">[n, K].</param>
    /// <param name="weights">The weights.</param>
    /// <param name="heads">H.</param>
    /// <param name="logKernel">[n, n]; null for attention inside one module, as m2mKD trains it.</param>
    /// <returns>New states [B, n, C], and the attention call.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the heads do not divide C.</exception>
    public static (Tensor States, AttentionState State) Attend(
        Tensor states,
        Tensor codes,
        ModularAttentionWeights weights,
        long heads,
        Tensor? logKernel
    ) => Attend(states, codes, states, codes, weights, heads, logKernel);

    /// <summary>The same between two sets of modules: receivers ask, senders answer. Where both are one set it is attention among them.</summary>
    /// <param name="receivers">[B, n, C].</param>
    /// <param name="receiverCodes">[n, K]; they modulate queries and the exit.</param>
    /// <param name="senders">[B, m, C].</param>
    /// <param name="senderCodes">[m, K]; they modulate keys and values. Codes of zeros modulate nothing.</param>
    /// <param name="weights">The weights.</param>
    /// <param name="heads">H.</param>
    /// <param name="logKernel">[n, m]; null for none.</param>
    /// <returns>New states of the receivers [B, n, C], and the attention call.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or the heads do not divide C.</exception>
    public static (Tensor States, AttentionState State) Attend(
        Tensor receivers,
        Tensor receiverCodes,
        Tensor senders,
        Tensor senderCodes,
        ModularAttentionWeights weights,
        long heads,
        Tensor? logKernel
    )
    {
        ArgumentNullException.ThrowIfNull(weights);
        Shapes.Require(receivers, "[B, n, C]");
        long width = receivers.size(2);
        Shapes.RequireExact(senders, [receivers.size(0), -1, width]);
        if (heads < 1 || width % heads != 0)
            throw new ArgumentException(
                $"The number of heads must divide the width, but there are {heads} heads and the width is {width}."
            );
        if (logKernel is not null)
            Shapes.RequireExact(logKernel, [receivers.size(1), senders.size(1)]);
        using var scope = NewDisposeScope();
        Tensor Norm(Tensor states) => nn.functional.layer_norm(states, [width], weights.Norm.Weight, weights.Norm.Bias, Epsilon);
        var asking = Norm(receivers);
        var answering = ReferenceEquals(receivers, senders) ? asking : Norm(senders);
        Tensor Heads(Tensor states, Tensor codes, (Tensor Scale, Tensor Weight) part) =>
            CodeModulatedLinear(states, codes, part.Scale, part.Weight, null, weights.Gain)
                .view(states.size(0), states.size(1), heads, -1)
                .transpose(1, 2);
        var state = new AttentionState(
            Heads(asking, receiverCodes, weights.Query),
            Heads(answering, senderCodes, weights.Key),
            Heads(answering, senderCodes, weights.Value),
            mask: null,
            bias: logKernel?.unsqueeze(0).unsqueeze(0)
        );
        var mixed = matmul(state.Probabilities(), state.Value).transpose(1, 2).flatten(2);
        var branch = CodeModulatedLinear(
            mixed,
            receiverCodes,
            weights.Exit.Scale,
            weights.Exit.Weight,
            weights.Exit.Bias,
            weights.Gain
        );
        var next = receivers + branch * weights.LayerScale;
        BiasedAttention.MoveOut(state);
        return (next.MoveToOuterDisposeScope(), state);
    }

    /// <summary>The read-out: a confidence for every latent, softmax over latents, their weighted mean, a linear layer.</summary>
    /// <param name="states">[B, n, C].</param>
    /// <param name="score">Linear layer of confidences, [1, C] and [1].</param>
    /// <param name="logits">Linear layer of classes, [classes, C] and [classes].</param>
    /// <param name="temperature">τ of the softmax.</param>
    /// <param name="gumbel">Gumbel noise on confidences in training, [B, n]; null for none.</param>
    /// <returns>Weights [B, n] and logits [B, classes].</returns>
    public static (Tensor Weights, Tensor Logits) PoolLatents(
        Tensor states,
        (Tensor Weight, Tensor Bias) score,
        (Tensor Weight, Tensor Bias) logits,
        double temperature = 1.0,
        Tensor? gumbel = null
    )
    {
        Shapes.Require(states, "[B, n, C]");
        using var scope = NewDisposeScope();
        var confidence = LinearProduct.Of(states, score.Weight, score.Bias).squeeze(-1);
        if (gumbel is not null)
            confidence = confidence + gumbel;
        var weights = nn.functional.softmax(confidence / temperature, -1);
        var pooled = (states * weights.unsqueeze(-1)).sum(1L);
        var scores = nn.functional.linear(pooled, logits.Weight, logits.Bias);
        return (weights.MoveToOuterDisposeScope(), scores.MoveToOuterDisposeScope());
    }
}
