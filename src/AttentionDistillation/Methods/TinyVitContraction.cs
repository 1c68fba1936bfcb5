using System.Globalization;
using AttentionDistillation.Models;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>A step of a contraction.</summary>
/// <param name="Config">The model after it.</param>
/// <param name="Change">What was shrunk, in words; empty for the start.</param>
/// <param name="Parameters">Its parameters.</param>
/// <param name="Score">Its score; NaN for the start, which is not judged.</param>
public sealed record ContractionStep(HierarchicalConfig Config, string Change, long Parameters, double Score);

/// <summary>
/// How TinyViT's family was found (arXiv 2207.10666, section 4; †, from memory): from a large seed model, widths, depths, windows, expansion and MLP ratios
/// are shrunk one at a time; each step keeps the best neighbour, until the model is within its limits.
/// </summary>
public static class TinyVitContraction
{
    private const double LeastRatio = 2;
    private const double RatioStep = 1;
    private const long LeastWindow = 2;

    /// <summary>The models that are one shrunken factor away.</summary>
    /// <param name="config">A TinyViT: stages of inverted bottlenecks and of attention.</param>
    /// <param name="widthStep">By how much a stage's width shrinks: 32, the width of a head; every stage keeps at least as much.</param>
    /// <returns>What was shrunk, and the model; empty when nothing can be.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The step is not positive.</exception>
    public static IReadOnlyList<(string Change, HierarchicalConfig Config)> Neighbours(
        HierarchicalConfig config,
        long widthStep = 32
    )
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentOutOfRangeException.ThrowIfLessThan(widthStep, 1);
        var found = new List<(string, HierarchicalConfig)>();
        for (int number = 0; number < config.Stages.Count; number++)
        {
            var stage = config.Stages[number];
            bool attends = stage.Block == HierarchicalBlock.Attention;
            long width = stage.Width - widthStep;
            // Heads keep their width, so that a width that they do not divide is no neighbour.
            long headWidth = stage.Width / stage.Heads;
            bool even = number > 0 || config.Stem != HierarchicalStem.Convolution || width % 2 == 0;
            if (width >= widthStep && even && (!attends || width % headWidth == 0))
                Add(
                    number,
                    "width",
                    stage.Width,
                    width,
                    stage with
                    {
                        Width = width,
                        Heads = attends ? width / headWidth : stage.Heads,
                    }
                );
            if (stage.Depth > 1)
                Add(number, "depth", stage.Depth, stage.Depth - 1, stage with { Depth = stage.Depth - 1 });
            if (attends && stage.Window is { } window && window / 2 >= LeastWindow)
                Add(number, "window", window, window / 2, stage with { Window = window / 2 });
            if (stage.Ratio - RatioStep >= LeastRatio)
                Add(
                    number,
                    attends ? "MLP ratio" : "expansion",
                    stage.Ratio,
                    stage.Ratio - RatioStep,
                    stage with
                    {
                        Ratio = stage.Ratio - RatioStep,
                    }
                );
        }
        return found;

        void Add(int number, string factor, double from, double to, HierarchicalStage changed) =>
            found.Add(
                (
                    string.Create(CultureInfo.InvariantCulture, $"stage {number + 1}: {factor} {from} to {to}"),
                    config with
                    {
                        Stages = [.. config.Stages.Select((stage, at) => at == number ? changed : stage)],
                    }
                )
            );
    }

    /// <summary>Shrinks a model step by step, each time to the neighbour with the highest score, until it is within the limits.</summary>
    /// <param name="start">The seed model.</param>
    /// <param name="mostParameters">The limit on parameters.</param>
    /// <param name="score">How good a model is, higher is better: for example its accuracy after a short training. Called once a neighbour.</param>
    /// <param name="fits">Further limits, for example on measured images a second; null for none.</param>
    /// <param name="widthStep">By how much widths shrink.</param>
    /// <returns>The seed and every step, the last within the limits.</returns>
    /// <exception cref="ArgumentException">The limits cannot be met by shrinking; the message says how far it came.</exception>
    public static IReadOnlyList<ContractionStep> Search(
        HierarchicalConfig start,
        long mostParameters,
        Func<HierarchicalConfig, double> score,
        Func<HierarchicalConfig, bool>? fits = null,
        long widthStep = 32
    )
    {
        ArgumentNullException.ThrowIfNull(start);
        ArgumentNullException.ThrowIfNull(score);
        var steps = new List<ContractionStep> { new(start, "", Parameters(start), double.NaN) };
        while (steps[^1].Parameters > mostParameters || fits?.Invoke(steps[^1].Config) == false)
        {
            ContractionStep? best = null;
            foreach (var (change, config) in Neighbours(steps[^1].Config, widthStep))
            {
                double value = score(config);
                // The first of equals, so that the outcome does not depend on anything else; a score that is no number never wins.
                if (!double.IsNaN(value) && (best is null || value > best.Score))
                    best = new(config, change, Parameters(config), value);
            }
            steps.Add(
                best
                    ?? throw new ArgumentException(
                        $"After {steps.Count - 1} steps the model has {steps[^1].Parameters} parameters and nothing is left to shrink, or no neighbour has a score. Raise the limits ({mostParameters} parameters) or take a smaller width step than {widthStep}."
                    )
            );
        }
        return steps;
    }

    /// <summary>Parameters of a model, counted without drawing its weights.</summary>
    /// <exception cref="ArgumentException">The configuration is invalid.</exception>
    public static long Parameters(HierarchicalConfig config)
    {
        using var scope = NewDisposeScope();
        using var model = new HierarchicalVisionTransformer(config, SeededLayers.Blank);
        return model.parameters().Sum(parameter => parameter.numel());
    }
}
