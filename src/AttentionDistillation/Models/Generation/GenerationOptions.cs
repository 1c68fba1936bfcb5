using System.Text.Json;
using System.Text.Json.Nodes;
using AttentionDistillation.Models.Hub;

namespace AttentionDistillation.Models.Generation;

/// <summary>How a language model goes on with a prompt; names and defaults are those of transformers' <c>generation_config.json</c>.</summary>
public sealed record GenerationOptions
{
    /// <summary>The file that holds a checkpoint's defaults.</summary>
    public const string FileName = "generation_config.json";

    /// <summary>top_k where sampling is asked for and nothing is named.</summary>
    private const long DefaultTopK = 50;

    /// <summary>Tokens to generate at most.</summary>
    public int MaxNewTokens { get; init; } = 20;

    /// <summary>Tokens to generate at least: end tokens are impossible before.</summary>
    public int MinNewTokens { get; init; }

    /// <summary>True draws tokens at random (<c>do_sample</c>); false takes the likeliest.</summary>
    public bool Sample { get; init; }

    /// <summary>Divides the scores before sampling.</summary>
    public double Temperature { get; init; } = 1.0;

    /// <summary>Sampling takes one of this many likeliest tokens; null for all.</summary>
    public long? TopK { get; init; }

    /// <summary>Sampling takes one of the fewest likeliest tokens whose probability is at least this (Holtzman et al., 2020, section 3.1).</summary>
    public double TopP { get; init; } = 1.0;

    /// <summary>Sampling takes tokens at least this times as likely as the likeliest; null for all.</summary>
    public double? MinP { get; init; }

    /// <summary>Divides positive and multiplies negative scores of tokens that occurred, prompt included (Keskar et al., "CTRL", 2019, section 4.1).</summary>
    public double RepetitionPenalty { get; init; } = 1.0;

    /// <summary>Tokens that end a text; the token itself is part of it.</summary>
    public IReadOnlyList<long> EndTokens { get; init; } = [];

    /// <summary>What fills the places after an end; null means the first end token.</summary>
    public long? PaddingToken { get; init; }

    /// <summary>Continuations of each prompt, neighbours in the result (<c>num_return_sequences</c>).</summary>
    public int SamplesPerPrompt { get; init; } = 1;

    /// <summary>Keeps keys and values of earlier tokens. Without it every step reads the whole text again: the same tokens, slower.</summary>
    public bool UseCache { get; init; } = true;

    /// <summary>Seed of the draws.</summary>
    public long Seed { get; init; }

    /// <summary>Steps between two looks at whether every text has ended; the host waits for the device only then.</summary>
    public int StepsBetweenChecks { get; init; } = 8;

    /// <summary>What a model's configuration says: its end and padding tokens.</summary>
    public static GenerationOptions For(TextDecoder model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return new() { EndTokens = model.DecoderConfig.EndTokens, PaddingToken = model.DecoderConfig.PaddingToken };
    }

    /// <summary>The defaults of a checkpoint folder: its <see cref="FileName"/>, and for what that does not say its <c>config.json</c>.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="FileNotFoundException">The folder has neither file.</exception>
    /// <exception cref="ArgumentException">A file is not JSON, or an option has a wrong value.</exception>
    /// <exception cref="NotSupportedException">The file asks for a way of generating that is not built; the message names the option.</exception>
    public static GenerationOptions Read(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        string path = Path.Combine(folder, FileName),
            configPath = Path.Combine(folder, Hub.Hub.ConfigFile);
        if (!File.Exists(path) && !File.Exists(configPath))
            throw new FileNotFoundException($"'{folder}' has neither {FileName} nor {Hub.Hub.ConfigFile}.", path);
        var config = new ConfigReader(File.Exists(configPath) ? Parse(configPath) : [], configPath);
        var reader = new ConfigReader(File.Exists(path) ? Parse(path) : [], path);
        foreach (
            var (name, allowed) in new[]
            {
                ("num_beams", "1"),
                ("num_beam_groups", "1"),
                ("no_repeat_ngram_size", "0"),
                ("encoder_repetition_penalty", "1.0"),
                ("diversity_penalty", "0.0"),
                ("typical_p", "1.0"),
                ("epsilon_cutoff", "0.0"),
                ("eta_cutoff", "0.0"),
                ("penalty_alpha", "null"),
                ("bad_words_ids", "null"),
                ("force_words_ids", "null"),
                ("constraints", "null"),
                ("suppress_tokens", "null"),
                ("begin_suppress_tokens", "null"),
                ("forced_bos_token_id", "null"),
                ("forced_eos_token_id", "null"),
                ("sequence_bias", "null"),
                ("exponential_decay_length_penalty", "null"),
                ("guidance_scale", "null"),
                ("watermarking_config", "null"),
                ("dola_layers", "null"),
            }
        )
            reader.OnlyNumberOr(name, allowed);
        bool sample = reader.Flag("do_sample", false);
        var options = new GenerationOptions
        {
            MinNewTokens = checked((int)(reader.OptionalInteger("min_new_tokens", null) ?? 0)),
            Sample = sample,
            Temperature = reader.OptionalNumber("temperature", null) ?? 1.0,
            TopK = reader.OptionalInteger("top_k", DefaultTopK) is > 0 and var top ? top : null,
            TopP = reader.OptionalNumber("top_p", null) ?? 1.0,
            MinP = reader.OptionalNumber("min_p", null),
            RepetitionPenalty = reader.OptionalNumber("repetition_penalty", null) ?? 1.0,
            EndTokens = reader.Integers("eos_token_id") ?? config.Integers("eos_token_id") ?? [],
            PaddingToken = reader.OptionalInteger("pad_token_id", null) ?? config.OptionalInteger("pad_token_id", null),
            SamplesPerPrompt = checked((int)(reader.OptionalInteger("num_return_sequences", null) ?? 1)),
        };
        if (reader.OptionalInteger("max_new_tokens", null) is { } most)
            options = options with { MaxNewTokens = checked((int)most) };
        options.Validate();
        return options;
    }

    internal void Validate()
    {
        Require(MaxNewTokens >= 1, nameof(MaxNewTokens), MaxNewTokens, "1 or more");
        Require(MinNewTokens >= 0 && MinNewTokens <= MaxNewTokens, nameof(MinNewTokens), MinNewTokens, "0 to MaxNewTokens");
        Require(Temperature > 0, nameof(Temperature), Temperature, "above 0; for the likeliest token set Sample to false");
        Require(TopK is null or >= 1, nameof(TopK), TopK, "1 or more, or null");
        Require(TopP is > 0 and <= 1, nameof(TopP), TopP, "above 0, at most 1");
        Require(MinP is null or (>= 0 and <= 1), nameof(MinP), MinP, "0 to 1, or null");
        Require(RepetitionPenalty > 0, nameof(RepetitionPenalty), RepetitionPenalty, "above 0");
        Require(SamplesPerPrompt >= 1, nameof(SamplesPerPrompt), SamplesPerPrompt, "1 or more");
        Require(StepsBetweenChecks >= 1, nameof(StepsBetweenChecks), StepsBetweenChecks, "1 or more");
    }

    private static JsonObject Parse(string path)
    {
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

    private static void Require(bool holds, string name, object? value, string expected)
    {
        if (!holds)
            throw new ArgumentException(
                FormattableString.Invariant($"{nameof(GenerationOptions)}.{name} is {value ?? "null"}, but must be {expected}.")
            );
    }
}
