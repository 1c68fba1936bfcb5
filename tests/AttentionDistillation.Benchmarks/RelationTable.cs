using System.Globalization;
using AttentionDistillation.Runtime;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Filters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using TorchSharp;

namespace AttentionDistillation.Benchmarks;

/// <summary>The benchmarks of the relation's KL on the CPU under BenchmarkDotNet, as a table in the format of the others.</summary>
internal static class RelationTable
{
    internal static BenchmarkCommand Command { get; } =
        new(
            "relation-benchmarks",
            "[--lengths 512,2048] [--forms Dense,Blockwise,Fused,Auto] [--job default|short] [--output FOLDER]",
            "the relation's KL on the CPU under BenchmarkDotNet, by form, with the memory that a process of its own needs; short runs each form once, to see that it runs; output also writes relation-benchmarks-cpu.csv there",
            Run
        );

    internal static int Run(Arguments arguments)
    {
        string[] lengths = arguments.List("lengths") ?? ["512", "2048"],
            forms = arguments.List("forms") ?? Enum.GetNames<Losses.RelationForm>();
        if (forms.FirstOrDefault(form => !Enum.IsDefined(typeof(Losses.RelationForm), form)) is { } unknown)
            throw new ArgumentException(
                $"There is no form '{unknown}'. There are: {string.Join(", ", Enum.GetNames<Losses.RelationForm>())}."
            );
        string job = arguments["job"] ?? "default";
        if (job is not ("default" or "short"))
            throw new ArgumentException($"There is no job '{job}'. There are: default, short.");
        var memory = new MemoryColumn();
        var config = ManualConfig
            .Create(DefaultConfig.Instance)
            .AddColumn(memory)
            .AddFilter(
                new SimpleFilter(one =>
                    lengths.Contains(ValueOf(one, nameof(RelationBenchmarks.Length)))
                    && forms.Contains(ValueOf(one, nameof(RelationBenchmarks.Form)))
                )
            );
        if (job == "short")
            config.AddJob(Job.Default.WithWarmupCount(1).WithIterationCount(1).AsMutator());
        var summary = BenchmarkRunner.Run<RelationBenchmarks>(config);
        var done = summary.Reports.Where(report => report.ResultStatistics is not null).ToArray();
        if (done.Length == 0 || done.Length < summary.BenchmarksCases.Length || summary.HasCriticalValidationErrors)
        {
            Console.Error.WriteLine(
                $"{done.Length} of {summary.BenchmarksCases.Length} benchmarks ran; what went wrong is above. Lengths there are: 512, 2048."
            );
            return 1;
        }
        if (arguments["output"] is { } folder)
        {
            Directory.CreateDirectory(folder);
            SpeedCommand.AtomicWrite(Path.Combine(folder, "relation-benchmarks-cpu.csv"), Table(done, memory, job));
        }
        return 0;
    }

    private static string Table(BenchmarkReport[] reports, MemoryColumn memory, string job)
    {
        const double NanosecondsPerMillisecond = 1e6;
        var machine = SpeedCommand.Machine.Describe(torch.CPU);
        var text = new StringWriter { NewLine = "\n" };
        text.WriteLine(
            "program,form,batch,length,heads,width,job,iterations,milliseconds,standard_deviation_ms,peak_mib,managed_kib,tokens_per_second,speedup_over_dense,"
                + SpeedCommand.Machine.Header
        );
        foreach (var report in reports)
        {
            var one = report.BenchmarkCase;
            string length = ValueOf(one, nameof(RelationBenchmarks.Length));
            double time = report.ResultStatistics!.Median / NanosecondsPerMillisecond;
            double? dense = reports
                .Where(other =>
                    ValueOf(other.BenchmarkCase, nameof(RelationBenchmarks.Length)) == length
                    && ValueOf(other.BenchmarkCase, nameof(RelationBenchmarks.Form)) == nameof(Losses.RelationForm.Dense)
                )
                .Select(other => (double?)other.ResultStatistics!.Median / NanosecondsPerMillisecond)
                .FirstOrDefault();
            text.WriteLine(
                string.Join(
                    ',',
                    "this library",
                    ValueOf(one, nameof(RelationBenchmarks.Form)).ToLowerInvariant(),
                    1,
                    length,
                    RelationShape.Heads,
                    RelationShape.Width,
                    job,
                    report.ResultStatistics.N,
                    SpeedCommand.Number(time),
                    SpeedCommand.Number(report.ResultStatistics.StandardDeviation / NanosecondsPerMillisecond),
                    SpeedCommand.Number(memory.MiB(one)),
                    SpeedCommand.Number(report.GcStats.GetBytesAllocatedPerOperation(one) / 1024.0),
                    SpeedCommand.Number(int.Parse(length, CultureInfo.InvariantCulture) / time * 1e3),
                    SpeedCommand.Number(dense / time),
                    machine.Row
                )
            );
        }
        return text.ToString();
    }

    private static string ValueOf(BenchmarkCase one, string parameter) =>
        Convert.ToString(one.Parameters[parameter], CultureInfo.InvariantCulture) ?? "";

    /// <summary>
    /// What a process of its own needs beyond its inputs. libtorch's memory is not .NET's, so BenchmarkDotNet's own column counts only the handles.
    /// </summary>
    private sealed class MemoryColumn : IColumn
    {
        private readonly Dictionary<(string Form, string Length), double> known = [];

        public string Id => nameof(MemoryColumn);

        public string ColumnName => "Peak [MiB]";

        public bool AlwaysShow => true;

        public ColumnCategory Category => ColumnCategory.Custom;

        public int PriorityInCategory => 0;

        public bool IsNumeric => true;

        public UnitType UnitType => UnitType.Dimensionless;

        public string Legend => "Largest working set of a process of its own beyond its inputs, native memory included";

        internal double MiB(BenchmarkCase one)
        {
            var key = (ValueOf(one, nameof(RelationBenchmarks.Form)), ValueOf(one, nameof(RelationBenchmarks.Length)));
            if (known.TryGetValue(key, out double value))
                return value;
            return known[key] = double.Parse(
                Children.Self("relation-cpu", "--memory", key.Item1, "--length", key.Item2)[0],
                CultureInfo.InvariantCulture
            );
        }

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase) =>
            MiB(benchmarkCase).ToString("F0", CultureInfo.InvariantCulture);

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) =>
            GetValue(summary, benchmarkCase);

        public bool IsAvailable(Summary summary) => true;

        public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;
    }
}
