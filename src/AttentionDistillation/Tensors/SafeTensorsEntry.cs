namespace AttentionDistillation.Tensors;

/// <summary>One tensor of a safetensors file, as its header describes it.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="Type">The element type.</param>
/// <param name="Shape">Sizes of the axes; empty for a scalar.</param>
/// <param name="Offset">First byte, counted from the start of the file.</param>
/// <param name="Length">Number of bytes.</param>
public sealed record SafeTensorsEntry(string Name, SafeTensorsType Type, IReadOnlyList<long> Shape, long Offset, long Length)
{
    /// <summary>The entry in words: <c>F32 [4, 8]</c>.</summary>
    public string Description => $"{Type.Name} [{string.Join(", ", Shape)}]";
}
