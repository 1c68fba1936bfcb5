using AttentionDistillation.Attention;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Benchmarks;

/// <summary>
/// Saves a student of ours for every checkpoint folder that we can load: the same sizes, weights of our own drawing, a configuration that only we
/// wrote; with inputs and what we compute from them. Peers/open_saved.py opens them with transformers and compares.
/// </summary>
internal static class InteropSave
{
    /// <summary>Every second student is written in shards of this many bytes, so that the index is read too.</summary>
    private const long ShardBytes = 20_000;

    internal static BenchmarkCommand Command { get; } =
        new(
            "interop-save",
            "--from CHECKPOINTS --out DIR [--device cpu|cuda]",
            "students of every loadable family for Peers/open_saved.py to open with transformers",
            Run
        );

    private static int Run(Arguments arguments)
    {
        string? from = arguments["from"],
            to = arguments["out"];
        if (from is null || to is null)
        {
            Console.Error.WriteLine($"interop-save {Command.Usage}");
            return 2;
        }
        TorchRuntime.EnsureLoaded();
        var device = new Device(arguments["device"] ?? "cpu");
        int saved = 0,
            failed = 0;
        foreach (string folder in Directory.EnumerateDirectories(from).Order(StringComparer.Ordinal))
        {
            string name = Path.GetFileName(folder);
            if (!File.Exists(Path.Combine(folder, "expected.safetensors")))
                continue;
            try
            {
                Save(folder, Path.Combine(to, name), saved, device);
                Console.WriteLine($"{name}: saved");
                saved++;
            }
            catch (NotSupportedException error)
            {
                Console.WriteLine($"{name}: not supported: {error.Message}");
            }
            catch (Exception error)
            {
                failed++;
                Console.WriteLine($"{name}: FAILED: {error.Message}");
            }
        }
        Console.WriteLine($"{saved} saved, {failed} failed");
        return saved > 0 && failed == 0 ? 0 : 1;
    }

    private static void Save(string source, string target, int number, Device device)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        using var model = Hub.Load(source, device, ScalarType.Float32);
        // What the source's configuration held besides is not ours to lean on.
        model.ConfigExtras = null;
        Draw(model, number);
        using var expected = SafeTensorsFile.Open(Path.Combine(source, "expected.safetensors"));
        var batch = new Batch();
        foreach (string input in expected.Entries.Keys.Where(key => key.StartsWith("in/", StringComparison.Ordinal)))
            batch[input["in/".Length..]] = expected.Read(input, device);
        var request = TraceRequest.AllHidden + TraceRequest.Features(model.Capabilities.Features);
        var trace = new ForwardTrace(request, model.Capabilities);
        model.Run(batch, trace);
        var tensors = batch.Names.ToDictionary(name => "in/" + name, name => batch[name]);
        foreach (string key in expected.Entries.Keys.Where(key => key.StartsWith("out/", StringComparison.Ordinal)))
        {
            string output = key["out/".Length..];
            if (output.StartsWith("attention", StringComparison.Ordinal))
                continue;
            tensors[key] =
                output.StartsWith("hidden.", StringComparison.Ordinal) ? trace.Hidden(int.Parse(output["hidden.".Length..]))
                : model.Capabilities.Features.Contains(output) ? trace.Feature(output)
                : trace.Output;
        }
        Hub.Save(model, target, number % 2 == 1 ? ShardBytes : Hub.DefaultShardSize);
        SafeTensorsWriter.Write(Path.Combine(target, "ours.safetensors"), tensors.Select(pair => (pair.Key, pair.Value)));
    }

    /// <summary>Values of our own, biases and norms too, so that nothing that is left out goes unseen.</summary>
    private static void Draw(IHubModel model, int number)
    {
        using var generator = Seeds.Generator(number, "interop");
        foreach (var (name, tensor) in model.HubParameters().OrderBy(pair => pair.Key, StringComparer.Ordinal))
        {
            if (!tensor.is_floating_point())
                continue;
            var noise = randn(tensor.shape, dtype: ScalarType.Float32, generator: generator);
            bool scale =
                name.EndsWith("weight", StringComparison.Ordinal)
                && (
                    name.Contains("norm", StringComparison.OrdinalIgnoreCase)
                    || name.Contains("ln_", StringComparison.Ordinal)
                    || name.Contains("layrnorm", StringComparison.Ordinal)
                );
            tensor.copy_(
                name.EndsWith("running_var", StringComparison.Ordinal) ? noise.abs() * 0.3 + 1
                : name.EndsWith("logit_scale", StringComparison.Ordinal) ? noise * 0.1 + 1.3
                : scale ? noise * 0.2 + 1
                : noise * 0.2
            );
        }
    }
}
