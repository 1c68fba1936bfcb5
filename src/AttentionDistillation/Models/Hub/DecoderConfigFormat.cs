using System.Text.Json.Nodes;

namespace AttentionDistillation.Models.Hub;

/// <summary>What the configurations of decoders have in common on disk.</summary>
internal static class DecoderConfigFormat
{
    /// <summary>Where none is named, transformers drops a tenth of a token classifier's inputs.</summary>
    private const double DefaultClassifierDropout = 0.1;

    /// <summary>Refuses what no decoder here computes.</summary>
    public static void RefuseUnsupported(ConfigReader reader)
    {
        reader.Only("add_cross_attention", "false");
        reader.Only("is_encoder_decoder", "false");
        reader.Only("pruned_heads", "{}");
        reader.Only("quantization_config", "null");
    }

    /// <summary>Reads the options of rotary decoders that all families name alike.</summary>
    /// <param name="reader">The file.</param>
    /// <param name="start">Holds the family's defaults.</param>
    public static T Read<T>(ConfigReader reader, T start)
        where T : RotaryDecoderConfig =>
        ReadCommon(
            reader,
            start with
            {
                HiddenSize = reader.Integer("hidden_size", start.HiddenSize),
                Layers = checked((int)reader.Integer("num_hidden_layers", start.Layers)),
                Heads = reader.Integer("num_attention_heads", start.Heads),
                KeyValueHeads = reader.OptionalInteger("num_key_value_heads", start.KeyValueHeads),
                HeadWidth = reader.OptionalInteger("head_dim", null),
                IntermediateSize = reader.Integer("intermediate_size", start.IntermediateSize),
                HiddenActivation = reader.Text("hidden_act") ?? start.HiddenActivation,
                MaximumPositions = reader.Integer("max_position_embeddings", start.MaximumPositions),
                NormEpsilon = reader.Number("rms_norm_eps", start.NormEpsilon),
                AttentionDropout = reader.Number("attention_dropout", start.AttentionDropout),
                Rotary = RotaryFormat.Read(reader, start.Rotary.Theta),
            }
        );

    /// <summary>Reads the options that GPT-2 shares too.</summary>
    public static T ReadCommon<T>(ConfigReader reader, T start)
        where T : DecoderConfig
    {
        RefuseUnsupported(reader);
        return start with
        {
            VocabularySize = reader.Integer("vocab_size", start.VocabularySize),
            InitializerRange = reader.Number("initializer_range", start.InitializerRange),
            ClassifierDropout =
                reader.OptionalNumber("classifier_dropout", null)
                ?? reader.OptionalNumber("hidden_dropout", null)
                ?? DefaultClassifierDropout,
            TieWordEmbeddings = reader.Flag("tie_word_embeddings", start.TieWordEmbeddings),
            BeginToken = reader.OptionalInteger("bos_token_id", start.BeginToken),
            EndTokens = reader.Integers("eos_token_id") ?? start.EndTokens,
            PaddingToken = reader.OptionalInteger("pad_token_id", start.PaddingToken),
            Labels = reader.Labels(),
            ProblemType = reader.Text("problem_type"),
        };
    }

    /// <summary>The <c>model_type</c> of a configuration.</summary>
    public static string ModelType(DecoderConfig config) =>
        config switch
        {
            Gpt2Config => "gpt2",
            LlamaConfig => "llama",
            Qwen2Config => "qwen2",
            MistralConfig => "mistral",
            _ => throw new NotSupportedException($"{config.GetType().Name} has no name on disk."),
        };

    /// <summary>A configuration as it is written.</summary>
    public static JsonObject Write(DecoderConfig config) =>
        config switch
        {
            Gpt2Config gpt2 => gpt2.ToJson(),
            LlamaConfig llama => llama.ToJson(),
            Qwen2Config qwen2 => qwen2.ToJson(),
            MistralConfig mistral => mistral.ToJson(),
            _ => throw new NotSupportedException($"{config.GetType().Name} has no form on disk."),
        };

    /// <summary>What a configuration read from disk would be written as, so that one that did not change can be kept as it was.</summary>
    public static JsonObject Normal(TextDecoder model, JsonObject read)
    {
        var reader = new ConfigReader(read, "the configuration");
        return model.DecoderConfig switch
        {
            Gpt2Config => Gpt2Config.FromJson(reader).ToJson(),
            LlamaConfig => LlamaConfig.FromJson(reader).ToJson(),
            Qwen2Config => Qwen2Config.FromJson(reader).ToJson(),
            _ => MistralConfig.FromJson(reader).ToJson(),
        };
    }

    /// <summary>Writes what rotary decoders name alike.</summary>
    public static JsonObject Write(RotaryDecoderConfig config)
    {
        var json = WriteCommon(config);
        json["hidden_size"] = config.HiddenSize;
        json["num_hidden_layers"] = config.Layers;
        json["num_attention_heads"] = config.Heads;
        json["num_key_value_heads"] = config.KeyHeads;
        json["head_dim"] = config.HeadSize;
        json["intermediate_size"] = config.IntermediateSize;
        json["hidden_act"] = config.HiddenActivation;
        json["max_position_embeddings"] = config.MaximumPositions;
        json["rms_norm_eps"] = config.NormEpsilon;
        json["attention_dropout"] = config.AttentionDropout;
        json["rope_parameters"] = RotaryFormat.Write(config.Rotary);
        return json;
    }

    /// <summary>Writes what GPT-2 shares too.</summary>
    public static JsonObject WriteCommon(DecoderConfig config)
    {
        var json = new JsonObject
        {
            ["model_type"] = ModelType(config),
            ["vocab_size"] = config.VocabularySize,
            ["initializer_range"] = config.InitializerRange,
            ["tie_word_embeddings"] = config.TieWordEmbeddings,
            ["bos_token_id"] = config.BeginToken,
            ["eos_token_id"] = config.EndTokens.Count switch
            {
                0 => null,
                1 => config.EndTokens[0],
                _ => new JsonArray([.. config.EndTokens.Select(token => (JsonNode)token)]),
            },
            ["pad_token_id"] = config.PaddingToken,
            ["use_cache"] = true,
        };
        if (config.ClassifierDropout != DefaultClassifierDropout)
            json["classifier_dropout"] = config.ClassifierDropout;
        return json.WithLabels(config.Labels, config.ProblemType);
    }
}
