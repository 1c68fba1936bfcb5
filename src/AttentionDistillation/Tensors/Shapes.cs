using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tensors;

/// <summary>Shape checks whose messages name the tensor, what was given and what was expected.</summary>
public static class Shapes
{
    /// <summary>Checks the number of axes.</summary>
    /// <param name="tensor">What is checked.</param>
    /// <param name="layout">The expected layout in the shape alphabet, for example <c>[B, H, L, D]</c>.</param>
    /// <param name="name">The argument's name (filled in by the compiler).</param>
    /// <exception cref="ArgumentException">The number of axes differs.</exception>
    public static void Require(Tensor tensor, string layout, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        int axes = layout.Count(character => character == ',') + 1;
        if (tensor.dim() != axes)
            throw new ArgumentException($"{name} must be {layout}, but has shape {Describe(tensor)}.", name);
    }

    /// <summary>Checks that an axis of two tensors agrees.</summary>
    /// <exception cref="ArgumentException">The sizes differ; the message gives both shapes.</exception>
    public static void RequireSame(
        Tensor first,
        Tensor second,
        int axis,
        string what,
        [CallerArgumentExpression(nameof(first))] string firstName = "",
        [CallerArgumentExpression(nameof(second))] string secondName = ""
    )
    {
        if (first.size(axis) != second.size(axis))
            throw new ArgumentException(
                $"{firstName} and {secondName} must have the same {what}, but are {Describe(first)} and {Describe(second)}."
            );
    }

    /// <summary>Checks a shape exactly; -1 stands for any size.</summary>
    /// <exception cref="ArgumentException">The shape differs.</exception>
    public static void RequireExact(
        Tensor tensor,
        ReadOnlySpan<long> expected,
        [CallerArgumentExpression(nameof(tensor))] string name = ""
    )
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        bool same = tensor.dim() == expected.Length;
        for (int axis = 0; same && axis < expected.Length; axis++)
            same = expected[axis] == -1 || tensor.size(axis) == expected[axis];
        if (!same)
            throw new ArgumentException(
                $"{name} must be [{string.Join(", ", expected.ToArray())}], but has shape {Describe(tensor)}.",
                name
            );
    }

    /// <summary>A shape in words: <c>[2, 4, 16]</c>.</summary>
    public static string Describe(Tensor tensor) => $"[{string.Join(", ", tensor.shape)}]";
}
