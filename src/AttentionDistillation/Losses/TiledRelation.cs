using System.Runtime.InteropServices;
using AttentionDistillation.Runtime.Cuda;
using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Losses;

/// <summary>
/// The relation's KL by two CUDA kernels of our own (Kernels/RelationKl.cu): one pass over the rows gives value and query gradient, one over the
/// columns the key gradient. Seven matrix products, as many as an attention's forward and backward, and nothing pointwise beside them.
/// Sums and the value are in float32; rounding errors of the gradients are those of the definition in the same dtype.
/// </summary>
internal static class TiledRelation
{
    /// <summary>The widest head that fits a block's registers.</summary>
    internal const long WidestHead = 128;

    private const int Tile = 64;
    private const int Threads = 128;
    private const int ListThreads = 1024;
    private const int PanelBytes = Tile * 128;
    private const int RowBytes = 1024;

    /// <summary>Rows are copied in pieces of 16 bytes: elements of half precision that must begin at such a place.</summary>
    private const int Alignment = 8;

    /// <summary>Switch for comparisons with the library's kernels.</summary>
    internal static bool IsEnabled { get; set; } = true;

    /// <summary>Rows' KL [B, H, L] and, where weights were given, the gradients of the weighted sum.</summary>
    internal readonly record struct Result(Tensor Rows, Tensor? QueryGradient, Tensor? KeyGradient);

    /// <summary>True when the kernels serve the call on this device.</summary>
    internal static bool Serves(RelationInputs relation) => IsEnabled && Refusal(relation) is null;

    /// <summary>Why the kernels do not serve a call; null when they do.</summary>
    internal static string? Refusal(RelationInputs relation)
    {
        var query = relation.StudentQuery;
        if (query.device_type != DeviceType.CUDA)
            return $"The kernels run on CUDA, but the tensors are on {query.device_type}.";
        if (
            query.dtype is not (ScalarType.BFloat16 or ScalarType.Float16)
            || new[] { relation.StudentKey, relation.TeacherQuery, relation.TeacherKey }.Any(tensor =>
                tensor.dtype != query.dtype
            )
        )
            return "The kernels take bfloat16 or float16, the same for teacher and student.";
        if (Math.Max(relation.TeacherQuery.size(3), query.size(3)) > WidestHead)
            return $"The kernels serve head widths up to {WidestHead}.";
        if (relation.Queries > int.MaxValue - Tile || relation.Keys > int.MaxValue - Tile)
            return "The sequences are too long.";
        return RelationProgram.For(relation).Refusal;
    }

    /// <summary>Value and gradients; no graph is recorded.</summary>
    /// <param name="relation">The inputs.</param>
    /// <param name="weights">Row weights broadcastable to [B, H, L], none negative, for the gradients; null for values alone.</param>
    /// <param name="someDoNotCount">True when weights may be zero: whole tiles of such rows are then left out.</param>
    internal static Result Compute(RelationInputs relation, Tensor? weights, bool someDoNotCount) =>
        Compute(RelationProgram.For(relation).Kernels!, relation, weights, someDoNotCount);

    /// <summary>The same with given kernels.</summary>
    /// <param name="kernels">The kernels for the call's dtype and widths.</param>
    /// <param name="relation">The inputs.</param>
    /// <param name="weights">Row weights, or null.</param>
    /// <param name="someDoNotCount">True when weights may be zero.</param>
    /// <param name="overColumns">False leaves the pass over the columns out, and the key gradient undefined: for a profile.</param>
    internal static Result Compute(
        RelationProgram.Kernels kernels,
        RelationInputs relation,
        Tensor? weights,
        bool someDoNotCount,
        bool overColumns = true
    )
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        long batch = relation.StudentQuery.size(0),
            heads = relation.StudentQuery.size(1),
            width = relation.StudentQuery.size(3),
            maps = batch * heads,
            queryTiles = Tiles(relation.Queries),
            keyTiles = Tiles(relation.Keys);
        var device = relation.StudentQuery.device;
        var (teacherQuery, teacherKey) = (Operand(relation.TeacherQuery), Operand(relation.TeacherKey));
        var (query, key) = (Operand(relation.StudentQuery), Operand(relation.StudentKey));
        var mask = relation.Mask?.contiguous();
        // Torch's allocator hands memory out in the order of the stream, so all of this may be given back before the kernels have run.
        var rows = empty([batch, heads, relation.Queries], ScalarType.Float32, device);
        var call = new RelationProgram.Call
        {
            Teacher = Model(teacherQuery, teacherKey, relation.TeacherScale),
            Student = Model(query, key, relation.StudentScale),
            Rows = CudaArgument.AddressOf(rows),
            Batch = (int)batch,
            Heads = (int)heads,
            Queries = (int)relation.Queries,
            Keys = (int)relation.Keys,
            IsCausal = relation.IsCausal ? 1 : 0,
            GradientScale = (float)relation.StudentScale,
        };
        if (mask is not null)
        {
            call.Mask = CudaArgument.AddressOf(mask);
            call.KeyBits = CudaArgument.AddressOf(empty([batch, keyTiles], ScalarType.Int64, device));
            call.KeyTiles = CudaArgument.AddressOf(empty([batch, 1 + keyTiles], ScalarType.Int32, device));
            kernels.Launch("live_tiles", device, batch, ListThreads, 0, call, 0);
        }
        if (weights is null)
        {
            kernels.Launch(
                "rows_only",
                device,
                maps * queryTiles,
                Threads,
                SharedBytes(teacherQuery.size(3), query.size(3), false),
                call
            );
            return new Result(rows.MoveToOuterDisposeScope(), null, null);
        }
        var spread = weights.to(ScalarType.Float32).expand(batch, weights.size(1), relation.Queries);
        var sums = empty([2, batch, heads, relation.Queries], ScalarType.Float32, device);
        var (queryGradient, keyGradient) = (Like(query), Like(key));
        call.Weights = CudaArgument.AddressOf(spread);
        call.WeightHeads = (int)spread.size(1);
        call.WeightStrides = new(spread);
        call.TeacherSums = CudaArgument.AddressOf(sums[0]);
        call.StudentSums = CudaArgument.AddressOf(sums[1]);
        call.QueryGradient = CudaArgument.AddressOf(queryGradient);
        call.QueryGradientStrides = new(queryGradient);
        call.KeyGradient = CudaArgument.AddressOf(keyGradient);
        call.KeyGradientStrides = new(keyGradient);
        if (someDoNotCount)
        {
            call.QueryTiles = CudaArgument.AddressOf(empty([batch, spread.size(1), 1 + queryTiles], ScalarType.Int32, device));
            kernels.Launch("live_tiles", device, batch * spread.size(1), ListThreads, 0, call, 1);
        }
        kernels.Launch("rows", device, maps * queryTiles, Threads, SharedBytes(teacherQuery.size(3), query.size(3), false), call);
        if (overColumns)
            kernels.Launch(
                "columns",
                device,
                maps * keyTiles,
                Threads,
                SharedBytes(teacherQuery.size(3), query.size(3), true),
                call
            );
        return new Result(
            rows.MoveToOuterDisposeScope(),
            queryGradient.narrow(3, 0, width).MoveToOuterDisposeScope(),
            keyGradient.narrow(3, 0, width).MoveToOuterDisposeScope()
        );
    }

    /// <summary>Shared memory of a block: a tile that stays and two that come and go; in the pass over columns also the rows' sums and weights.</summary>
    internal static int SharedBytes(long teacherWidth, long width, bool overColumns) =>
        (3 * PanelBytes * (Panels(teacherWidth) + Panels(width))) + (overColumns ? 2 * RowBytes : 0);

    /// <summary>Steps of 16 features that a width takes.</summary>
    internal static long Steps(long width) => (width + 15) / 16;

    private static int Panels(long width) => (int)((Steps(width) + 3) / 4);

    private static long Tiles(long positions) => (positions + Tile - 1) / Tile;

    private static RelationProgram.Model Model(Tensor query, Tensor key, double scale) =>
        new()
        {
            Query = CudaArgument.AddressOf(query),
            Key = CudaArgument.AddressOf(key),
            QueryStrides = new(query),
            KeyStrides = new(key),
            Width = (int)query.size(3),
            Scale = (float)(scale * Math.Log2(Math.E)),
        };

    // The tensor itself where its rows lie as the kernels read them, as those of [B, L, H, D] projections do; else a copy.
    private static Tensor Operand(Tensor tensor)
    {
        long width = tensor.size(3),
            missing = (Alignment - (width % Alignment)) % Alignment;
        var detached = tensor.detach();
        if (missing > 0)
            return nn.functional.pad(detached, [0, missing]);
        bool fits =
            (detached.stride(3) == 1 || width == 1)
            && Enumerable.Range(0, 3).All(axis => detached.size(axis) == 1 || detached.stride(axis) % Alignment == 0)
            && CudaArgument.AddressOf(detached) % (Alignment * 2) == 0;
        return fits ? detached : detached.contiguous();
    }

    // Uninitialised, in the memory order of the tensor where features come last there too.
    private static Tensor Like(Tensor tensor)
    {
        var like = empty_like(tensor);
        return like.stride(3) == 1 ? like : empty(tensor.shape, tensor.dtype, tensor.device);
    }
}

/// <summary>Strides of batch, head and position, in elements, as the kernels read them.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct RowStrides(Tensor tensor)
{
    private readonly long batch = tensor.stride(0);
    private readonly long head = tensor.stride(1);
    private readonly long position = tensor.stride(2);
}
