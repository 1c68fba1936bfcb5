using AttentionDistillation.Methods.Circuits;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>
/// Thinking Sparks (arXiv 2509.25758, 2025): find the circuit of a behaviour before and after post-training by edge attribution with integrated gradients, call heads of the later
/// circuit alone emergent, follow them over checkpoints of SFT, distillation and GRPO, and test them by ablation and scaling.
/// </summary>
/// <remarks>
/// The parts: <see cref="EdgeAttribution"/>, <see cref="Circuit"/>, <see cref="CircuitRun"/>, <see cref="HeadImportance"/>, <see cref="HeadEmergence"/>,
/// <see cref="HeadIntervention"/>, and <see cref="Losses.GroupRelativePolicy"/> for the reinforcement learning; pass@k is <c>Analysis.SamplingMetrics</c>.
/// </remarks>
public static class ThinkingSparks
{
    /// <summary>Edges that the paper's circuits keep at first, of models of 1.5 billion parameters.</summary>
    public const int PaperEdges = 5000;

    /// <summary>The share of the largest score below which the paper's circuits are simplified, τ.</summary>
    public const double PaperThreshold = 0.1;

    /// <summary>Points on the path of inputs in the paper's appendix (its text names 5 to 8 elsewhere).</summary>
    public const int PaperSteps = 100;

    /// <summary>The paper's decoding: temperature and nucleus.</summary>
    public static (double Temperature, double TopP) PaperSampling { get; } = (0.6, 0.95);

    /// <summary>The circuit of a behaviour, from prompts that show it and prompts of the same length that do not.</summary>
    /// <param name="model">The decoder.</param>
    /// <param name="clean">[B, L, C], embedded prompts that show the behaviour.</param>
    /// <param name="corrupted">[B, L, C], embedded prompts that do not.</param>
    /// <param name="steps">m, points on the path.</param>
    /// <param name="edges">How many edges before pruning.</param>
    /// <param name="aggregation">How examples are averaged.</param>
    /// <param name="first">The first point, 0 or 1 (see <see cref="EdgeAttribution.Score"/>).</param>
    /// <returns>The circuit, and the scores [S, D] it was chosen by.</returns>
    /// <exception cref="ArgumentException">Shapes do not fit, or a number is out of its range.</exception>
    public static (Circuit Circuit, Tensor Scores) FindCircuit(
        ICircuitModel model,
        Tensor clean,
        Tensor corrupted,
        int steps,
        int edges,
        EdgeAggregation aggregation = EdgeAggregation.SignedMean,
        int first = 0
    )
    {
        ArgumentNullException.ThrowIfNull(model);
        using var scope = NewDisposeScope();
        var scores = EdgeAttribution.Score(model, clean, corrupted, steps, first).Mean(aggregation);
        return (Circuit.Top(scores, model.Graph.Layers, model.Graph.Heads, edges), scores.MoveToOuterDisposeScope());
    }

    /// <summary>Sums what heads write, each multiplied by its factor: 0 ablates, 0.5 weakens, 1.3 strengthens.</summary>
    /// <param name="written">[B, H, L, C], after each head's part of the output projection.</param>
    /// <param name="factors">[H].</param>
    /// <param name="means">[H, L, C], which take the place of heads with factor 0 (mean ablation); null leaves zeros there.</param>
    /// <returns>[B, L, C].</returns>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static Tensor Intervene(Tensor written, Tensor factors, Tensor? means = null)
    {
        Shapes.Require(written, "[B, H, L, C]");
        Shapes.RequireExact(factors, [written.size(1)]);
        using var scope = NewDisposeScope();
        var sum = (written * factors.to(written.dtype).view(1, -1, 1, 1)).sum(1);
        if (means is not null)
        {
            Shapes.RequireExact(means, written.shape[1..]);
            sum = sum + AblatedMeans(factors.unsqueeze(0), means.unsqueeze(0))[0].to(written.dtype).sum([0]);
        }
        return sum.MoveToOuterDisposeScope();
    }

    /// <summary>The same for a whole model's pass (<see cref="Models.DecoderInput.Heads"/>): only heads with factor 0 are replaced by their means.</summary>
    /// <param name="factors">[layers, H].</param>
    /// <param name="means">[layers, H, C] or [layers, H, L, C]; null leaves zeros.</param>
    /// <exception cref="ArgumentException">Shapes do not fit.</exception>
    public static HeadIntervention Intervention(Tensor factors, Tensor? means = null)
    {
        Shapes.Require(factors, "[layers, H]");
        return new HeadIntervention(factors, means is null ? null : AblatedMeans(factors, means));
    }

    private static Tensor AblatedMeans(Tensor factors, Tensor means)
    {
        using var scope = NewDisposeScope();
        var ablated = factors.eq(0.0);
        while (ablated.dim() < means.dim())
            ablated = ablated.unsqueeze(-1);
        return means.masked_fill(ablated.logical_not(), 0.0).MoveToOuterDisposeScope();
    }
}
