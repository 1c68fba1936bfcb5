using AttentionDistillation.Losses;
using AttentionDistillation.Tests.Support;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Tests.Losses;

/// <summary>
/// Every form of the attention relation on CUDA beside the definition in float64: at most twice as wrong as the definition in the same dtype, or exact to a
/// rounding of that dtype.
/// </summary>
[Trait("Kind", Gpu.Kind)]
public sealed class CudaRelationTests
{
    private const double AllowedRatio = 2.0;

    [Theory]
    [InlineData("auto")]
    [InlineData("tiled-best")]
    [InlineData("tiled-warp")]
    [InlineData("library")]
    [InlineData("blockwise")]
    public void BFloat16KeepsTheRule(string form) => CompareAll(ScalarType.BFloat16, Math.Pow(2, -9), form);

    [Theory]
    [InlineData("auto")]
    [InlineData("tiled-best")]
    [InlineData("tiled-warp")]
    [InlineData("library")]
    [InlineData("blockwise")]
    public void Float16KeepsTheRule(string form) => CompareAll(ScalarType.Float16, Math.Pow(2, -12), form);

    [Theory]
    [InlineData("auto")]
    [InlineData("blockwise")]
    public void Float32KeepsTheRule(string form) => CompareAll(ScalarType.Float32, Math.Pow(2, -24), form);

    private static void CompareAll(ScalarType type, double rounding, string form)
    {
        foreach (var (teacher, student) in ((long, long)[])[(64, 64), (64, 32), (20, 7)])
        foreach (bool padded in (bool[])[false, true])
        foreach (bool causal in (bool[])[false, true])
            Compare(type, rounding, form, teacher, student, padded, causal);
    }

    private static void Compare(
        ScalarType type,
        double rounding,
        string form,
        long teacher,
        long student,
        bool padded,
        bool causal
    )
    {
        const long Batch = 2,
            Heads = 4,
            Length = 200;
        var device = Gpu.Required();
        using var scope = NewDisposeScope();
        var random = new RandomTensors(20);
        Tensor[] inputs =
        [
            .. new[] { teacher, teacher, student, student }.Select(width => random.Normal(Batch, Heads, Length, width).to(type)),
        ];
        // The definition is computed on the CPU, where each of its dtypes is as in the golden tests, and once on the device in the same dtype.
        var truth = Step(inputs, ScalarType.Float64, CPU, RelationForm.Dense);
        var naive = Step(inputs, type, device, RelationForm.Dense);
        var (enabled, wanted) = (TiledRelation.IsEnabled, RelationProgram.Wanted);
        try
        {
            TiledRelation.IsEnabled = form != "library";
            RelationProgram.Wanted = form == "tiled-warp" ? RelationProgram.Instructions.Warp : RelationProgram.Instructions.Best;
            var ours = Step(
                inputs,
                type,
                device,
                form switch
                {
                    "auto" => RelationForm.Auto,
                    "blockwise" => RelationForm.Blockwise,
                    _ => RelationForm.Fused,
                }
            );
            foreach (var (name, part) in (ReadOnlySpan<(string, int)>)[("query gradient", 1), ("key gradient", 2)])
            {
                double size = Largest(truth[part]),
                    mine = Largest(ours[part] - truth[part]) / size,
                    theirs = Largest(naive[part] - truth[part]) / size;
                Assert.True(
                    mine <= AllowedRatio * theirs + rounding,
                    $"{name}, widths {teacher} and {student}, padded {padded}, causal {causal}: {mine:g3}, the definition {theirs:g3}."
                );
            }
            Assert.Equal(truth[0].item<double>(), ours[0].item<double>(), 0.01 * Math.Abs(truth[0].item<double>()));
        }
        finally
        {
            (TiledRelation.IsEnabled, RelationProgram.Wanted) = (enabled, wanted);
        }

        // Value and gradients, in float64 on the CPU.
        Tensor[] Step(Tensor[] given, ScalarType computed, Device place, RelationForm how)
        {
            var moved = given.Select(tensor => tensor.to(computed).to(place)).ToArray();
            var (query, key) = (moved[2].detach().requires_grad_(), moved[3].detach().requires_grad_());
            var mask = padded ? RandomTensors.Mask(Length, Length, 77).to(place) : null;
            var options = new AttentionRelationOptions { Form = how, IsCausal = causal };
            var loss = AttentionRelations.KlDivergence(moved[0], moved[1], query, key, mask, options);
            loss.backward();
            return [.. new[] { loss.detach(), query.grad!, key.grad! }.Select(tensor => tensor.cpu().to(ScalarType.Float64))];
        }
    }

    private static double Largest(Tensor tensor) => tensor.abs().max().item<double>();
}
