using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>Reads and writes Hugging Face checkpoint folders: <c>config.json</c> and safetensors.</summary>
public static partial class Hub
{
    /// <summary>The configuration's file name.</summary>
    public const string ConfigFile = "config.json";

    /// <summary>Most bytes of tensors in one file of a checkpoint, unless told otherwise: 5 GB, so that two fit any machine's memory.</summary>
    public const long DefaultShardSize = 5_000_000_000;

    private static readonly JsonSerializerOptions Readable = new()
    {
        WriteIndented = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private static readonly Dictionary<string, ScalarType> TypeNames = new(StringComparer.Ordinal)
    {
        ["float32"] = ScalarType.Float32,
        ["float16"] = ScalarType.Float16,
        ["bfloat16"] = ScalarType.BFloat16,
        ["float64"] = ScalarType.Float64,
    };

    /// <summary>Where diffusers names a model's class; transformers has <c>model_type</c> and <c>architectures</c>.</summary>
    private const string DiffusersClass = "_class_name";

    /// <summary>The <c>model_type</c> values (diffusers: class names) that can be loaded.</summary>
    public static IReadOnlyList<string> SupportedFamilies { get; } = [.. ModelFamily.All.Select(family => family.ModelType)];

    /// <summary>Loads the model of a folder, in evaluation mode.</summary>
    /// <param name="folder">Holds <c>config.json</c> and <c>model.safetensors</c> (or shards with an index; diffusers' file names too).</param>
    /// <param name="device">Where the weights go; null means the CPU.</param>
    /// <param name="dtype">Their element type; null means what the configuration says, or else what the file has.</param>
    /// <exception cref="FileNotFoundException">The configuration or the weights are missing.</exception>
    /// <exception cref="NotSupportedException">The family, the architecture or an option is not supported; the message names it and what is.</exception>
    /// <exception cref="CheckpointMismatchException">Tensors are missing, unexpected or of the wrong shape; the message lists all of them.</exception>
    /// <exception cref="SafeTensorsException">A file is broken, or is a pickle.</exception>
    public static IHubModel Load(string folder, Device? device = null, ScalarType? dtype = null)
    {
        var json = ReadConfig(folder, out string path);
        var reader = new ConfigReader(json, path);
        var build = FindArchitecture(reader, path);
        using var checkpoint = Checkpoint.Open(folder);
        var type = dtype ?? DeclaredType(reader) ?? WidestType(checkpoint);
        var model = build(reader, checkpoint, SeededLayers.BlankOn(device, type));
        try
        {
            model.ConfigExtras = json;
            // The layers made the weights where and as they are wanted; this moves what a block made without them. TorchSharp's conversion takes
            // whole numbers (counted batches) along, so it is left out where nothing needs it.
            if (NeedsConversion(model, type))
                model.Module.to(type);
            model.Module.to(device ?? CPU);
            using (NewDisposeScope()) // of the views among the tensors
                CheckpointFit.Of(model, checkpoint).Fill();
            model.Module.eval();
            CompanionFiles.Remember(model, folder);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static bool NeedsConversion(IHubModel model, ScalarType type)
    {
        using var scope = NewDisposeScope();
        return model.HubParameters().Values.Any(tensor => tensor.is_floating_point() && tensor.dtype != type);
    }

    /// <summary>Loads the model of a folder and checks its type.</summary>
    /// <exception cref="ArgumentException">The folder holds another type of model; the message names it.</exception>
    public static T Load<T>(string folder, Device? device = null, ScalarType? dtype = null)
        where T : class, IHubModel
    {
        var model = Load(folder, device, dtype);
        if (model is T wanted)
            return wanted;
        string type = model.GetType().Name;
        model.Dispose();
        throw new ArgumentException($"'{folder}' holds a {type}, not a {typeof(T).Name}. Load it with Hub.Load<{type}>.");
    }

    /// <summary>
    /// Writes <c>config.json</c> and <c>model.safetensors</c> as transformers does: its names, tied weights once, whatever else the configuration of
    /// a loaded model held, and the files (tokenizer, generation settings, image processing) that lay beside the weights it was loaded from.
    /// </summary>
    /// <remarks>
    /// Everything is written into a temporary folder inside <paramref name="folder"/> first; only when all of it is on the disk do the files take
    /// their names. A save that fails leaves what was there before. Files of other names are left alone.
    /// </remarks>
    /// <param name="model">The model.</param>
    /// <param name="folder">Created if need be.</param>
    /// <param name="maxShardSize">
    /// Most bytes of tensors in one file. A larger model is written as <c>model-00001-of-00002.safetensors</c>, ... with
    /// <c>model.safetensors.index.json</c>; a tensor larger than this has a file of its own.
    /// </param>
    /// <exception cref="ArgumentOutOfRangeException">The size is not positive.</exception>
    /// <exception cref="IOException">The disk refuses.</exception>
    public static void Save(IHubModel model, string folder, long maxShardSize = DefaultShardSize)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxShardSize, 1);
        using var scope = NewDisposeScope(); // of the views among the parameters
        var parameters = model.HubParameters();
        FolderReplacement.Write(
            folder,
            staging =>
            {
                foreach (var (name, bytes) in CompanionFiles.Of(model))
                    staging.Write(name, stream => stream.Write(bytes));
                var json = SavedConfig(model, parameters);
                CheckpointShards.Write(
                    staging,
                    parameters,
                    maxShardSize,
                    Checkpoint.Stems[json.ContainsKey(DiffusersClass) ? 1 : 0]
                );
                byte[] config = JsonSerializer.SerializeToUtf8Bytes(json, Readable);
                staging.Write(ConfigFile, stream => stream.Write(config));
            },
            CheckpointShards.IsWeightFile
        );
    }

    private static JsonObject SavedConfig(IHubModel model, IReadOnlyDictionary<string, Tensor> parameters)
    {
        var json = model.ConfigExtras?.DeepClone().AsObject() ?? [];
        foreach (var (name, value) in model.ToHubConfig())
            json[name] = value?.DeepClone();
        if (!json.ContainsKey(DiffusersClass)) // diffusers' configurations say neither
        {
            json["architectures"] = new JsonArray(model.Architecture);
            var type = parameters.Values.First(tensor => tensor.is_floating_point()).dtype;
            json.Remove("torch_dtype");
            json["dtype"] = TypeNames.First(pair => pair.Value == type).Key;
        }
        return new JsonObject(
            json.OrderBy(pair => pair.Key, StringComparer.Ordinal)
                .Select(pair => KeyValuePair.Create(pair.Key, WithPoints(pair.Value)))
        );
    }

    // transformers refuses a whole number where it expects a float, so a real number keeps its point: 1.0, not 1.
    private static JsonNode? WithPoints(JsonNode? node) =>
        node switch
        {
            JsonObject section => new JsonObject(section.Select(pair => KeyValuePair.Create(pair.Key, WithPoints(pair.Value)))),
            JsonArray list => new JsonArray([.. list.Select(WithPoints)]),
            JsonValue value
                when value.TryGetValue(out object? held) && held is double number && number == Math.Truncate(number) =>
                JsonNode.Parse(number.ToString("F1", CultureInfo.InvariantCulture)),
            _ => node?.DeepClone(),
        };

    private static JsonObject ReadConfig(string folder, out string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        path = Path.Combine(folder, ConfigFile);
        if (!File.Exists(path))
            throw new FileNotFoundException($"'{folder}' is no checkpoint folder: it has no {ConfigFile}.", path);
        try
        {
            return JsonNode.Parse(File.ReadAllBytes(path)) as JsonObject
                ?? throw new ArgumentException($"'{path}' is not a JSON object.");
        }
        catch (JsonException error)
        {
            throw new ArgumentException($"'{path}' is not JSON: {error.Message}", error);
        }
    }

    private static Func<ConfigReader, ICheckpoint, SeededLayers, IHubModel> FindArchitecture(ConfigReader reader, string path)
    {
        string? type = reader.Text("model_type") ?? reader.Text(DiffusersClass);
        var family =
            ModelFamily.All.FirstOrDefault(candidate => candidate.ModelType == type)
            ?? throw new NotSupportedException(
                $"'{path}' says model_type {(type is null ? "nothing" : $"'{type}'")}. Supported are: {string.Join(", ", SupportedFamilies)}."
            );
        string? architecture = (reader.Json["architectures"] as JsonArray)?.FirstOrDefault()?.ToString();
        if (architecture is null)
            return family.Architectures[0].Build;
        return family.Architectures.FirstOrDefault(candidate => candidate.Name == architecture)?.Build
            ?? throw new NotSupportedException(
                $"'{path}' asks for the architecture '{architecture}'. Of {family.ModelType} these are supported: {string.Join(", ", family.Architectures.Select(candidate => candidate.Name))}."
            );
    }

    private static ScalarType? DeclaredType(ConfigReader reader) =>
        (reader.Text("dtype") ?? reader.Text("torch_dtype")) is { } name && TypeNames.TryGetValue(name, out var type)
            ? type
            : null;

    private static ScalarType WidestType(ICheckpoint checkpoint) =>
        checkpoint
            .Entries.Values.Where(entry => entry.Type.Torch is { } type && TypeNames.ContainsValue(type))
            .OrderByDescending(entry => entry.Type.Bits)
            .Select(entry => entry.Type.Torch)
            .FirstOrDefault()
        ?? ScalarType.Float32;
}
