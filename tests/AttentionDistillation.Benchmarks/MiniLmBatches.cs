using System.Globalization;
using AttentionDistillation.Models;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;

namespace AttentionDistillation.Benchmarks;

/// <summary>
/// MiniLM distillation through the Distiller over texts of real texts' lengths: batches at one length, cut to their longest text, or of texts of near lengths,
/// each built in its step or ahead of it.
/// </summary>
internal static class MiniLmBatches
{
    private const int Texts = 20_000;
    private const int WarmUps = 30;
    private const int Steps = 60;
    private const int Rounds = 3;

    internal static BenchmarkCommand Command { get; } =
        new(
            "minilm-batches",
            "[--device cpu|cuda] [--lengths sentences,paragraphs] [--forms padded,cut,bucketed] [--prefetch 0,2] [--steps N] [--rounds N] [--output FOLDER]",
            "MiniLM steps over texts of log-normal lengths, BERT-base to 6 x 384, in bfloat16: tokens and real tokens a second with padded, cut and bucketed batches, built in the step and ahead; forms take turns; output also writes minilm-batches-DEVICE.csv there; on the CPU the models are small and only show that all of it runs",
            Run
        );

    private sealed record Cell(LengthDistribution Lengths, string Form, int Prefetch)
    {
        internal List<double> Milliseconds { get; } = [];

        internal long Tokens { get; set; }

        internal long RealTokens { get; set; }

        internal long Examples { get; set; }
    }

    internal static int Run(Arguments arguments)
    {
        var device = Devices.Resolve(arguments["device"]);
        bool onCuda = device.type == DeviceType.CUDA;
        var known = onCuda ? LengthDistribution.OnDevice : LengthDistribution.OnCpu;
        string[] names = arguments.List("lengths") ?? [.. known.Select(lengths => lengths.Name)],
            forms = arguments.List("forms") ?? LengthDistribution.Forms;
        RequireKnown("lengths", names, [.. known.Select(lengths => lengths.Name)]);
        RequireKnown("forms", forms, LengthDistribution.Forms);
        int[] prefetches =
        [
            .. (arguments.List("prefetch") ?? ["0", "2"]).Select(text => int.Parse(text, CultureInfo.InvariantCulture)),
        ];
        int steps = arguments.Number("steps", onCuda ? Steps : 3),
            warmUps = onCuda ? WarmUps : 1,
            rounds = arguments.Number("rounds", onCuda ? Rounds : 1);
        Console.WriteLine($"minilm-batches on {Devices.Describe(device)}");
        using var models = onCuda
            ? new StepModels(BertConfig.Base, BertConfig.MiniLm6x384, device)
            : new StepModels(MiniLmStep.Small(BertConfig.Base, 3, 48), MiniLmStep.Small(BertConfig.MiniLm6x384, 2, 24), device);
        Cell[] cells =
        [
            .. known
                .Where(lengths => names.Contains(lengths.Name))
                .SelectMany(lengths =>
                    forms.SelectMany(form => prefetches.Select(prefetch => new Cell(lengths, form, prefetch)))
                ),
        ];
        for (int round = 0; round < rounds; round++)
            foreach (var cell in cells)
            {
                var source = cell.Lengths.Batches(cell.Form, cell.Lengths.Draw(onCuda ? Texts : 200), models.Vocabulary);
                if (round == 0)
                    Count(cell, source, warmUps, steps);
                cell.Milliseconds.Add(models.DistillerMilliseconds(source, warmUps, steps, cell.Prefetch));
                Line(cell, steps);
            }
        if (arguments["output"] is { } folder)
            Write(folder, cells, steps, device);
        return 0;
    }

    private static void RequireKnown(string option, string[] given, string[] known)
    {
        if (given.FirstOrDefault(name => !known.Contains(name)) is { } unknown)
            throw new ArgumentException($"--{option}: there is no '{unknown}'. There are: {string.Join(", ", known)}.");
    }

    // A source is a pure function of the step, so the steps that are timed can be counted beforehand.
    private static void Count(Cell cell, IBatchSource source, int first, int steps)
    {
        for (long step = first; step < first + steps; step++)
        {
            using var batch = source.BatchAt(step);
            cell.Examples += batch.Size;
            cell.Tokens += batch.InputIds.numel();
            cell.RealTokens += batch.Mask!.sum().item<long>();
        }
    }

    private static double Seconds(Cell cell, int steps) => cell.Milliseconds.Min() * steps / 1e3;

    private static void Line(Cell cell, int steps) =>
        Console.WriteLine(
            string.Create(
                CultureInfo.InvariantCulture,
                $"{cell.Lengths.Name, -10} {cell.Form, -8} prefetch {cell.Prefetch} {cell.Milliseconds[^1]:f2} ms a step; best round: {cell.Tokens / Seconds(cell, steps) / 1e3:f0}k tokens/s, {cell.RealTokens / Seconds(cell, steps) / 1e3:f0}k real, padding {1 - ((double)cell.RealTokens / cell.Tokens):p1}"
            )
        );

    private static void Write(string folder, Cell[] cells, int steps, torch.Device device)
    {
        var machine = SpeedCommand.Machine.Describe(device);
        string suffix = device.type == DeviceType.CUDA ? machine.Short : "cpu";
        SpeedCommand.WriteTable(
            folder,
            $"minilm-batches-{suffix}.csv",
            machine,
            "program,lengths,form,prefetch,batch,length,steps,min_ms,median_ms,tokens_per_second,real_tokens_per_second,examples_per_second,padding_share",
            cells.Select(cell =>
                string.Join(
                    ',',
                    "csharp",
                    cell.Lengths.Name,
                    cell.Form,
                    cell.Prefetch,
                    cell.Lengths.BatchSize,
                    cell.Lengths.Longest,
                    steps,
                    SpeedCommand.Number(cell.Milliseconds.Min()),
                    SpeedCommand.Number(Timing.Median(cell.Milliseconds)),
                    SpeedCommand.Number(cell.Tokens / Seconds(cell, steps)),
                    SpeedCommand.Number(cell.RealTokens / Seconds(cell, steps)),
                    SpeedCommand.Number(cell.Examples / Seconds(cell, steps)),
                    SpeedCommand.Number(1 - ((double)cell.RealTokens / cell.Tokens))
                )
            )
        );
    }
}
