using TorchSharp;
using static TorchSharp.torch;

namespace AttentionDistillation.Runtime.Cuda;

/// <summary>
/// Layer normalisation of a sum in one pass: reads both summands, writes the result and, for training, the sum and each row's statistics. Rows
/// are held in registers, so every element travels once.
/// </summary>
internal static class ResidualNormKernels
{
    /// <summary>Rows up to this width belong to one warp, wider ones to a block.</summary>
    private const long WarpWidth = 1024;

    /// <summary>The widest row: the backward pass keeps two float32 sums of a row in the 48 KiB that a block shares.</summary>
    private const long LargestWidth = 4096;

    private const int WarpThreads = 32;
    private const int BlockThreads = 256;

    /// <summary>Bytes a thread reads at a time.</summary>
    private const int VectorBytes = 16;

    /// <summary>Blocks of the backward pass: enough for every multiprocessor of an H100 (132) twice; each adds its rows up for the weights' gradient.</summary>
    private const long BackwardBlocks = 264;

    private static readonly CudaProgram Program = new(
        "residual_norm",
        """
        // C: width of a row. W: threads of a row. N: elements a thread reads at a time. ROWS: rows of a block. P: packs of a thread.
        #define P ((C + W * N - 1) / (W * N))
        #define HAS(i) ((i) * W * N + lane * N < C)

        __device__ __forceinline__ float row_sum(float x, float* shared) {
            x = warp_sum(x);
            if (W > 32) {
                __syncthreads();
                if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = x;
                __syncthreads();
                x = 0;
                #pragma unroll
                for (int i = 0; i < W / 32; i++) x += shared[i];
            }
            return x;
        }

        extern "C" __global__ void forward(const T* a, const T* b, const T* weight, const T* bias, T* out, T* sum, float* mean, float* rstd,
                                           long long rows, float epsilon) {
            __shared__ float shared[32];
            int lane = threadIdx.x % W;
            long long row = (long long)blockIdx.x * ROWS + threadIdx.x / W;
            if (row >= rows) return;
            float x[P][N];
            float total = 0;
            #pragma unroll
            for (int i = 0; i < P; i++) if (HAS(i)) {
                long long at = row * C + i * W * N + lane * N;
                pack<T, N> left = *(const pack<T, N>*)(a + at), right = *(const pack<T, N>*)(b + at), both;
                #pragma unroll
                for (int j = 0; j < N; j++) {
                    store(both.item[j], load(left.item[j]) + load(right.item[j]));
                    x[i][j] = load(both.item[j]);
                    total += x[i][j];
                }
                if (sum) *(pack<T, N>*)(sum + at) = both;
            }
            float centre = row_sum(total, shared) / C, squares = 0;
            #pragma unroll
            for (int i = 0; i < P; i++) if (HAS(i))
                #pragma unroll
                for (int j = 0; j < N; j++) squares += (x[i][j] - centre) * (x[i][j] - centre);
            float scale = rsqrtf(row_sum(squares, shared) / C + epsilon);
            if (mean && lane == 0) { mean[row] = centre; rstd[row] = scale; }
            #pragma unroll
            for (int i = 0; i < P; i++) if (HAS(i)) {
                int column = i * W * N + lane * N;
                pack<T, N> factor = *(const pack<T, N>*)(weight + column), shift = *(const pack<T, N>*)(bias + column), result;
                #pragma unroll
                for (int j = 0; j < N; j++)
                    store(result.item[j], (x[i][j] - centre) * scale * load(factor.item[j]) + load(shift.item[j]));
                *(pack<T, N>*)(out + row * C + column) = result;
            }
        }

        // partial: [blocks, 2, C], each block's sums for the gradients of weight and bias.
        extern "C" __global__ void backward(const T* gradient, const T* sum, const float* mean, const float* rstd, const T* weight, T* out,
                                            float* partial, long long rows) {
            __shared__ float shared[32];
            __shared__ float columns[2 * C];
            int lane = threadIdx.x % W;
            float ofWeight[P][N], ofBias[P][N];
            #pragma unroll
            for (int i = 0; i < P; i++)
                #pragma unroll
                for (int j = 0; j < N; j++) ofWeight[i][j] = ofBias[i][j] = 0;
            for (int i = threadIdx.x; i < 2 * C; i += blockDim.x) columns[i] = 0;
            __syncthreads();
            for (long long row = (long long)blockIdx.x * ROWS + threadIdx.x / W; row < rows; row += (long long)gridDim.x * ROWS) {
                float centre = mean[row], scale = rstd[row], first = 0, second = 0;
                float g[P][N], x[P][N];
                #pragma unroll
                for (int i = 0; i < P; i++) if (HAS(i)) {
                    int column = i * W * N + lane * N;
                    pack<T, N> given = *(const pack<T, N>*)(gradient + row * C + column), value = *(const pack<T, N>*)(sum + row * C + column),
                               factor = *(const pack<T, N>*)(weight + column);
                    #pragma unroll
                    for (int j = 0; j < N; j++) {
                        float dy = load(given.item[j]);
                        x[i][j] = (load(value.item[j]) - centre) * scale;
                        g[i][j] = dy * load(factor.item[j]);
                        ofWeight[i][j] += dy * x[i][j];
                        ofBias[i][j] += dy;
                        first += g[i][j];
                        second += g[i][j] * x[i][j];
                    }
                }
                first = row_sum(first, shared) / C;
                second = row_sum(second, shared) / C;
                #pragma unroll
                for (int i = 0; i < P; i++) if (HAS(i)) {
                    pack<T, N> result;
                    #pragma unroll
                    for (int j = 0; j < N; j++) store(result.item[j], (g[i][j] - first - x[i][j] * second) * scale);
                    *(pack<T, N>*)(out + row * C + i * W * N + lane * N) = result;
                }
            }
            // The rows of a block add up one after the other, so that the same inputs give the same bits.
            for (int turn = 0; turn < ROWS; turn++) {
                if (threadIdx.x / W == turn) {
                    #pragma unroll
                    for (int i = 0; i < P; i++) if (HAS(i))
                        #pragma unroll
                        for (int j = 0; j < N; j++) {
                            columns[i * W * N + lane * N + j] += ofWeight[i][j];
                            columns[C + i * W * N + lane * N + j] += ofBias[i][j];
                        }
                }
                __syncthreads();
            }
            for (int i = threadIdx.x; i < 2 * C; i += blockDim.x) partial[(long long)blockIdx.x * 2 * C + i] = columns[i];
        }

        """
    );

    /// <summary>True when the kernels can compute this call.</summary>
    internal static bool Serve(Tensor a, Tensor b, Tensor weight, Tensor bias)
    {
        long width = a.shape[^1];
        return CudaProgram.TypeName(a.dtype) is not null
            && CudaProgram.Serves(a.device)
            && b.dtype == a.dtype
            && weight.dtype == a.dtype
            && bias.dtype == a.dtype
            && width <= LargestWidth
            && a.is_contiguous()
            && b.is_contiguous()
            && weight.is_contiguous()
            && bias.is_contiguous();
    }

    /// <summary>The normalised sum; for training also the sum [..., C] and each row's mean and reciprocal standard deviation, float32 [rows].</summary>
    internal static (Tensor Output, Tensor? Sum, Tensor? Mean, Tensor? Scale) Forward(
        Tensor a,
        Tensor b,
        Tensor weight,
        Tensor bias,
        double epsilon,
        bool forTraining
    )
    {
        var layout = new Layout(a);
        var output = empty_like(a);
        var sum = forTraining ? empty_like(a) : null;
        var mean = forTraining ? empty(layout.Rows, dtype: ScalarType.Float32, device: a.device) : null;
        var scale = forTraining ? empty(layout.Rows, dtype: ScalarType.Float32, device: a.device) : null;
        Program.Launch(
            "forward",
            layout.Definitions,
            a.device,
            layout.Blocks,
            layout.Threads,
            a,
            b,
            weight,
            bias,
            output,
            sum,
            mean,
            scale,
            layout.Rows,
            (float)epsilon
        );
        return (output, sum, mean, scale);
    }

    /// <summary>Gradients of the sum (and so of both summands), of the weight and of the bias.</summary>
    internal static (Tensor OfSum, Tensor OfWeight, Tensor OfBias) Backward(
        Tensor gradient,
        Tensor sum,
        Tensor mean,
        Tensor scale,
        Tensor weight
    )
    {
        using var scope = NewDisposeScope();
        var layout = new Layout(sum);
        long blocks = Math.Min(BackwardBlocks, layout.Blocks);
        var ofSum = empty_like(sum);
        var partial = empty([blocks, 2, sum.shape[^1]], dtype: ScalarType.Float32, device: sum.device);
        Program.Launch(
            "backward",
            layout.Definitions,
            sum.device,
            blocks,
            layout.Threads,
            gradient.contiguous(),
            sum,
            mean,
            scale,
            weight,
            ofSum,
            partial,
            layout.Rows
        );
        var columns = partial.sum(0L).to(weight.dtype);
        return (ofSum.MoveToOuterDisposeScope(), columns[0].MoveToOuterDisposeScope(), columns[1].MoveToOuterDisposeScope());
    }

    /// <summary>How rows are dealt out to threads.</summary>
    private readonly struct Layout
    {
        internal Layout(Tensor tensor)
        {
            long width = tensor.shape[^1];
            Rows = tensor.numel() / width;
            int vector = VectorBytes / (int)tensor.ElementSize;
            while (width % vector != 0)
                vector /= 2;
            int row = width <= WarpWidth ? WarpThreads : BlockThreads;
            int rows = width <= WarpWidth ? BlockThreads / 2 / WarpThreads : 1;
            Threads = row * rows;
            Blocks = (Rows + rows - 1) / rows;
            Definitions = $"T={CudaProgram.TypeName(tensor.dtype)};C={width};W={row};N={vector};ROWS={rows}";
        }

        internal long Rows { get; }

        internal long Blocks { get; }

        internal int Threads { get; }

        internal string Definitions { get; }
    }
}
