using TorchSharp;

namespace AttentionDistillation.Runtime;

/// <summary>The scale and device of this run, from <c>RESEARCH_SCALE</c> and <c>RESEARCH_DEVICE</c>.</summary>
/// <param name="Scale">How large the study runs.</param>
/// <param name="Device">Where tensors live.</param>
public sealed record RunSettings(Scale Scale, torch.Device Device)
{
    /// <summary>Name of the environment variable that sets the scale: <c>smoke</c>, <c>small</c> (default) or <c>large</c>.</summary>
    public const string ScaleVariable = "RESEARCH_SCALE";

    /// <summary>Name of the environment variable that sets the device: <c>cpu</c>, <c>cuda</c> or <c>cuda:N</c> (default: cuda where there is one).</summary>
    public const string DeviceVariable = "RESEARCH_DEVICE";

    /// <summary>Reads the settings of this process.</summary>
    /// <exception cref="ArgumentException">A variable holds something else; the message lists what it may hold.</exception>
    /// <exception cref="TorchRuntimeException">The device asked for is not there; the message names the remedy.</exception>
    public static RunSettings FromEnvironment() =>
        new(
            ParseScale(Environment.GetEnvironmentVariable(ScaleVariable)),
            Devices.Resolve(Environment.GetEnvironmentVariable(DeviceVariable))
        );

    /// <summary>Reads a scale's name; nothing means <see cref="Scale.Small"/>.</summary>
    /// <exception cref="ArgumentException">The name is none of smoke, small, large.</exception>
    public static Scale ParseScale(string? name) =>
        string.IsNullOrWhiteSpace(name) ? Scale.Small
        : Enum.GetNames<Scale>().Contains(name.Trim(), StringComparer.OrdinalIgnoreCase)
            ? Enum.Parse<Scale>(name.Trim(), ignoreCase: true)
        : throw new ArgumentException(
            $"Scale '{name}' is unknown. Use smoke, small or large (option --scale or {ScaleVariable})."
        );
}
