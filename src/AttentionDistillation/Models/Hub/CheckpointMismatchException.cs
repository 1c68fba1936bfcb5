namespace AttentionDistillation.Models.Hub;

/// <summary>A checkpoint's tensors do not fit the model its configuration describes. The message lists every difference.</summary>
public sealed class CheckpointMismatchException : IOException
{
    /// <summary>Creates the error.</summary>
    /// <param name="path">The checkpoint.</param>
    /// <param name="architecture">The model.</param>
    /// <param name="missing">What the model needs and the file lacks.</param>
    /// <param name="unexpected">What the file holds and the model does not know.</param>
    /// <param name="wrongShapes">What has another shape.</param>
    public CheckpointMismatchException(
        string path,
        string architecture,
        IReadOnlyList<string> missing,
        IReadOnlyList<string> unexpected,
        IReadOnlyList<string> wrongShapes
    )
        : base(
            $"'{path}' does not fit {architecture} as its {Hub.ConfigFile} describes it. Missing ({missing.Count}): {List(missing)}. "
                + $"Unexpected ({unexpected.Count}): {List(unexpected)}. Wrong shape ({wrongShapes.Count}): {List(wrongShapes)}."
        ) => (Missing, Unexpected, WrongShapes) = (missing, unexpected, wrongShapes);

    /// <summary>What the model needs and the file lacks.</summary>
    public IReadOnlyList<string> Missing { get; }

    /// <summary>What the file holds and the model does not know.</summary>
    public IReadOnlyList<string> Unexpected { get; }

    /// <summary>What has another shape.</summary>
    public IReadOnlyList<string> WrongShapes { get; }

    private static string List(IReadOnlyList<string> items) => items.Count == 0 ? "none" : string.Join("; ", items);
}
