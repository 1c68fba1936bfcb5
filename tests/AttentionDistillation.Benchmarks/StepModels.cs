using System.Diagnostics;
using System.Globalization;
using AttentionDistillation.Losses;
using AttentionDistillation.Methods;
using AttentionDistillation.Models;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using AttentionDistillation.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>A batch's shape: B sequences of L tokens, half of them padding where <paramref name="Padded"/>.</summary>
internal sealed record StepShape(long Batch, long Length, bool Padded)
{
    /// <summary>BxL, with a p at the end for half the tokens padded.</summary>
    internal static StepShape Parse(string text)
    {
        bool padded = text.EndsWith('p');
        string[] sizes = text.TrimEnd('p').Split('x');
        return
            sizes.Length == 2
            && long.TryParse(sizes[0], NumberStyles.None, CultureInfo.InvariantCulture, out long batch)
            && long.TryParse(sizes[1], NumberStyles.None, CultureInfo.InvariantCulture, out long length)
            ? new StepShape(batch, length, padded)
            : throw new ArgumentException($"'{text}' is no shape. Write BxL, for example 256x128, or 64x512p for half padding.");
    }

    internal long Tokens => Batch * Length;

    internal long RealTokens => Padded ? Lengths.Sum() : Tokens;

    /// <summary>Real tokens of each sequence: evenly from almost none to all.</summary>
    internal long[] Lengths =>
        [.. Enumerable.Range(0, (int)Batch).Select(row => Padded ? Math.Max(1, (2 * row + 1) * Length / (2 * Batch)) : Length)];

    /// <summary>Random tokens, the same for a step every time.</summary>
    internal Batch Draw(long vocabulary, long step)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Generator(0, string.Create(CultureInfo.InvariantCulture, $"batch {step}"));
        var ids = randint(1, vocabulary, [Batch, Length], ScalarType.Int64, generator: generator);
        if (!Padded)
            return new Batch(("input_ids", ids.MoveToOuterDisposeScope()));
        var mask = arange(Length).unsqueeze(0) < tensor(Lengths).unsqueeze(1);
        return new Batch(
            ("input_ids", (ids * mask).MoveToOuterDisposeScope()),
            ("attention_mask", mask.MoveToOuterDisposeScope())
        );
    }

    public override string ToString() => $"{Batch}x{Length}{(Padded ? "p" : "")}";
}

/// <summary>Teacher and student, and the ways to run a step of them.</summary>
internal sealed class StepModels : IDisposable
{
    private const double LearningRate = 1e-4;

    private readonly BertModel teacher;
    private readonly BertModel student;
    private readonly MiniLm method;

    internal StepModels(BertConfig teacher, BertConfig student, Device device)
    {
        static BertConfig Bare(BertConfig config) =>
            config with
            {
                AddPooler = false,
                HiddenDropout = 0.0,
                AttentionDropout = 0.0,
            };
        this.teacher = new BertModel(Bare(teacher), 1);
        this.student = new BertModel(Bare(student), 2);
        this.teacher.to(device);
        this.student.to(device);
        method = new MiniLm(this.teacher.Capabilities, this.student.Capabilities);
        Device = device;
        Vocabulary = Math.Min(teacher.VocabularySize, student.VocabularySize);
    }

    internal Device Device { get; }

    internal long Vocabulary { get; }

    /// <summary>The step's pieces as the training loop has them, without its curve, progress and checkpoints.</summary>
    internal Trained Begin(double? clipNorm) => new(teacher, student, method, clipNorm);

    /// <summary>Milliseconds a step of a Distiller takes, new batches from the host included, without waiting between steps.</summary>
    internal double DistillerMilliseconds(StepShape shape, int warmUps, int steps)
    {
        using var batches = new RepeatedBatches(shape, Vocabulary);
        return DistillerMilliseconds(batches, warmUps, steps, null);
    }

    /// <summary>The same over any batches.</summary>
    /// <param name="batches">The data.</param>
    /// <param name="warmUps">Steps before the clock starts.</param>
    /// <param name="steps">Steps that are timed, those of the numbers from <paramref name="warmUps"/> on.</param>
    /// <param name="prefetch">Batches built ahead; null for the device's default.</param>
    internal double DistillerMilliseconds(IBatchSource batches, int warmUps, int steps, int? prefetch)
    {
        int step = 0;
        long start = 0;
        double milliseconds = 0;
        using var distiller = new Distiller(
            teacher,
            student,
            method.TeacherRequest,
            method.StudentRequest,
            Watch,
            new TrainingOptions
            {
                Steps = warmUps + steps + 1,
                LearningRate = LearningRate,
                Seed = 0,
                Precision = Precision.BFloat16,
                Device = Device,
                Prefetch = prefetch,
                RecordEvery = warmUps + steps + 1,
            }
        );
        distiller.Run(batches);
        return milliseconds / steps;

        // From one step's loss to that of a later one: as many of every part of a step. Batches may be asked for ahead, so their source knows no time.
        LossTerms Watch(Attention.ForwardTrace taught, Attention.ForwardTrace learnt, Batch batch)
        {
            if (step == warmUps || step == warmUps + steps)
            {
                MiniLmStep.Synchronize(Device);
                if (step == warmUps)
                    start = Stopwatch.GetTimestamp();
                else
                    milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            }
            step++;
            return method.Loss(taught, learnt, batch);
        }
    }

    /// <summary>
    /// Floating-point operations of a step, a multiply-add as 2, counted on all tokens: linear layers and attention of what runs, the relations' two
    /// products in both models; a backward pass counts twice its forward. Recomputation inside kernels does not count.
    /// </summary>
    internal double Cost(StepShape shape)
    {
        double Forward(TextEncoderConfig config, bool relations)
        {
            double tokens = shape.Tokens,
                c = config.HiddenSize;
            double map = 2 * tokens * shape.Length * c; // one product of L x L maps with features
            double whole = 2 * tokens * (4 * c * c + 2 * c * config.IntermediateSize) + 2 * map;
            return (config.Layers - 1) * whole + 2 * tokens * 3 * c * c + (relations ? 2 * map : 0);
        }
        return Forward(teacher.Config, true) + 3 * Forward(student.Config, true);
    }

    public void Dispose()
    {
        teacher.Dispose();
        student.Dispose();
    }

    /// <summary>A student under training in bfloat16, its weights put back at the end.</summary>
    internal sealed class Trained : IDisposable
    {
        private readonly TracedPass teacherPass;
        private readonly TracedPass studentPass;
        private readonly MiniLm method;
        private readonly double? clipNorm;
        private readonly PrecisionLoan[] loans;
        private readonly AdamW optimiser;

        internal Trained(BertModel teacher, BertModel student, MiniLm method, double? clipNorm)
        {
            (this.method, this.clipNorm) = (method, clipNorm);
            teacher.eval();
            student.train();
            loans = [new PrecisionLoan(teacher, trains: false), new PrecisionLoan(student, trains: true)];
            (teacherPass, studentPass) = (
                new TracedPass(teacher, method.TeacherRequest, wantsOutput: false),
                new TracedPass(student, method.StudentRequest, wantsOutput: false)
            );
            optimiser = new AdamW(student.named_parameters().Select(pair => (pair.name, pair.parameter)));
        }

        /// <summary>One step; <paramref name="mark"/> is told after every section.</summary>
        internal void Step(Batch batch, Action<string>? mark)
        {
            using var scope = NewDisposeScope();
            Attention.ForwardTrace taught;
            using (no_grad())
                taught = teacherPass.Run(batch);
            mark?.Invoke("teacher forward");
            var learnt = studentPass.Run(batch);
            mark?.Invoke("student forward");
            var total = method.Loss(taught, learnt, batch).Total;
            mark?.Invoke("losses");
            DifferentiableOperator.Backward(total);
            mark?.Invoke("backward");
            optimiser.Step(LearningRate, clipNorm);
            optimiser.ZeroGradients();
            mark?.Invoke("clip and optimiser");
        }

        public void Dispose()
        {
            optimiser.ZeroGradients();
            foreach (var loan in loans)
                loan.Dispose();
            optimiser.Dispose();
        }
    }

    // A few batches in turn, so that their making costs nothing.
    private sealed class RepeatedBatches(StepShape shape, long vocabulary) : IBatchSource, IDisposable
    {
        private const int Different = 4;
        private readonly Batch[] batches = [.. Enumerable.Range(0, Different).Select(number => shape.Draw(vocabulary, number))];

        public Batch BatchAt(long step)
        {
            var source = batches[step % Different];
            return new Batch([.. source.Names.Select(name => (name, source[name].alias()))]);
        }

        public void Dispose()
        {
            foreach (var batch in batches)
                batch.Dispose();
        }
    }
}

internal static class BatchExtensions
{
    /// <summary>In pinned memory where the device is CUDA; the original goes.</summary>
    internal static Batch Pinned(this Batch batch, Device device)
    {
        if (device.type != DeviceType.CUDA)
            return batch;
        using (batch)
            return batch.Pin();
    }
}
