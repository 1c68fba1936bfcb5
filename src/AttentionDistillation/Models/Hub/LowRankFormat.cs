using System.Text.Json;
using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>Low-rank adapters in PEFT's format: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>.</summary>
internal static class LowRankFormat
{
    private const string ConfigFile = "adapter_config.json";
    private const string TensorFile = "adapter_model.safetensors";

    /// <summary>What precedes the base model's names.</summary>
    private const string Prefix = "base_model.model.";

    private const string Down = ".lora_A.weight",
        Up = ".lora_B.weight";

    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true };

    public static void Write(LowRankAdapters adapters, string folder, string? baseModel)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        Directory.CreateDirectory(folder);
        var options = adapters.Options;
        var json = new JsonObject
        {
            ["base_model_name_or_path"] = baseModel,
            ["bias"] = "none",
            ["fan_in_fan_out"] = adapters.Model is { DecoderConfig: Gpt2Config },
            ["inference_mode"] = true,
            ["init_lora_weights"] = true,
            ["lora_alpha"] = options.Alpha,
            ["lora_dropout"] = options.Dropout,
            ["modules_to_save"] =
                options.TrainedModules.Count == 0
                    ? null
                    : new JsonArray([.. options.TrainedModules.Select(name => (JsonNode)name)]),
            ["peft_type"] = "LORA",
            ["r"] = options.Rank,
            ["target_modules"] = new JsonArray([.. TargetNames(adapters).Select(name => (JsonNode)name)]),
            ["task_type"] = adapters.Model switch
            {
                CausalLanguageModel => "CAUSAL_LM",
                DecoderForSequenceClassification => "SEQ_CLS",
                DecoderForTokenClassification => "TOKEN_CLS",
                DecoderForQuestionAnswering => "QUESTION_ANS",
                _ => "FEATURE_EXTRACTION",
            },
            ["use_dora"] = false,
            ["use_rslora"] = options.RankStabilized,
        };
        var tensors = adapters
            .Adapters.SelectMany(pair =>
                new (string, Tensor)[] { (Prefix + pair.Key + Down, pair.Value.Down), (Prefix + pair.Key + Up, pair.Value.Up) }
            )
            .Concat(adapters.WholeModules().Select(item => (Prefix + item.Name, item.Tensor)));
        SafeTensorsWriter.Write(Path.Combine(folder, TensorFile), tensors, new Dictionary<string, string> { ["format"] = "pt" });
        AtomicFile.Write(
            Path.Combine(folder, ConfigFile),
            stream => stream.Write(JsonSerializer.SerializeToUtf8Bytes(json, Readable))
        );
    }

    public static LowRankAdapters Read(TextDecoder model, string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        string path = Path.Combine(folder, ConfigFile);
        if (!File.Exists(path))
            throw new FileNotFoundException($"'{folder}' holds no adapters: it has no {ConfigFile}.", path);
        var json =
            JsonNode.Parse(File.ReadAllBytes(path)) as JsonObject
            ?? throw new ArgumentException($"'{path}' is not a JSON object.");
        var options = Options(new ConfigReader(json, path), json);
        using var file = SafeTensorsFile.Open(Path.Combine(folder, TensorFile));
        var adapters = LowRankAdapters.Attach(model, options, 0);
        try
        {
            Fill(adapters, file);
            return adapters;
        }
        catch
        {
            adapters.Dispose();
            throw;
        }
    }

    private static LowRankOptions Options(ConfigReader reader, JsonObject json)
    {
        if (reader.Text("peft_type") is var type && type != "LORA")
            throw new NotSupportedException(
                $"'{reader.Path}' holds adapters of the type '{type}', of which only LORA is supported."
            );
        reader.Only("bias", "\"none\"");
        foreach (string name in new[] { "use_dora", "lora_bias", "use_qalora" })
            reader.Only(name, "false");
        foreach (string name in new[] { "rank_pattern", "alpha_pattern" })
            reader.Only(name, "{}");
        foreach (
            string name in new[]
            {
                "layers_to_transform",
                "layers_pattern",
                "exclude_modules",
                "layer_replication",
                "target_parameters",
                "trainable_token_indices",
                "corda_config",
                "eva_config",
            }
        )
            reader.Only(name, "null");
        return new LowRankOptions
        {
            Rank = checked((int)reader.Integer("r", 8)),
            Alpha = reader.Number("lora_alpha", 8),
            Dropout = reader.Number("lora_dropout", 0),
            RankStabilized = reader.Flag("use_rslora", false),
            Targets = json["target_modules"] is JsonValue one ? [one.ToString()] : reader.Texts("target_modules") ?? [],
            TrainedModules = reader.Texts("modules_to_save") ?? [],
        };
    }

    private static void Fill(LowRankAdapters adapters, SafeTensorsFile file)
    {
        var wanted = adapters
            .Adapters.SelectMany(pair =>
                new (string Name, Tensor Tensor)[]
                {
                    (Prefix + pair.Key + Down, pair.Value.Down),
                    (Prefix + pair.Key + Up, pair.Value.Up),
                }
            )
            .Concat(adapters.WholeModules().Select(item => (Name: Prefix + item.Name, item.Tensor)))
            .ToDictionary(item => item.Name, item => item.Tensor, StringComparer.Ordinal);
        string[] missing = [.. wanted.Keys.Where(name => !file.Entries.ContainsKey(name))];
        string[] unexpected = [.. file.Entries.Keys.Where(name => !wanted.ContainsKey(name))];
        string[] shapes =
        [
            .. wanted
                .Where(pair => file.Entries.TryGetValue(pair.Key, out var entry) && !entry.Shape.SequenceEqual(pair.Value.shape))
                .Select(pair => $"{pair.Key} is {file.Entries[pair.Key].Description}, expected {Shapes.Describe(pair.Value)}"),
        ];
        if (missing.Length + unexpected.Length + shapes.Length > 0)
            throw new CheckpointMismatchException(file.Path, adapters.Model.Architecture, missing, unexpected, shapes);
        using var guard = no_grad();
        foreach (var (name, tensor) in wanted)
        {
            using var value = file.Read(name);
            tensor.copy_(value);
        }
    }

    // all-linear is written as what it stood for, as PEFT does.
    private static IEnumerable<string> TargetNames(LowRankAdapters adapters) =>
        adapters.Options.Targets.Contains(LowRankAdapters.AllLinear)
            ? adapters.Adapters.Keys.Select(name => name[(name.LastIndexOf('.') + 1)..]).Distinct().Order(StringComparer.Ordinal)
            : adapters.Options.Targets;
}
