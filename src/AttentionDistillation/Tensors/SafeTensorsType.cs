using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>The element types of the safetensors format.</summary>
/// <param name="Name">The name in the file, for example <c>BF16</c>.</param>
/// <param name="Bits">Bits per element; the 4-bit and 6-bit types are packed.</param>
/// <param name="Torch">The type of a tensor read from it; null where TorchSharp has no such type.</param>
public sealed record SafeTensorsType(string Name, int Bits, ScalarType? Torch)
{
    /// <summary>Every type of the format, with the types TorchSharp can hold.</summary>
    public static IReadOnlyDictionary<string, SafeTensorsType> All { get; } =
        new SafeTensorsType[]
        {
            new("BOOL", 8, ScalarType.Bool),
            new("U8", 8, ScalarType.Byte),
            new("I8", 8, ScalarType.Int8),
            new("U16", 16, null),
            new("I16", 16, ScalarType.Int16),
            new("U32", 32, null),
            new("I32", 32, ScalarType.Int32),
            new("U64", 64, null),
            new("I64", 64, ScalarType.Int64),
            new("F16", 16, ScalarType.Float16),
            new("BF16", 16, ScalarType.BFloat16),
            new("F32", 32, ScalarType.Float32),
            new("F64", 64, ScalarType.Float64),
            new("C64", 64, ScalarType.ComplexFloat32),
            new("F8_E4M3", 8, null),
            new("F8_E5M2", 8, null),
            new("F8_E4M3FNUZ", 8, null),
            new("F8_E5M2FNUZ", 8, null),
            new("F8_E8M0", 8, null),
            new("F6_E2M3", 6, null),
            new("F6_E3M2", 6, null),
            new("F4", 4, null),
        }.ToDictionary(type => type.Name, StringComparer.Ordinal);

    /// <summary>The type a tensor is written as.</summary>
    /// <exception cref="ArgumentException">The format has no such type.</exception>
    public static SafeTensorsType Of(ScalarType type) =>
        All.Values.FirstOrDefault(candidate => candidate.Torch == type)
        ?? throw new ArgumentException(
            $"safetensors has no element type for {type}. Convert the tensor first, for example with .to(ScalarType.Float32)."
        );
}
