using System.Runtime.CompilerServices;

namespace AttentionDistillation.Models.Hub;

/// <summary>The small files that lie beside a checkpoint's weights and go where its model goes.</summary>
internal static class CompanionFiles
{
    /// <summary>What transformers reads besides the configuration and the weights.</summary>
    private static readonly string[] Names =
    [
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "chat_template.jinja",
        "chat_template.json",
        "preprocessor_config.json",
        "image_processor_config.json",
        "processor_config.json",
    ];

    private static readonly ConditionalWeakTable<IHubModel, IReadOnlyDictionary<string, byte[]>> Remembered = [];

    /// <summary>Keeps the files of a folder for as long as the model lives: the folder may be gone when it is saved.</summary>
    public static void Remember(IHubModel model, string folder) =>
        Remembered.AddOrUpdate(
            model,
            Names
                .Select(name => (Name: name, Path: Path.Combine(folder, name)))
                .Where(file => File.Exists(file.Path))
                .ToDictionary(file => file.Name, file => File.ReadAllBytes(file.Path), StringComparer.Ordinal)
        );

    /// <summary>The files that lay beside a loaded model; none for a model built here.</summary>
    public static IReadOnlyDictionary<string, byte[]> Of(IHubModel model) =>
        Remembered.TryGetValue(model, out var files) ? files : new Dictionary<string, byte[]>();
}
