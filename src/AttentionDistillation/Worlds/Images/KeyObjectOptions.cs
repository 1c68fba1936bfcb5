namespace AttentionDistillation.Worlds.Images;

/// <summary>What tells the classes of <see cref="KeyObjects"/> apart.</summary>
public enum KeyObjectCue
{
    /// <summary>The colours of the key's disc and ring; its dot is bright and every distractor's dark.</summary>
    Colour,

    /// <summary>The key's shape and texture, in any colour; a thin bright ring marks it.</summary>
    Texture,
}

/// <summary>The splits of <see cref="KeyObjects"/>; no image belongs to two.</summary>
public enum ImageSplit
{
    /// <summary>Training images.</summary>
    Train,

    /// <summary>Test images like the training ones.</summary>
    Test,

    /// <summary>Test images under <see cref="KeyObjectOptions.Shifted"/>.</summary>
    Shifted,

    /// <summary>Images for training without labels; the labels are there, to check against.</summary>
    Unlabelled,
}

/// <summary>Sizes and difficulty of <see cref="KeyObjects"/>. Intensities are around zero; deviations are those of normal draws.</summary>
public sealed record KeyObjectOptions
{
    /// <summary>Height and width S of the images in pixels, a multiple of 4 and at least 16.</summary>
    public int Size { get; init; } = 32;

    /// <summary>Number of classes C: 12, or with the cue colour also 48.</summary>
    public int Classes { get; init; } = 12;

    /// <summary>What tells the classes apart.</summary>
    public KeyObjectCue Cue { get; init; } = KeyObjectCue.Colour;

    /// <summary>Objects beside the key; null for the cue's own number, 1 with colours and 3 with textures.</summary>
    public int? Distractors { get; init; }

    /// <summary>Deviation of the noise of every pixel and channel.</summary>
    public double PixelNoise { get; init; } = 0.25;

    /// <summary>Deviation of the background's blocks of 4 x 4 pixels.</summary>
    public double Background { get; init; } = 0.3;

    /// <summary>Deviation of an object's colours from the palette, per channel.</summary>
    public double ColourJitter { get; init; } = 0.15;

    /// <summary>Whether a grey bar of width 0.12 S lies over everything, at a random place in a random direction.</summary>
    public bool Bar { get; init; }

    internal int DistractorCount => Distractors ?? (Cue == KeyObjectCue.Colour ? 1 : 3);

    /// <summary>The shifted form of these options: noise 0.45, background 0.5, colour jitter 0.3, one more distractor, a bar.</summary>
    public KeyObjectOptions Shifted =>
        this with
        {
            PixelNoise = 0.45,
            Background = 0.5,
            ColourJitter = 0.3,
            Distractors = DistractorCount + 1,
            Bar = true,
        };

    /// <summary>Checks the options.</summary>
    /// <exception cref="ArgumentException">An option is out of its range; the message names it.</exception>
    public void Validate()
    {
        if (Size < 16 || Size % 4 != 0)
            throw new ArgumentException($"Size is {Size}. It must be a multiple of 4, at least 16.");
        if (Classes != 12 && !(Classes == 48 && Cue == KeyObjectCue.Colour))
            throw new ArgumentException(
                $"There are no {Classes} classes with the cue {Cue}. Take 12, or 48 with the cue Colour."
            );
        if (Distractors is < 0 or > 8)
            throw new ArgumentException($"Distractors is {Distractors}. It must be 0 to 8: more do not fit beside each other.");
        foreach (
            var (name, value) in new[]
            {
                (nameof(PixelNoise), PixelNoise),
                (nameof(Background), Background),
                (nameof(ColourJitter), ColourJitter),
            }
        )
            if (!(value >= 0) || double.IsInfinity(value))
                throw new ArgumentException($"{name} is {value}. A deviation must be 0 or above.");
    }
}
