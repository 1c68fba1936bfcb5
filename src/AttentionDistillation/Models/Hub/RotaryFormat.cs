using System.Text.Json.Nodes;
using AttentionDistillation.Models.Blocks;

namespace AttentionDistillation.Models.Hub;

/// <summary>Rotary options on disk: <c>rope_parameters</c> of transformers 5, or <c>rope_theta</c> with <c>rope_scaling</c> of versions before.</summary>
internal static class RotaryFormat
{
    private static readonly Dictionary<string, RotaryScaling> Names = new(StringComparer.Ordinal)
    {
        ["default"] = RotaryScaling.None,
        ["linear"] = RotaryScaling.Linear,
        ["dynamic"] = RotaryScaling.Dynamic,
        ["yarn"] = RotaryScaling.Yarn,
        ["longrope"] = RotaryScaling.LongRope,
        ["su"] = RotaryScaling.LongRope, // the name before transformers 4.41
        ["llama3"] = RotaryScaling.Llama3,
    };

    /// <summary>Reads the options of a configuration.</summary>
    /// <param name="reader">The configuration.</param>
    /// <param name="theta">The family's base where none is named.</param>
    /// <exception cref="NotSupportedException">The scaling is unknown, or differs from layer to layer.</exception>
    public static RotaryOptions Read(ConfigReader reader, double theta = RotaryOptions.DefaultTheta)
    {
        var json = reader.Object("rope_scaling") ?? reader.Object("rope_parameters") ?? [];
        if (json.Any(pair => pair.Value is JsonObject))
            throw new NotSupportedException(
                "rope_parameters differs between kinds of layers, which is not supported: give one set of parameters for all."
            );
        var rope = new ConfigReader(json, $"{reader.Path} (rope_parameters)");
        string name = rope.Text("rope_type") ?? rope.Text("type") ?? "default";
        if (!Names.TryGetValue(name, out var scaling))
            throw new NotSupportedException(
                $"'{reader.Path}' asks for rope_type '{name}'. Supported are: {string.Join(", ", Names.Keys)}."
            );
        bool hasOriginal = scaling is RotaryScaling.Yarn or RotaryScaling.LongRope or RotaryScaling.Llama3;
        return new RotaryOptions
        {
            Scaling = scaling,
            Theta = rope.OptionalNumber("rope_theta", null) ?? reader.OptionalNumber("rope_theta", null) ?? theta,
            PartialFactor =
                rope.OptionalNumber("partial_rotary_factor", null) ?? reader.OptionalNumber("partial_rotary_factor", null) ?? 1.0,
            Factor = rope.OptionalNumber("factor", null),
            // A value beside the parameters goes before the one among them, as in transformers.
            OriginalPositions = hasOriginal
                ? reader.OptionalInteger("original_max_position_embeddings", null)
                    ?? rope.OptionalInteger("original_max_position_embeddings", null)
                : null,
            AttentionFactor = rope.OptionalNumber("attention_factor", null),
            BetaFast = rope.OptionalNumber("beta_fast", null),
            BetaSlow = rope.OptionalNumber("beta_slow", null),
            MagnitudeScale = rope.OptionalNumber("mscale", null),
            MagnitudeScaleAll = rope.OptionalNumber("mscale_all_dim", null),
            Truncate = rope.Flag("truncate", true),
            LowFrequencyFactor = rope.OptionalNumber("low_freq_factor", null),
            HighFrequencyFactor = rope.OptionalNumber("high_freq_factor", null),
            ShortFactors = rope.Numbers("short_factor"),
            LongFactors = rope.Numbers("long_factor"),
        };
    }

    /// <summary>The options as <c>rope_parameters</c>.</summary>
    public static JsonObject Write(RotaryOptions options)
    {
        var json = new JsonObject
        {
            ["rope_type"] = Names.First(pair => pair.Value == options.Scaling).Key,
            ["rope_theta"] = options.Theta,
        };
        if (options.PartialFactor != 1.0)
            json["partial_rotary_factor"] = options.PartialFactor;
        foreach (
            var (name, value) in new (string, double?)[]
            {
                ("factor", options.Factor),
                ("attention_factor", options.AttentionFactor),
                ("beta_fast", options.BetaFast),
                ("beta_slow", options.BetaSlow),
                ("mscale", options.MagnitudeScale),
                ("mscale_all_dim", options.MagnitudeScaleAll),
                ("low_freq_factor", options.LowFrequencyFactor),
                ("high_freq_factor", options.HighFrequencyFactor),
            }
        )
            if (value is not null)
                json[name] = value;
        if (options.OriginalPositions is not null)
            json["original_max_position_embeddings"] = options.OriginalPositions;
        if (!options.Truncate)
            json["truncate"] = false;
        foreach (var (name, factors) in new[] { ("short_factor", options.ShortFactors), ("long_factor", options.LongFactors) })
            if (factors is not null)
                json[name] = new JsonArray([.. factors.Select(number => (JsonNode)number)]);
        return json;
    }
}
