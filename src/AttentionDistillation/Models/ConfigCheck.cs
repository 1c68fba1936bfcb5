using AttentionDistillation.Tensors;

namespace AttentionDistillation.Models;

/// <summary>Range checks of configurations; every message names the record, the option, its value and what it must be.</summary>
internal static class ConfigCheck
{
    public static void Positive(object config, long value, string name)
    {
        if (value < 1)
            throw Wrong(config, name, value, "1 or more");
    }

    public static void Positive(object config, ImageSize value, string name)
    {
        if (value.Height < 1 || value.Width < 1)
            throw Wrong(config, name, value, "1 or more in both directions");
    }

    public static void AboveZero(object config, double value, string name)
    {
        if (!(value > 0) || !double.IsFinite(value))
            throw Wrong(config, name, value, "above 0");
    }

    public static void NotNegative(object config, double value, string name)
    {
        if (!(value >= 0) || !double.IsFinite(value))
            throw Wrong(config, name, value, "0 or more");
    }

    public static void Probability(object config, double value, string name)
    {
        if (!(value is >= 0 and < 1))
            throw Wrong(config, name, value, "from 0 to below 1");
    }

    public static ArgumentException Wrong(object config, string name, object value, string expected) =>
        new(FormattableString.Invariant($"{config.GetType().Name}.{name} is {value}, but must be {expected}."));
}
