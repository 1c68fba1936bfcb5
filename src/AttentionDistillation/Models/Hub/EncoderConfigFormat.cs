using System.Text.Json.Nodes;

namespace AttentionDistillation.Models.Hub;

/// <summary>What the configurations of BERT and RoBERTa have in common on disk, and the labels that all three families share.</summary>
internal static class EncoderConfigFormat
{
    /// <summary>The width of heads, where it is not width / heads; no option of transformers for these families.</summary>
    public const string HeadWidth = "head_dim";

    /// <summary>Refuses what no family of encoders here computes.</summary>
    public static void RefuseUnsupported(ConfigReader reader)
    {
        reader.Only("position_embedding_type", "\"absolute\"");
        reader.Only("is_decoder", "false");
        reader.Only("add_cross_attention", "false");
        reader.Only("is_encoder_decoder", "false");
        reader.Only("pruned_heads", "{}");
        foreach (string name in new[] { "quantization_config", "embedding_size" })
            reader.Only(name, "null");
    }

    /// <summary>Reads the options that BERT and RoBERTa name alike.</summary>
    /// <param name="reader">The file.</param>
    /// <param name="start">Holds the family's defaults.</param>
    public static T Read<T>(ConfigReader reader, T start)
        where T : TextEncoderConfig
    {
        RefuseUnsupported(reader);
        return start with
        {
            VocabularySize = reader.Integer("vocab_size", start.VocabularySize),
            HiddenSize = reader.Integer("hidden_size", start.HiddenSize),
            Layers = checked((int)reader.Integer("num_hidden_layers", start.Layers)),
            Heads = reader.Integer("num_attention_heads", start.Heads),
            HeadWidth = reader.OptionalInteger(HeadWidth, null),
            IntermediateSize = reader.Integer("intermediate_size", start.IntermediateSize),
            HiddenActivation = reader.Text("hidden_act") ?? start.HiddenActivation,
            HiddenDropout = reader.Number("hidden_dropout_prob", start.HiddenDropout),
            AttentionDropout = reader.Number("attention_probs_dropout_prob", start.AttentionDropout),
            MaximumPositions = reader.Integer("max_position_embeddings", start.MaximumPositions),
            TokenTypes = reader.Integer("type_vocab_size", start.TokenTypes),
            NormEpsilon = reader.Number("layer_norm_eps", start.NormEpsilon),
            InitializerRange = reader.Number("initializer_range", start.InitializerRange),
            PaddingToken = reader.OptionalInteger("pad_token_id", start.PaddingToken),
            TieWordEmbeddings = reader.Flag("tie_word_embeddings", true),
            Labels = reader.Labels(),
            ProblemType = reader.Text("problem_type"),
        };
    }

    /// <summary>Writes the options that BERT and RoBERTa name alike.</summary>
    public static JsonObject Write(TextEncoderConfig config, string modelType, double? classifierDropout) =>
        new()
        {
            ["model_type"] = modelType,
            ["vocab_size"] = config.VocabularySize,
            ["hidden_size"] = config.HiddenSize,
            ["num_hidden_layers"] = config.Layers,
            ["num_attention_heads"] = config.Heads,
            ["intermediate_size"] = config.IntermediateSize,
            ["hidden_act"] = config.HiddenActivation,
            ["hidden_dropout_prob"] = config.HiddenDropout,
            ["attention_probs_dropout_prob"] = config.AttentionDropout,
            ["max_position_embeddings"] = config.MaximumPositions,
            ["type_vocab_size"] = config.TokenTypes,
            ["layer_norm_eps"] = config.NormEpsilon,
            ["initializer_range"] = config.InitializerRange,
            ["pad_token_id"] = config.PaddingToken,
            ["classifier_dropout"] = classifierDropout,
            ["tie_word_embeddings"] = config.TieWordEmbeddings,
        };

    /// <summary>Adds the width of heads where it is not width / heads.</summary>
    public static JsonObject WithHeadWidth(this JsonObject json, TextEncoderConfig config)
    {
        if (config.HeadWidth is { } width && width * config.Heads != config.HiddenSize)
            json[HeadWidth] = width;
        return json;
    }

    /// <summary>Adds the labels, unless they are the two that transformers assumes, and the problem type.</summary>
    public static JsonObject WithLabels(this JsonObject json, TextEncoderConfig config) =>
        json.WithLabels(config.Labels, config.ProblemType);

    /// <summary>Adds labels, unless they are the two that transformers assumes, and the problem type.</summary>
    public static JsonObject WithLabels(this JsonObject json, IReadOnlyList<string> labels, string? problemType)
    {
        if (!labels.SequenceEqual(TextEncoderConfig.DefaultLabels(2)))
        {
            json["id2label"] = new JsonObject(
                labels.Select((label, number) => KeyValuePair.Create($"{number}", (JsonNode?)label))
            );
            var numbers = new JsonObject();
            for (int number = 0; number < labels.Count; number++)
                numbers[labels[number]] = number;
            json["label2id"] = numbers;
        }
        if (problemType is not null)
            json["problem_type"] = problemType;
        return json;
    }
}
