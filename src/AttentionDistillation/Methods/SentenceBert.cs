using System.Text.Json;
using System.Text.Json.Nodes;
using AttentionDistillation.Attention;
using AttentionDistillation.Losses;
using AttentionDistillation.Models.Hub;
using AttentionDistillation.Models.Tokenizers;
using AttentionDistillation.Runtime;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Methods;

/// <summary>How a sentence encoder makes a vector of a sentence.</summary>
public sealed record SentenceEncoderOptions
{
    /// <summary>The ways of pooling; the vectors of several are joined in the order of this list.</summary>
    public IReadOnlyList<PoolingMode> Pooling { get; init; } = [PoolingMode.Mean];

    /// <summary>Whether vectors are brought to length 1.</summary>
    public bool Normalize { get; init; }

    /// <summary>Most tokens of a sentence; null means what the tokenizer's files say, and no more than the model has positions for.</summary>
    public int? MaximumLength { get; init; }

    /// <summary>Texts put before sentences, by what the sentences are for (<c>query</c>, <c>passage</c>).</summary>
    public IReadOnlyDictionary<string, string> Prompts { get; init; } = new Dictionary<string, string>();

    /// <summary>The prompt that is used when none is named; null for none.</summary>
    public string? DefaultPrompt { get; init; }
}

/// <summary>
/// Vectors of sentences: an encoder, pooling over its last hidden states, and, if wanted, length 1 (Reimers and Gurevych 2019, "Sentence-BERT",
/// section 3). Reads and writes folders in the layout of sentence-transformers.
/// </summary>
public sealed class SentenceEncoder : IDisposable
{
    private const string ModulesFile = "modules.json";
    private const string PoolingFolder = "1_Pooling";
    private const string NormalizeFolder = "2_Normalize";
    private const string LengthFile = "sentence_bert_config.json";
    private const string PromptsFile = "config_sentence_transformers.json";

    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true };

    private static readonly (string Name, PoolingMode Mode)[] PoolingNames =
    [
        ("cls_token", PoolingMode.Cls),
        ("max_tokens", PoolingMode.Max),
        ("mean_tokens", PoolingMode.Mean),
        ("lasttoken", PoolingMode.Last),
    ];

    /// <summary>Puts an encoder together.</summary>
    /// <param name="model">A model whose output is its last hidden state [B, L, C]; disposed with this.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="options">Pooling, length, prompts; null for the mean.</param>
    /// <exception cref="ArgumentException">There is no pooling, or the default prompt does not exist.</exception>
    public SentenceEncoder(IHubModel model, Tokenizer tokenizer, SentenceEncoderOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(tokenizer);
        Options = options ?? new SentenceEncoderOptions();
        if (Options.Pooling.Count == 0)
            throw new ArgumentException($"Name at least one way of pooling: {string.Join(", ", Enum.GetNames<PoolingMode>())}.");
        if (Options.DefaultPrompt is { } prompt && !Options.Prompts.ContainsKey(prompt))
            throw new ArgumentException($"The default prompt '{prompt}' is none of: {string.Join(", ", Options.Prompts.Keys)}.");
        (Model, Tokenizer) = (model, tokenizer);
    }

    /// <summary>The model.</summary>
    public IHubModel Model { get; }

    /// <summary>The tokenizer.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>How it pools.</summary>
    public SentenceEncoderOptions Options { get; }

    /// <summary>Loads a folder in the layout of sentence-transformers, or that of a bare model, which is then pooled by the mean.</summary>
    /// <param name="folder">Holds the model, its tokenizer, and <c>modules.json</c> with a folder for each module.</param>
    /// <param name="device">Where the weights go; null means the CPU.</param>
    /// <param name="dtype">Their element type; null means what the files say.</param>
    /// <exception cref="NotSupportedException">A module or a way of pooling is not built; the message names it.</exception>
    /// <exception cref="IOException">A file is missing or broken.</exception>
    public static SentenceEncoder Load(string folder, Device? device = null, ScalarType? dtype = null)
    {
        var (transformer, options) = ReadModules(folder);
        options = options with { MaximumLength = ReadLength(transformer) };
        options = ReadPrompts(folder, options);
        var tokenizer = Tokenizer.Load(transformer);
        return new SentenceEncoder(Hub.Load(transformer, device, dtype), tokenizer, options);
    }

    /// <summary>Writes a folder that <see cref="Load"/> and sentence-transformers open: the model with its tokenizer's files, and the modules.</summary>
    /// <param name="folder">Created if need be.</param>
    public void Save(string folder)
    {
        Hub.Save(Model, folder);
        Directory.CreateDirectory(Path.Combine(folder, PoolingFolder));
        var modules = new JsonArray(Module(0, "", "Transformer"), Module(1, PoolingFolder, "Pooling"));
        if (Options.Normalize)
        {
            Directory.CreateDirectory(Path.Combine(folder, NormalizeFolder));
            modules.Add(Module(2, NormalizeFolder, "Normalize"));
        }
        var pooling = new JsonObject { ["word_embedding_dimension"] = Model.Capabilities.HiddenWidth };
        foreach (var (name, mode) in PoolingNames)
            pooling["pooling_mode_" + name] = Options.Pooling.Contains(mode);
        Write(Path.Combine(folder, PoolingFolder, Hub.ConfigFile), pooling);
        if (Length is { } length)
            Write(Path.Combine(folder, LengthFile), new JsonObject { ["max_seq_length"] = length, ["do_lower_case"] = false });
        if (Options.Prompts.Count > 0)
            Write(
                Path.Combine(folder, PromptsFile),
                new JsonObject
                {
                    ["prompts"] = new JsonObject(
                        Options.Prompts.Select(pair => KeyValuePair.Create(pair.Key, (JsonNode?)pair.Value))
                    ),
                    ["default_prompt_name"] = Options.DefaultPrompt,
                }
            );
        // Last: with it the folder is a sentence encoder's.
        Write(Path.Combine(folder, ModulesFile), modules);
    }

    /// <summary>Vectors of sentences, in evaluation and without gradients.</summary>
    /// <param name="sentences">The sentences.</param>
    /// <param name="batchSize">Sentences at a time; they are taken in the order of their lengths, so that little is padded.</param>
    /// <param name="prompt">Which of the prompts to put before each; null means the default one.</param>
    /// <returns>float32 [N, C] on the model's device, in the order of the sentences.</returns>
    /// <exception cref="ArgumentException">There is no such prompt, or there are no sentences.</exception>
    public Tensor Encode(IReadOnlyList<string> sentences, int batchSize = 32, string? prompt = null)
    {
        ArgumentNullException.ThrowIfNull(sentences);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        if (sentences.Count == 0)
            throw new ArgumentException("There are no sentences.", nameof(sentences));
        string prefix = Prefix(prompt);
        bool training = Model.Module.training;
        Model.Module.eval();
        try
        {
            using var scope = NewDisposeScope();
            using var guard = no_grad();
            int[] order = [.. Enumerable.Range(0, sentences.Count).OrderByDescending(index => sentences[index].Length)];
            var device = Device;
            var parts = new List<Tensor>();
            foreach (int[] chunk in order.Chunk(batchSize))
            {
                using var inner = NewDisposeScope();
                using var batch = Tokens([.. chunk.Select(index => prefix + sentences[index])]).ToBatch(device);
                parts.Add(Embed(batch).to(ScalarType.Float32).MoveToOuterDisposeScope());
            }
            long[] back = new long[order.Length];
            foreach (var (place, index) in order.Index())
                back[index] = place;
            return cat(parts, 0).index_select(0, tensor(back, device: device)).MoveToOuterDisposeScope();
        }
        finally
        {
            Model.Module.train(training);
        }
    }

    /// <summary>Vectors of a batch, with gradients where they are on; for training.</summary>
    /// <param name="batch">As <see cref="Tokens"/> gives it, on the model's device.</param>
    /// <returns>[B, C].</returns>
    public Tensor Embed(Batch batch)
    {
        ArgumentNullException.ThrowIfNull(batch);
        using var scope = NewDisposeScope();
        var trace = new ForwardTrace(TraceRequest.Nothing, Model.Capabilities);
        Model.Run(batch, trace);
        var mask = batch.Mask?.to(ScalarType.Bool);
        var pooled = Options.Pooling.Select(mode => SentencePooling.Pool(trace.Output, mask, mode)).ToArray();
        var vectors = pooled.Length == 1 ? pooled[0] : cat(pooled, -1);
        return (Options.Normalize ? nn.functional.normalize(vectors, 2.0, -1) : vectors).alias().MoveToOuterDisposeScope();
    }

    /// <summary>Sentences as tokens, cut to the encoder's length and padded to the longest.</summary>
    public EncodedTexts Tokens(IReadOnlyList<string> sentences) =>
        Tokenizer.EncodeBatch(sentences, new EncodeOptions { MaximumLength = Length });

    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();

    private int? Length => Options.MaximumLength ?? Tokenizer.Settings.MaximumLength;

    private Device Device => Model.Module.parameters().First().device;

    private string Prefix(string? prompt) =>
        (prompt ?? Options.DefaultPrompt) is not { } name ? ""
        : Options.Prompts.TryGetValue(name, out string? text) ? text
        : throw new ArgumentException(
            $"There is no prompt '{name}'. There are: {string.Join(", ", Options.Prompts.Keys.DefaultIfEmpty("none"))}.",
            nameof(prompt)
        );

    private static (string Transformer, SentenceEncoderOptions Options) ReadModules(string folder)
    {
        string path = Path.Combine(folder, ModulesFile);
        var options = new SentenceEncoderOptions();
        if (!File.Exists(path))
            return (folder, options);
        if (Parse(path) is not JsonArray modules)
            throw new InvalidDataException($"'{path}' is not a list of modules.");
        string transformer = folder;
        foreach (var module in modules)
        {
            string type = (module?["type"]?.ToString() ?? "").Split('.')[^1];
            string place = Path.Combine(folder, module?["path"]?.ToString() ?? "");
            switch (type)
            {
                case "Transformer":
                    transformer = place;
                    break;
                case "Pooling":
                    options = options with { Pooling = ReadPooling(Path.Combine(place, Hub.ConfigFile)) };
                    break;
                case "Normalize":
                    options = options with { Normalize = true };
                    break;
                default:
                    throw new NotSupportedException(
                        $"'{path}' has the module '{type}'. Supported are Transformer, Pooling and Normalize."
                    );
            }
        }
        return (transformer, options);
    }

    private static List<PoolingMode> ReadPooling(string path)
    {
        var json = Parse(path);
        // Files say either true or false of each way, or (newer ones) name the one.
        var modes = new List<PoolingMode>();
        if (json["pooling_mode"] is { } named)
            modes.AddRange(
                named
                    .ToString()
                    .Split('+')
                    .Select(name =>
                        Enum.TryParse(name.Replace("token", "", StringComparison.Ordinal), ignoreCase: true, out PoolingMode mode)
                            ? mode
                            : throw Unsupported(name)
                    )
            );
        else
            foreach (var (key, value) in json.AsObject())
            {
                if (!key.StartsWith("pooling_mode_", StringComparison.Ordinal) || value?.GetValueKind() != JsonValueKind.True)
                    continue;
                string name = key["pooling_mode_".Length..];
                if (!PoolingNames.Any(pair => pair.Name == name))
                    throw Unsupported(name);
            }
        // sentence-transformers joins them in this order, whatever that of the file.
        if (modes.Count == 0)
            modes.AddRange(
                PoolingNames
                    .Where(pair => json["pooling_mode_" + pair.Name]?.GetValueKind() == JsonValueKind.True)
                    .Select(pair => pair.Mode)
            );
        return modes.Count > 0 ? modes : throw Unsupported("none");

        NotSupportedException Unsupported(string name) =>
            new($"'{path}' pools by '{name}'. Supported are {string.Join(", ", PoolingNames.Select(pair => pair.Name))}.");
    }

    private static int? ReadLength(string folder)
    {
        string path = Path.Combine(folder, LengthFile);
        return File.Exists(path) && Parse(path)["max_seq_length"] is JsonValue value && value.TryGetValue(out int length)
            ? length
            : null;
    }

    private static SentenceEncoderOptions ReadPrompts(string folder, SentenceEncoderOptions options)
    {
        string path = Path.Combine(folder, PromptsFile);
        if (!File.Exists(path) || Parse(path)["prompts"] is not JsonObject prompts)
            return options;
        return options with
        {
            Prompts = prompts.ToDictionary(pair => pair.Key, pair => pair.Value?.ToString() ?? "", StringComparer.Ordinal),
            DefaultPrompt = Parse(path)["default_prompt_name"]?.ToString(),
        };
    }

    private static JsonNode Parse(string path)
    {
        try
        {
            return JsonNode.Parse(File.ReadAllBytes(path)) ?? throw new InvalidDataException($"'{path}' is null.");
        }
        catch (JsonException error)
        {
            throw new InvalidDataException($"'{path}' is not JSON: {error.Message}", error);
        }
    }

    private static JsonObject Module(int index, string path, string type) =>
        new()
        {
            ["idx"] = index,
            ["name"] = $"{index}",
            ["path"] = path,
            ["type"] = "sentence_transformers.models." + type,
        };

    private static void Write(string path, JsonNode json) => AtomicFile.WriteText(path, json.ToJsonString(Readable));
}
