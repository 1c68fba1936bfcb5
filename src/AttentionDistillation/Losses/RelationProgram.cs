using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using AttentionDistillation.Runtime.Cuda;
using AttentionDistillation.Tensors;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>
/// The kernels of <see cref="TiledRelation"/>, compiled once for each device, dtype and pair of widths. A program is used only after it has
/// agreed with the definition on a small problem on that device; where none does, other forms take the calls.
/// </summary>
internal static class RelationProgram
{
    /// <summary>Which matrix instructions a program is made of.</summary>
    internal enum Instructions
    {
        /// <summary>Warp-group products where the architecture has them (compute capability 9.0), else those of single warps.</summary>
        Best,

        /// <summary>Products of single warps (mma.sync): compute capability 8.0 and newer.</summary>
        Warp,

        /// <summary>Products of four warps, with an operand in shared memory (wgmma): compute capability 9.0 only.</summary>
        WarpGroup,
    }

    /// <summary>Kernels compiled for a dtype and widths.</summary>
    internal sealed record Kernels(CudaProgram Program, string Definitions)
    {
        internal void Launch(
            string kernel,
            Device device,
            long blocks,
            int threads,
            int sharedBytes,
            Call call,
            int number = 0
        ) => Program.Launch(kernel, Definitions, device, blocks, threads, sharedBytes, call, number);
    }

    /// <summary>Kernels, or why there are none.</summary>
    internal sealed record Entry(Kernels? Kernels, string? Refusal, Instructions Instructions);

    /// <summary>Mirrors struct Model of Kernels/RelationKl.cu.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Model
    {
        internal nint Query;
        internal nint Key;
        internal RowStrides QueryStrides;
        internal RowStrides KeyStrides;
        internal int Width;
        internal float Scale;
    }

    /// <summary>Mirrors struct Call of Kernels/RelationKl.cu.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Call
    {
        internal Model Teacher;
        internal Model Student;
        internal nint Weights;
        internal RowStrides WeightStrides;
        internal nint Mask;
        internal nint KeyBits;
        internal nint KeyTiles;
        internal nint QueryTiles;
        internal nint Rows;
        internal nint TeacherSums;
        internal nint StudentSums;
        internal nint QueryGradient;
        internal nint KeyGradient;
        internal RowStrides QueryGradientStrides;
        internal RowStrides KeyGradientStrides;
        internal int Batch;
        internal int Heads;
        internal int WeightHeads;
        internal int Queries;
        internal int Keys;
        internal int IsCausal;
        internal float GradientScale;
    }

    /// <summary>Errors of the trial, relative to the largest entry: 2^-7 and float32's, with room for sums.</summary>
    private const double AllowedGradientError = 1.6e-2;
    private const double AllowedRowError = 1e-4;

    private static readonly Lazy<CudaProgram> OfWarps = new(() => Program(false));
    private static readonly Lazy<CudaProgram> OfWarpGroups = new(() => Program(true));

    private static readonly ConcurrentDictionary<(int, ScalarType, long, long, Instructions), Lazy<Entry>> Entries = new();

    /// <summary>Which instructions are wanted; anything but the best is for comparisons.</summary>
    internal static Instructions Wanted { get; set; } = Instructions.Best;

    /// <summary>The program for a call's device, dtype and widths.</summary>
    internal static Entry For(RelationInputs relation)
    {
        var query = relation.StudentQuery;
        return For(
            Math.Max(query.device.index, 0),
            query.dtype,
            TiledRelation.Steps(relation.TeacherQuery.size(3)),
            TiledRelation.Steps(query.size(3)),
            Wanted
        );
    }

    /// <summary>The program for a device, a dtype and widths in steps of 16 features.</summary>
    internal static Entry For(int device, ScalarType type, long teacherSteps, long studentSteps, Instructions wanted) =>
        Entries
            .GetOrAdd(
                (device, type, teacherSteps, studentSteps, wanted),
                key => new Lazy<Entry>(() => Make(key.Item1, key.Item2, key.Item3, key.Item4, key.Item5))
            )
            .Value;

    private static Entry Make(int index, ScalarType type, long teacherSteps, long studentSteps, Instructions wanted)
    {
        var device = new Device(DeviceType.CUDA, index);
        if (!CudaProgram.Serves(device))
            return new Entry(
                null,
                "CUDA kernels cannot be compiled here: driver or NVRTC are missing, or the device is older than 8.0.",
                wanted
            );
        Instructions[] candidates = wanted switch
        {
            Instructions.Best when CudaProgram.Architecture(device) == 90 => [Instructions.WarpGroup, Instructions.Warp],
            Instructions.Best => [Instructions.Warp],
            _ => [wanted],
        };
        string? refusal = null;
        foreach (var instructions in candidates)
        {
            bool groups = instructions == Instructions.WarpGroup;
            var kernels = new Kernels(
                groups ? OfWarpGroups.Value : OfWarps.Value,
                $"TEACHER_STEPS={teacherSteps};STUDENT_STEPS={studentSteps};FLOAT16={(type == ScalarType.Float16 ? 1 : 0)};WGMMA={(groups ? 1 : 0)}"
            );
            try
            {
                refusal = Trial(kernels, device, type, teacherSteps, studentSteps);
            }
            catch (InvalidOperationException error)
            {
                refusal = error.Message;
            }
            if (refusal is null)
                return new Entry(kernels, null, instructions);
        }
        return new Entry(null, refusal, wanted);
    }

    private static CudaProgram Program(bool groups) =>
        new("relation_kl", CudaProgram.Sources("TileProducts.cuh", "RelationKl.cu"), groups);

    // Value and gradients of a causal, padded call that crosses tiles, against the definition; what is wrong, or null.
    private static string? Trial(Kernels kernels, Device place, ScalarType type, long teacherSteps, long studentSteps)
    {
        const long length = 150;
        using var scope = NewDisposeScope();
        using var generator = new Generator(1, CPU);
        Tensor Draw(long steps) => randn([2, 2, length, steps * 16], generator: generator).to(type).to(place);
        Tensor[] inputs = [Draw(teacherSteps), Draw(teacherSteps), Draw(studentSteps), Draw(studentSteps)];
        var mask = (arange(length).unsqueeze(0) < tensor(new[] { length, 70L }).unsqueeze(1)).to(place);
        foreach (bool causal in (bool[])[false, true])
        {
            var options = new AttentionRelationOptions { IsCausal = causal };
            var relation = AttentionRelations.Inputs(inputs[0], inputs[1], inputs[2], inputs[3], mask, options);
            var sizes = empty(relation.StudentQuery.shape[..3], dtype: ScalarType.Float32, device: place);
            var weights = MaskedReductions.RowWeights(
                AttentionRelations.ValidRows(relation, options),
                sizes,
                RowReduction.Tokens
            );
            var actual = TiledRelation.Compute(kernels, relation, weights, true);
            var expected = BlockwiseRelation.Compute(relation, weights);
            var counted = (weights > 0).expand(actual.Rows.shape);
            foreach (
                var (what, ours, truth, allowed) in new[]
                {
                    ("rows", actual.Rows.masked_select(counted), expected.Rows.masked_select(counted), AllowedRowError),
                    ("query gradient", actual.QueryGradient!, expected.QueryGradient!, AllowedGradientError),
                    ("key gradient", actual.KeyGradient!, expected.KeyGradient!, AllowedGradientError),
                }
            )
            {
                double error = ((ours.to(ScalarType.Float32) - truth).abs().max() / truth.abs().max()).item<float>();
                if (!(error <= allowed))
                    return $"The kernels compiled, but their {what} differ from the definition by {error:g3} (causal: {causal}).";
            }
        }
        return null;
    }
}
