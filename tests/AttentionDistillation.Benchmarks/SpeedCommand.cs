using System.Globalization;
using AttentionDistillation.Runtime;
using TorchSharp;

namespace AttentionDistillation.Benchmarks;

/// <summary>Our times and PyTorch's, on one machine in one run: the relation's KL over lengths, and whole MiniLM steps.</summary>
internal static class SpeedCommand
{
    /// <summary>Dense bfloat16 peak of an H100 SXM and an H200, operations a second (NVIDIA's data sheets).</summary>
    private const double PeakOfH100 = 989.4e12;

    /// <summary>L x S x D products that the definition needs for value and both gradients; two operations an element each.</summary>
    private const int ProductsOfRelation = 4;

    /// <summary>Products of an attention's forward and backward.</summary>
    private const int ProductsOfAttention = 7;

    /// <summary>Where our own PyTorch programs lie, seen from the repository's root.</summary>
    private const string OwnPeers = "tests/AttentionDistillation.Benchmarks/Peers";

    private static readonly string[] TimedOnCuda = ["floor", "fused", "padded", "causal", "warp", "library", "dense"];
    private static readonly string[] TimedOnCpu = ["floor", "fused", "padded", "dense"];

    internal static BenchmarkCommand Command { get; } =
        new(
            "speed",
            "[--peers FOLDER] [--out FOLDER] [--device cuda|cpu] [--shapes 8x2048,...] [--skip relation|step|peers,...]",
            "the attention relation's KL and whole MiniLM steps, ours and PyTorch's, in one run; writes tables and a chart",
            Run
        );

    internal static int Run(Arguments arguments)
    {
        var device = Devices.Resolve(arguments["device"]);
        bool onCuda = device.type == DeviceType.CUDA;
        string folder = arguments["out"] ?? "data/results/speed",
            peers = arguments["peers"] ?? OwnPeers;
        string[] skipped = arguments.List("skip") ?? [];
        var shapes = arguments.Shapes(onCuda ? RelationShape.OnDevice : RelationShape.OnCpu);
        Directory.CreateDirectory(folder);
        var machine = Machine.Describe(device);
        Console.WriteLine(
            $"speed on {machine.Device}, driver {machine.Driver}, libtorch {machine.LibTorch}, PyTorch {machine.PyTorch}"
        );
        string suffix = onCuda ? machine.Short : "cpu";
        if (!skipped.Contains("relation"))
        {
            var lines = new List<string>();
            string list = string.Join(',', shapes);
            foreach (string what in onCuda ? TimedOnCuda : TimedOnCpu)
                lines.AddRange(
                    Children.Self(
                        "relation-times",
                        "--what",
                        what,
                        "--shapes",
                        list,
                        "--device",
                        arguments["device"] ?? (onCuda ? "cuda" : "cpu")
                    )
                );
            if (onCuda && !skipped.Contains("peers"))
                lines.AddRange(Peer(peers, "relation_kl_torch.py"));
            WriteRelation(Path.Combine(folder, $"relation-kl-{suffix}.csv"), Measurements(lines), machine);
        }
        if (!skipped.Contains("step"))
        {
            string ours = Path.Combine(Path.GetTempPath(), $"minilm-step-{Environment.ProcessId}.csv");
            Children.Self(
                "minilm-step",
                "--device",
                arguments["device"] ?? (onCuda ? "cuda" : "cpu"),
                "--only",
                "step",
                "--csv",
                ours
            );
            var lines = onCuda && !skipped.Contains("peers") ? Peer(peers, "minilm_step_torch.py") : [];
            StepTable.Write(Path.Combine(folder, $"minilm-step-{suffix}.csv"), ours, Measurements(lines), machine);
            File.Delete(ours);
        }
        string table = Path.Combine(folder, $"relation-kl-{suffix}.csv");
        if (File.Exists(table))
            SpeedChart.Draw(table, Path.ChangeExtension(table, ".svg"));
        return 0;
    }

    private static List<string> Peer(string folder, string file)
    {
        string path = Path.Combine(folder, file);
        if (File.Exists(path))
            return Children.Run("python3", path);
        Console.WriteLine($"# There is no {path}; give the folder of PyTorch's programs with --peers (ours: {OwnPeers}).");
        return [];
    }

    private static List<Measurement> Measurements(IEnumerable<string> lines) =>
        [.. lines.Select(Measurement.Parse).OfType<Measurement>()];

    private static void WriteRelation(string file, List<Measurement> measured, Machine machine)
    {
        var text = new StringWriter { NewLine = "\n" };
        text.WriteLine(
            "program,form,batch,length,heads,width,milliseconds,peak_gib,tokens_per_second,ratio_to_attention,speedup_over_eager,"
                + "speedup_over_compile,model_flops_utilisation,"
                + Machine.Header
        );
        foreach (
            var one in measured.OrderBy(one => Array.IndexOf(RelationShape.OnDevice, one.Shape)).ThenBy(one => one.Shape.Tokens)
        )
        {
            double? Time(string form) =>
                measured
                    .Where(other => other.Shape == one.Shape && other.Form == form)
                    .Select(other => (double?)other.Milliseconds)
                    .Min();
            double? floor = new[] { Time("floor"), Time("sdpa-floor") }.Min();
            bool attention = one.Form.EndsWith("floor", StringComparison.Ordinal);
            double operations =
                2.0 * (attention ? ProductsOfAttention : ProductsOfRelation) * one.Shape.MapElements * RelationShape.Width;
            double? utilisation = machine.Peak is { } peak ? operations / (one.Milliseconds / 1e3) / peak : null;
            text.WriteLine(
                string.Join(
                    ',',
                    one.Program,
                    one.Form,
                    one.Shape.Batch,
                    one.Shape.Length,
                    RelationShape.Heads,
                    RelationShape.Width,
                    Number(one.Milliseconds),
                    Number(one.PeakGiB),
                    Number(one.Shape.Tokens / one.Milliseconds * 1e3),
                    Number(one.Milliseconds / floor),
                    Number(Time("eager") / one.Milliseconds),
                    Number(Time("compile") / one.Milliseconds),
                    Number(utilisation),
                    machine.Row
                )
            );
        }
        AtomicWrite(file, text.ToString());
    }

    /// <summary>Writes a table in which every row says where and when it was measured.</summary>
    internal static void WriteTable(string folder, string file, Machine machine, string columns, IEnumerable<string> rows)
    {
        Directory.CreateDirectory(folder);
        var text = new StringWriter { NewLine = "\n" };
        text.WriteLine(columns + "," + Machine.Header);
        foreach (string row in rows)
            text.WriteLine($"{row},{machine.Row}");
        AtomicWrite(Path.Combine(folder, file), text.ToString());
    }

    internal static void AtomicWrite(string file, string text)
    {
        string temporary = file + ".new";
        File.WriteAllText(temporary, text);
        File.Move(temporary, file, true);
        Console.WriteLine($"wrote {file}");
    }

    internal static string Number(double? value) => value?.ToString("G4", CultureInfo.InvariantCulture) ?? "";

    /// <summary>Where measurements were made, and when.</summary>
    internal sealed record Machine(string Device, string Driver, string LibTorch, string PyTorch, DateTime Date, double? Peak)
    {
        internal const string Header = "device,driver,libtorch,pytorch,date";

        internal string Row =>
            string.Join(',', Quote(Device), Driver, LibTorch, PyTorch, Date.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture));

        /// <summary>The device in a file's name: h100.</summary>
        internal string Short =>
            Device
                .Split(' ', ',')
                .FirstOrDefault(word => word.Length > 1 && word.Any(char.IsDigit) && char.IsLetter(word[0]))
                ?.ToLowerInvariant()
            ?? "cuda";

        internal static Machine Describe(TorchSharp.torch.Device device)
        {
            string[] gpu =
                device.type == DeviceType.CUDA
                    ? Children.FirstLine("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").Split(", ")
                    : [];
            string name = gpu.Length == 2 ? gpu[0] : Devices.Describe(device);
            return new(
                name,
                gpu.Length == 2 ? gpu[1] : "",
                TorchRuntime.Version,
                Children.FirstLine("python3", "-c", "import torch; print(torch.__version__)"),
                DateTime.UtcNow,
                name.Contains("H100", StringComparison.Ordinal) || name.Contains("H200", StringComparison.Ordinal)
                    ? PeakOfH100
                    : null
            );
        }

        private static string Quote(string text) =>
            text.Contains(',', StringComparison.Ordinal) ? $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : text;
    }
}
