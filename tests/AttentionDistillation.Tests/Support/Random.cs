using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Support;

/// <summary>Random tensors of a seed, in float64 unless told otherwise.</summary>
internal sealed class RandomTensors(long seed)
{
    private readonly Generator generator = new((ulong)seed, CPU);

    internal Tensor Normal(params long[] shape) => randn(shape, dtype: ScalarType.Float64, generator: generator);

    internal Tensor Learned(params long[] shape) => Normal(shape).requires_grad_();

    /// <summary>bool [B, L]: true up to each length.</summary>
    internal static Tensor Mask(long length, params long[] lengths) => arange(length).unsqueeze(0) < tensor(lengths).unsqueeze(1);
}

/// <summary>Numerical checks that several tests share.</summary>
internal static class Check
{
    /// <summary>Asserts that two tensors agree to a tolerance relative to the largest entry.</summary>
    internal static void Close(Tensor expected, Tensor actual, double tolerance, string what = "tensor")
    {
        Assert.True(
            expected.shape.SequenceEqual(actual.shape),
            $"{what}: shape [{string.Join(", ", actual.shape)}], expected [{string.Join(", ", expected.shape)}]."
        );
        var (wanted, got) = (expected.detach().to(ScalarType.Float64), actual.detach().to(ScalarType.Float64));
        double error = (wanted - got).abs().max().item<double>(),
            size = Math.Max(wanted.abs().max().item<double>(), 1e-30);
        Assert.True(error <= tolerance * size, $"{what}: error {error:g3} against {size:g3}, tolerance {tolerance}.");
    }

    /// <summary>Asserts that autograd's gradients of a scalar function equal central differences, at every entry of every input.</summary>
    internal static void Gradients(Func<Tensor[], Tensor> function, Tensor[] inputs, double tolerance = 1e-6)
    {
        const double Step = 1e-5; // near the cube root of float64's rounding unit, where a central difference is most exact
        var learned = inputs.Select(input => input.detach().clone().requires_grad_()).ToArray();
        function(learned).backward();
        for (int which = 0; which < inputs.Length; which++)
        {
            var numeric = zeros_like(inputs[which]);
            for (long entry = 0; entry < inputs[which].numel(); entry++)
                numeric.view(-1)[entry] = (At(which, entry, Step) - At(which, entry, -Step)) / (2 * Step);
            Close(numeric, learned[which].grad ?? zeros_like(numeric), tolerance, $"gradient of input {which}");
        }

        double At(int which, long entry, double step)
        {
            var moved = inputs.Select(input => input.detach().clone()).ToArray();
            moved[which].view(-1)[entry] += step;
            return function(moved).item<double>();
        }
    }
}
