using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Training;

/// <summary>How well a model predicts labels.</summary>
/// <param name="Accuracy">Share of labelled places whose highest score is the label, 0 to 1.</param>
/// <param name="CrossEntropy">Mean negative log-likelihood of the labels, nats.</param>
/// <param name="Count">Labelled places.</param>
public sealed record PredictionScore(double Accuracy, double CrossEntropy, long Count)
{
    /// <summary>exp(cross-entropy): among how many equally likely labels the model still wavers.</summary>
    public double Perplexity => Math.Exp(CrossEntropy);
}

/// <summary>Measures models on batches without training them. Each batch is disposed; the model's mode is put back afterwards.</summary>
public static class Evaluator
{
    /// <summary>Scores predictions against the batches' labels; places labelled <see cref="Batch.IgnoredLabel"/> do not count.</summary>
    /// <param name="model">Also a TorchSharp module; its output is scores [B, classes] or [B, L, V].</param>
    /// <param name="batches">Batches with labels [B] or [B, L].</param>
    /// <exception cref="ArgumentException">There is no labelled place, labels and scores differ in shape, or the model is no module.</exception>
    public static PredictionScore Predictions(ITracedModel model, IEnumerable<Batch> batches)
    {
        double correct = 0,
            loss = 0;
        long count = 0;
        var pass = new TracedPass(model, TraceRequest.Nothing, wantsOutput: true);
        ForEach(
            model,
            batches,
            batch =>
            {
                var trace = pass.Run(batch);
                var output = trace.Output;
                Shapes.RequireExact(batch.Labels, output.shape[..^1], "labels");
                var (scores, labels) = TokenPrediction.Labelled(
                    output.reshape(output.size(0), -1, output.shape[^1]),
                    batch.Labels.reshape(output.size(0), -1)
                );
                if (labels.numel() == 0)
                    return;
                scores = scores.to(ScalarType.Float32);
                loss += nn.functional.cross_entropy(scores, labels, reduction: nn.Reduction.Sum).item<float>();
                correct += scores.argmax(-1).eq(labels).sum().item<long>();
                count += labels.numel();
            }
        );
        return count == 0
            ? throw new ArgumentException("No batch has a labelled place.", nameof(batches))
            : new PredictionScore(correct / count, loss / count, count);
    }

    /// <summary>Mean of a distillation loss's terms over batches, every example weighing the same.</summary>
    /// <param name="teacher">Who is imitated.</param>
    /// <param name="student">Who imitates.</param>
    /// <param name="teacherRequest">What the teacher's trace shall hold.</param>
    /// <param name="studentRequest">What the student's trace shall hold.</param>
    /// <param name="loss">The loss from both traces and the batch.</param>
    /// <param name="batches">The batches.</param>
    /// <returns>Mean of each unweighted term, by name.</returns>
    /// <exception cref="ArgumentException">There are no batches, or a model cannot serve its request.</exception>
    public static IReadOnlyDictionary<string, double> Terms(
        ITracedModel teacher,
        ITracedModel student,
        TraceRequest teacherRequest,
        TraceRequest studentRequest,
        Func<ForwardTrace, ForwardTrace, Batch, LossTerms> loss,
        IEnumerable<Batch> batches
    )
    {
        ArgumentNullException.ThrowIfNull(loss);
        var sums = new Dictionary<string, double>(StringComparer.Ordinal);
        long examples = 0;
        var (teacherPass, studentPass) = (
            new TracedPass(teacher, teacherRequest, wantsOutput: false),
            new TracedPass(student, studentRequest, wantsOutput: false)
        );
        var teacherModule = TracedPass.ModuleOf(teacher);
        bool taught = teacherModule.training;
        teacherModule.eval();
        try
        {
            ForEach(
                student,
                batches,
                batch =>
                {
                    var terms = loss(teacherPass.Run(batch), studentPass.Run(batch), batch);
                    foreach (var (name, value, _) in terms.Terms)
                        sums[name] = sums.GetValueOrDefault(name) + value.to(ScalarType.Float64).item<double>() * batch.Size;
                    examples += batch.Size;
                }
            );
        }
        finally
        {
            teacherModule.train(taught);
        }
        return examples == 0
            ? throw new ArgumentException("There are no batches.", nameof(batches))
            : sums.ToDictionary(pair => pair.Key, pair => pair.Value / examples, StringComparer.Ordinal);
    }

    private static void ForEach(ITracedModel model, IEnumerable<Batch> batches, Action<Batch> measure)
    {
        ArgumentNullException.ThrowIfNull(batches);
        var module = TracedPass.ModuleOf(model);
        bool training = module.training;
        module.eval();
        try
        {
            using var noGrad = no_grad();
            foreach (var batch in batches)
            {
                using var owned = batch;
                Interruption.ThrowIfRequested();
                using var scope = NewDisposeScope();
                measure(batch.To(TrainingLoop.DeviceOf(module)));
            }
        }
        finally
        {
            module.train(training);
        }
    }
}
