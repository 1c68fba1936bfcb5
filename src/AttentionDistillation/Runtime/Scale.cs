namespace AttentionDistillation.Runtime;

/// <summary>How large a study runs. One configuration record holds all three side by side.</summary>
public enum Scale
{
    /// <summary>Seconds; what the tests run.</summary>
    Smoke,

    /// <summary>At most five minutes on two CPU cores.</summary>
    Small,

    /// <summary>At most five minutes on one H100.</summary>
    Large,
}

/// <summary>A value for each scale, side by side.</summary>
/// <typeparam name="T">The type of the value.</typeparam>
/// <param name="Smoke">The value at <see cref="Scale.Smoke"/>.</param>
/// <param name="Small">The value at <see cref="Scale.Small"/>.</param>
/// <param name="Large">The value at <see cref="Scale.Large"/>.</param>
public sealed record ByScale<T>(T Smoke, T Small, T Large)
{
    /// <summary>The value at a scale.</summary>
    public T this[Scale scale] =>
        scale switch
        {
            Scale.Smoke => Smoke,
            Scale.Small => Small,
            Scale.Large => Large,
            _ => throw new ArgumentOutOfRangeException(nameof(scale), scale, "Scale is Smoke, Small or Large."),
        };
}
