namespace AttentionDistillation.Models.Driving;

/// <summary>How a <see cref="SceneModel"/> joins what it knows of an instance.</summary>
public enum SceneFusion
{
    /// <summary>Measured positions alone.</summary>
    Geometry,

    /// <summary>Geometry and vision, side by side into a linear layer.</summary>
    GeometryVision,

    /// <summary>Geometry, vision and text side by side into a linear layer.</summary>
    Concatenation,

    /// <summary>The sum of all three.</summary>
    Sum,

    /// <summary>Gates of each instance, level by level (<see cref="Blocks.HierarchicalFusion"/>).</summary>
    Gated,
}

/// <summary>Sizes and switches of a <see cref="SceneModel"/>.</summary>
public sealed record SceneModelConfig
{
    /// <summary>How streams are joined.</summary>
    public SceneFusion Fusion { get; init; } = SceneFusion.Gated;

    /// <summary>Levels of fusion: how often instances ask images and text again.</summary>
    public int Levels { get; init; } = 2;

    /// <summary>Width C of everything, divisible by 4.</summary>
    public long Width { get; init; } = 48;

    /// <summary>Heads of every attention.</summary>
    public long Heads { get; init; } = 4;

    /// <summary>Layers over the patches of a view.</summary>
    public int VisionLayers { get; init; } = 2;

    /// <summary>Side of a patch in pixels.</summary>
    public long Patch { get; init; } = 4;

    /// <summary>Height and width of a view in pixels.</summary>
    public (long Height, long Width) View { get; init; } = (16, 32);

    /// <summary>Words of the vocabulary; 0 is padding.</summary>
    public long Vocabulary { get; init; } = 40;

    /// <summary>Words of a caption.</summary>
    public long CaptionLength { get; init; } = 12;

    /// <summary>Classes of instances.</summary>
    public int Classes { get; init; } = 4;

    /// <summary>Points of the planned trajectory.</summary>
    public int Steps { get; init; } = 6;

    /// <summary>Directions of the cameras, radians to the right of straight ahead.</summary>
    public IReadOnlyList<double> CameraYaws { get; init; } = [-35 * Math.PI / 180, 35 * Math.PI / 180];

    /// <summary>Half of the cameras' angle of view, radians.</summary>
    public double CameraHalfAngle { get; init; } = 45 * Math.PI / 180;

    /// <summary>Half of the street's side in metres: what measured places are scaled by.</summary>
    public double HalfSide { get; init; } = 16;

    /// <summary>Softens the gates; above 0.</summary>
    public double GateTemperature { get; init; } = 1;

    /// <summary>Checks the sizes.</summary>
    /// <exception cref="ArgumentException">A size is out of its range; the message names it.</exception>
    public void Validate()
    {
        if (Width < 4 || Width % 4 != 0 || Heads < 1 || Width % Heads != 0)
            throw new ArgumentException($"The width must be divisible by 4 and by the heads, but is {Width} with {Heads} heads.");
        if (Levels < 1 || VisionLayers < 1 || Classes < 2 || Steps < 1 || Vocabulary < 2 || CaptionLength < 1)
            throw new ArgumentException(
                "Levels, VisionLayers, Steps and CaptionLength must be 1 or more, Classes and Vocabulary 2 or more."
            );
        if (Levels > 1 && Fusion != SceneFusion.Gated)
            throw new ArgumentException($"Only gated fusion has levels; {Fusion} needs Levels = 1.");
        if (Patch < 1 || View.Height % Patch != 0 || View.Width % Patch != 0)
            throw new ArgumentException($"A patch of {Patch} does not divide views of {View.Height} x {View.Width}.");
        if (CameraYaws.Count < 1 || !(CameraHalfAngle > 0) || !(HalfSide > 0) || !(GateTemperature > 0))
            throw new ArgumentException("There must be a camera; CameraHalfAngle, HalfSide and GateTemperature must be above 0.");
    }
}
