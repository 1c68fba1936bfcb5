using System.Globalization;
using System.Text.RegularExpressions;
using AttentionDistillation.Losses;
using AttentionDistillation.Models;
using AttentionDistillation.Models.Generation;
using AttentionDistillation.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>Whole models beside transformers on one machine in one run: an encoder's forward, a decoder's forward and backward, generation.</summary>
internal static partial class ModelSpeed
{
    private const string PeerFile = "tests/AttentionDistillation.Benchmarks/Peers/models_transformers.py";

    /// <summary>A Llama of 125 million parameters without its word table's second copy: the shape of GPT-2 small and of the usual 125 M models.</summary>
    private static readonly LlamaConfig Decoder = new()
    {
        VocabularySize = 32000,
        HiddenSize = 768,
        IntermediateSize = 2048,
        Layers = 12,
        Heads = 12,
        MaximumPositions = 2048,
        TieWordEmbeddings = true,
    };

    /// <summary>Small sizes, which only show that everything runs.</summary>
    private static readonly LlamaConfig TinyDecoder = Decoder with
    {
        HiddenSize = 64,
        IntermediateSize = 128,
        Layers = 2,
        Heads = 2,
    };

    internal static BenchmarkCommand Command { get; } =
        new(
            "model-speed",
            "[--device cuda|cpu] [--out FOLDER] [--skip peers]",
            "BERT-base forward, a Llama of 125 M forward and backward, generation with cache, in bfloat16, ours and transformers' in one run",
            Run
        );

    internal static int Run(Arguments arguments)
    {
        var device = Devices.Resolve(arguments["device"]);
        bool onCuda = device.type == DeviceType.CUDA;
        var type = onCuda ? ScalarType.BFloat16 : ScalarType.Float32;
        string folder = arguments["out"] ?? "data/results/speed";
        var machine = SpeedCommand.Machine.Describe(device);
        var lines = new List<string>();

        void Say(string what, string shape, double milliseconds, double tokens)
        {
            lines.Add(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"ours {what} {shape} {milliseconds:F2} ms {tokens / milliseconds * 1e3:F0} tokens/s"
                )
            );
            Console.WriteLine(lines[^1]);
        }

        Encode(device, type, onCuda, Say);
        Train(device, type, onCuda, Say);
        Continue(device, type, onCuda, Say);
        if (onCuda && arguments.List("skip")?.Contains("peers") != true)
            lines.AddRange(Children.Run("python3", PeerFile));
        if (onCuda)
            Write(Path.Combine(folder, $"models-{machine.Short}.csv"), lines, machine);
        return 0;
    }

    private static void Encode(Device device, ScalarType type, bool full, Action<string, string, double, double> say)
    {
        using var scope = NewDisposeScope();
        var config = full
            ? BertConfig.Base
            : BertConfig.Base with
            {
                Layers = 2,
                HiddenSize = 64,
                Heads = 2,
                IntermediateSize = 128,
            };
        using var model = new BertModel(config with { AddPooler = false }, seed: 1);
        model.to(type).to(device);
        model.eval();
        var (batch, length) = full ? (64L, 512L) : (2L, 16L);
        using var tokens = randint(config.VocabularySize, [batch, length], dtype: ScalarType.Int64).to(device);
        using var guard = no_grad();
        double best = Timing.Least(device, () => model.call(tokens, null, null, null).Dispose());
        say("bert-forward", $"{batch}x{length}", best, batch * length);
    }

    private static void Train(Device device, ScalarType type, bool full, Action<string, string, double, double> say)
    {
        using var scope = NewDisposeScope();
        var config = full ? Decoder : TinyDecoder;
        using var model = new LlamaForCausalLanguageModel(config, seed: 1);
        model.to(type).to(device);
        var (batch, length) = full ? (8L, 1024L) : (2L, 16L);
        using var tokens = randint(config.VocabularySize, [batch, length], dtype: ScalarType.Int64).to(device);
        double best = Timing.Least(
            device,
            () =>
            {
                var scores = model.call(new DecoderInput(tokens, null), null);
                TokenPrediction.CrossEntropy(scores.narrow(1, 0, length - 1), tokens.narrow(1, 1, length - 1)).backward();
                model.zero_grad();
            }
        );
        say("llama125m-forward-backward", $"{batch}x{length}", best, batch * length);
    }

    private static void Continue(Device device, ScalarType type, bool full, Action<string, string, double, double> say)
    {
        using var scope = NewDisposeScope();
        var config = full ? Decoder : TinyDecoder;
        using var model = new LlamaForCausalLanguageModel(config, seed: 1);
        model.to(type).to(device);
        model.eval();
        var (prompt, fresh) = full ? (128, 256) : (8, 8);
        foreach (long batch in (long[])[1, 8])
        {
            using var tokens = randint(config.VocabularySize, [batch, prompt], dtype: ScalarType.Int64).to(device);
            var options = new GenerationOptions { MaxNewTokens = fresh };
            double best = Timing.Least(device, () => TextGeneration.Generate(model, tokens, null, options).Dispose(), 3);
            say("llama125m-generate", $"{batch}x{prompt}+{fresh}", best, batch * fresh);
        }
    }

    private static void Write(string file, List<string> lines, SpeedCommand.Machine machine)
    {
        var rows = lines.Select(line => Line().Match(line)).Where(match => match.Success).ToArray();
        double? Time(string program, string what, string shape) =>
            rows.Where(row =>
                    row.Groups["program"].Value == program
                    && row.Groups["what"].Value == what
                    && row.Groups["shape"].Value == shape
                )
                .Select(row => (double?)double.Parse(row.Groups["time"].ValueSpan, CultureInfo.InvariantCulture))
                .Min();
        var text = new StringWriter { NewLine = "\n" };
        text.WriteLine(
            "program,task,shape,milliseconds,tokens_per_second,speed_over_transformers," + SpeedCommand.Machine.Header
        );
        foreach (var row in rows)
        {
            var (program, what, shape) = (row.Groups["program"].Value, row.Groups["what"].Value, row.Groups["shape"].Value);
            text.WriteLine(
                string.Join(
                    ',',
                    program == "ours" ? "this library" : program,
                    what,
                    shape,
                    row.Groups["time"].Value,
                    row.Groups["rate"].Value,
                    SpeedCommand.Number(Time("transformers", what, shape) / Time(program, what, shape)),
                    machine.Row
                )
            );
        }
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        SpeedCommand.AtomicWrite(file, text.ToString());
    }

    [GeneratedRegex(@"^(?<program>ours|transformers) (?<what>\S+) (?<shape>\S+) (?<time>[\d.]+) ms (?<rate>\d+) tokens/s")]
    private static partial Regex Line();
}
