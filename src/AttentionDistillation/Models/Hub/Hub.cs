using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Models.Hub;

/// <summary>Reads and writes Hugging Face checkpoint folders: <c>config.json</c> and safetensors.</summary>
public static class Hub
{
    /// <summary>The configuration's file name.</summary>
    public const string ConfigFile = "config.json";

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

    /// <summary>The <c>model_type</c> values that can be loaded.</summary>
    public static IReadOnlyList<string> SupportedFamilies { get; } = [.. ModelFamily.All.Select(family => family.ModelType)];

    /// <summary>Loads the model of a folder, in evaluation mode.</summary>
    /// <param name="folder">Holds <c>config.json</c> and <c>model.safetensors</c> (or shards with an index).</param>
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
        var model = build(reader, checkpoint, SeededLayers.Blank);
        try
        {
            model.ConfigExtras = json;
            var pairs = Match(model, checkpoint);
            CheckTied(model, pairs, checkpoint);
            model.Module.to(dtype ?? DeclaredType(reader) ?? WidestType(checkpoint));
            model.Module.to(device ?? CPU);
            Fill(model, pairs, checkpoint);
            model.Module.eval();
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
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
    /// Writes <c>config.json</c> and <c>model.safetensors</c> as transformers does: its names, tied weights once, and whatever else the
    /// configuration of a loaded model held.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">Created if need be; files of these names are replaced, each only when complete.</param>
    public static void Save(IHubModel model, string folder)
    {
        ArgumentNullException.ThrowIfNull(model);
        using var scope = NewDisposeScope(); // of the views among the parameters
        var parameters = model.HubParameters();
        var json = model.ConfigExtras?.DeepClone().AsObject() ?? [];
        foreach (var (name, value) in model.ToHubConfig())
            json[name] = value?.DeepClone();
        json["architectures"] = new JsonArray(model.Architecture);
        var type = parameters.Values.First(tensor => tensor.is_floating_point()).dtype;
        json.Remove("torch_dtype");
        json["dtype"] = TypeNames.First(pair => pair.Value == type).Key;
        var sorted = new JsonObject(
            json.OrderBy(pair => pair.Key, StringComparer.Ordinal)
                .Select(pair => KeyValuePair.Create(pair.Key, pair.Value?.DeepClone()))
        );
        SafeTensorsWriter.Write(
            Path.Combine(folder, Checkpoint.SingleFile),
            parameters.Select(pair => (pair.Key, pair.Value)),
            new Dictionary<string, string> { ["format"] = "pt" }
        );
        AtomicFile.Write(
            Path.Combine(folder, ConfigFile),
            stream => stream.Write(JsonSerializer.SerializeToUtf8Bytes(sorted, Readable))
        );
    }

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
        string? type = reader.Text("model_type");
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

    /// <summary>Pairs the model's parameters with the file's tensors and refuses the whole unless everything fits.</summary>
    private static Dictionary<string, string> Match(IHubModel model, ICheckpoint checkpoint)
    {
        using var scope = NewDisposeScope();
        var wanted = model.HubParameters();
        var pairs = new Dictionary<string, string>(StringComparer.Ordinal);
        var unexpected = new List<string>();
        var shapes = new List<string>();
        foreach (var (name, entry) in checkpoint.Entries)
        {
            string canonical = model.CanonicalName(name);
            if (!wanted.TryGetValue(canonical, out var parameter))
            {
                if (!model.IsHarmlessExtra(canonical) && !model.TiedNames.ContainsKey(canonical))
                    unexpected.Add($"{name} {entry.Description}");
            }
            else if (!entry.Shape.SequenceEqual(parameter.shape))
                shapes.Add($"{name} is {entry.Description}, expected {Shapes.Describe(parameter)}");
            else
                pairs[canonical] = name;
        }
        string[] missing =
        [
            .. wanted
                .Where(pair =>
                    !pairs.ContainsKey(pair.Key) && !checkpoint.Entries.Keys.Any(name => model.CanonicalName(name) == pair.Key)
                )
                .Select(pair => $"{pair.Key} {Shapes.Describe(pair.Value)}"),
        ];
        return missing.Length + unexpected.Count + shapes.Count == 0
            ? pairs
            : throw new CheckpointMismatchException(checkpoint.Path, model.Architecture, missing, unexpected, shapes);
    }

    private static void Fill(IHubModel model, Dictionary<string, string> pairs, ICheckpoint checkpoint)
    {
        using var scope = NewDisposeScope();
        using var guard = no_grad();
        foreach (var (name, parameter) in model.HubParameters())
        {
            using var tensor = checkpoint.Read(pairs[name]);
            parameter.copy_(tensor);
        }
    }

    /// <summary>Refuses a checkpoint whose configuration ties tensors that differ in the file: loading it either way would be a guess.</summary>
    private static void CheckTied(IHubModel model, Dictionary<string, string> pairs, ICheckpoint checkpoint)
    {
        foreach (string name in checkpoint.Entries.Keys)
        {
            if (!model.TiedNames.TryGetValue(model.CanonicalName(name), out string? source))
                continue;
            using var scope = NewDisposeScope();
            var second = checkpoint.Read(name);
            var first = checkpoint.Read(pairs[source]);
            if (!first.shape.SequenceEqual(second.shape) || !first.eq(second).all().ToBoolean())
                throw new ArgumentException(
                    $"'{checkpoint.Path}' holds '{name}', which differs from '{pairs[source]}', but its {ConfigFile} ties the two. "
                        + "Set tie_word_embeddings to false there to use both."
                );
        }
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
