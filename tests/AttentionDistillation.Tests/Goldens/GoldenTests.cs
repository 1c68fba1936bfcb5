using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Goldens;

/// <summary>Every case of every golden file: values and gradients, in float64 and float32.</summary>
[Trait("Kind", "Golden")]
public class GoldenTests
{
    // Same arithmetic in the same precision differs only by the order of sums: 1e-9 leaves six digits of room above float64's rounding.
    private const double DoubleTolerance = 1e-9;

    // Inputs are exact in float32; a few hundred rounded operations of 6e-8 each stay well below this.
    private const double SingleTolerance = 1e-4;

    public static TheoryData<string, int, string> Cases()
    {
        var data = new TheoryData<string, int, string>();
        foreach (string file in GoldenFile.Names)
        {
            var mechanisms = GoldenFile.Mechanisms(file);
            for (int index = 0; index < mechanisms.Count; index++)
                if (GoldenAdapters.Has(mechanisms[index]))
                    data.Add(file, index, mechanisms[index]);
        }
        return data;
    }

    public static TheoryData<string> FilesWithPendingMechanisms() =>
        [.. GoldenFile.Names.Where(file => Pending(file).Length > 0)];

    [Theory(SkipTestWithoutData = true)]
    [MemberData(nameof(Cases))]
    public void ValuesAndGradientsMatch(string file, int index, string mechanism)
    {
        Check(file, index, mechanism, ScalarType.Float64, DoubleTolerance);
        Check(file, index, mechanism, ScalarType.Float32, SingleTolerance);
    }

    /// <summary>Mechanisms that have golden values and no implementation yet: shown as skipped, a line a file, each mechanism with its number of cases.</summary>
    [Theory(SkipTestWithoutData = true)]
    [MemberData(nameof(FilesWithPendingMechanisms))]
    public void PendingMechanisms(string file) => Assert.Skip($"pending, no adapter yet: {string.Join(", ", Pending(file))}");

    [Fact]
    public void EveryFileHoldsCases() => Assert.All(GoldenFile.Names, file => Assert.NotEmpty(GoldenFile.Mechanisms(file)));

    private static string[] Pending(string file) =>
        [
            .. GoldenFile
                .Mechanisms(file)
                .Where(mechanism => !GoldenAdapters.Has(mechanism))
                .GroupBy(mechanism => mechanism)
                .Select(group => $"{group.Key} ({group.Count()})"),
        ];

    private static void Check(string file, int index, string mechanism, ScalarType type, double tolerance)
    {
        using var scope = NewDisposeScope();
        var golden = GoldenFile.Read(file, index);
        var inputs = golden.Inputs.ToDictionary(
            pair => pair.Key,
            pair =>
                pair.Value.is_floating_point()
                    ? pair.Value.to(type).requires_grad_(golden.Gradients.ContainsKey(pair.Key))
                    : pair.Value
        );
        var outputs = GoldenAdapters.For(mechanism)(new GoldenInputs(inputs, golden.Parameters));
        string label = $"{file} case {index} ({mechanism} {golden.Parameters} {golden.Note}) in {type}";
        foreach (var (name, expected) in golden.Outputs)
        {
            Assert.True(outputs.ContainsKey(name), $"{label}: the adapter gives no output '{name}'.");
            AssertClose(expected, outputs[name], tolerance, $"{label}: output {name}");
        }
        if (golden.Gradients.Count == 0)
            return;
        if (AnotherProbe.Mechanisms.Contains(mechanism))
        {
            inputs["probe"] = AnotherProbe.Recover(golden, GoldenAdapters.For(mechanism)).to(type);
            outputs = GoldenAdapters.For(mechanism)(new GoldenInputs(inputs, golden.Parameters));
        }
        outputs["loss"].backward();
        foreach (var (name, expected) in golden.Gradients)
        {
            var gradient = inputs[name].grad;
            Assert.True(gradient is not null, $"{label}: no gradient reached '{name}'.");
            AssertClose(expected, gradient!, tolerance, $"{label}: gradient of {name}");
        }
    }

    // Relative to each entry, with a floor relative to the largest entry: entries that cancel to nearly zero carry the rounding of their terms.
    private static void AssertClose(Tensor expected, Tensor actual, double tolerance, string label)
    {
        Assert.True(
            expected.shape.SequenceEqual(actual.shape),
            $"{label}: shape [{string.Join(", ", actual.shape)}], expected [{string.Join(", ", expected.shape)}]."
        );
        if (!expected.is_floating_point())
        {
            Assert.True(
                expected.to(ScalarType.Int64).equal(actual.to(ScalarType.Int64)).all().item<bool>(),
                $"{label}: values differ."
            );
            return;
        }
        if (expected.numel() == 0)
            return;
        var (wanted, got) = (expected.to(ScalarType.Float64), actual.detach().to(ScalarType.Float64));
        var finite = wanted.isfinite();
        Assert.True(
            wanted
                .masked_fill(finite, 0.0)
                .equal(got.masked_fill(finite, 0.0))
                .logical_or(wanted.isnan().logical_and(got.isnan()))
                .all()
                .item<bool>(),
            $"{label}: infinities differ."
        );
        (wanted, got) = (wanted.masked_fill(finite.logical_not(), 0.0), got.masked_fill(finite.logical_not(), 0.0));
        var bound = (wanted.abs() + wanted.abs().max()) * tolerance;
        var error = (got - wanted).abs();
        Assert.True(
            (error <= bound).all().item<bool>(),
            $"{label}: largest error {error.max().item<double>():g3}, largest value {wanted.abs().max().item<double>():g3}, tolerance {tolerance}."
        );
    }
}
