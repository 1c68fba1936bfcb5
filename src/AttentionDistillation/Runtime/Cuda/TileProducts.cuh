// The instructions that tiled attention kernels are made of, for compute capability 8.0 and newer; no header of the CUDA toolkit is needed.
// Tiles in shared memory: rows of 64 half-precision elements (128 bytes), their eight 16-byte chunks exchanged by row (chunk ^ row % 8), so that
// matrix loads meet no bank conflict; it is the layout that wgmma calls the 128-byte swizzle. Wider tiles are several such panels in a row.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define DEVICE static __device__ __forceinline__

constexpr int TILE = 64;                    // rows of every tile
constexpr int THREADS = 128;                // four warps, 16 rows each
constexpr int PANEL_BYTES = TILE * 128;     // 64 x 64 elements

DEVICE u32 chunk_address(u32 tile, int row, int chunk)
{
    return tile + (chunk >> 3) * PANEL_BYTES + row * 128 + (((chunk & 7) ^ (row & 7)) << 4);
}

#ifndef EMULATED

DEVICE u32 shared_address(const void* pointer) { return static_cast<u32>(__cvta_generic_to_shared(pointer)); }

// Copies 16 bytes, or writes zeros where nothing is to be read.
DEVICE void copy_chunk(u32 to, const void* from, bool inside)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}

DEVICE void copy_word(u32 to, const void* from, bool inside)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(inside ? 4 : 0) : "memory");
}

DEVICE void copies_issued() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Every thread's copies have arrived, and wgmma sees them.
DEVICE void copies_arrived()
{
    asm volatile("cp.async.wait_group 0;" ::: "memory");
#if WGMMA
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
    __syncthreads();
}

DEVICE float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE u32 packed(float low, float high)
{
    u32 both;
#if FLOAT16
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#endif
    return both;
}

DEVICE void load_matrices(u32 (&m)[4], u32 address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(address) : "memory");
}

DEVICE void load_matrices_transposed(u32 (&m)[4], u32 address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(address) : "memory");
}

#if FLOAT16
#define HALF_TYPE "f16"
#else
#define HALF_TYPE "bf16"
#endif

// c [16, 8] += a [16, 16] b [16, 8]
DEVICE void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." HALF_TYPE "." HALF_TYPE ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#if WGMMA
DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

DEVICE void products_end()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

// Keeps the compiler from reading or writing accumulators across the asynchronous products.
template <int N>
DEVICE void pin(float (&c)[N][4])
{
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            asm volatile("" : "+f"(c[n][e])::"memory");
}

// A tile of the 128-byte swizzle: groups of 8 rows follow each other after 1024 bytes.
DEVICE u64 descriptor(u32 address)
{
    return static_cast<u64>((address & 0x3FFFF) >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}

#define ACCUMULATOR(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])

// c [64, 64] = a [64, 16] b [16, 64] (+ c): b's 16 rows of k lie along its tile's rows where TRANSPOSED, else along its columns.
template <int TRANSPOSED>
DEVICE void multiply_64(float (*c)[4], const u32 (&a)[4], u64 b, bool accumulate)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32." HALF_TYPE "." HALF_TYPE " "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
                 "{%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}\n"
                 : ACCUMULATOR(0), ACCUMULATOR(1), ACCUMULATOR(2), ACCUMULATOR(3), ACCUMULATOR(4), ACCUMULATOR(5), ACCUMULATOR(6), ACCUMULATOR(7)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), "n"(TRANSPOSED) : "memory");
}

// c [64, 32] = a [64, 16] b [16, 32] (+ c)
template <int TRANSPOSED>
DEVICE void multiply_32(float (*c)[4], const u32 (&a)[4], u64 b, bool accumulate)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32." HALF_TYPE "." HALF_TYPE " "
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
                 "{%16, %17, %18, %19}, %20, p, 1, 1, %22;\n}\n"
                 : ACCUMULATOR(0), ACCUMULATOR(1), ACCUMULATOR(2), ACCUMULATOR(3)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), "n"(TRANSPOSED) : "memory");
}

// c [64, 16] = a [64, 16] b [16, 16] (+ c)
template <int TRANSPOSED>
DEVICE void multiply_16(float (*c)[4], const u32 (&a)[4], u64 b, bool accumulate)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %13, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n16k16.f32." HALF_TYPE "." HALF_TYPE " "
                 "{%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11}, %12, p, 1, 1, %14;\n}\n"
                 : ACCUMULATOR(0), ACCUMULATOR(1)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), "n"(TRANSPOSED) : "memory");
}
#endif
#endif

// The 16 x 16 block of a tile that this warp multiplies from the left: its own 16 rows, columns 16 step ...
DEVICE void load_left(u32 (&a)[4], u32 tile, int step)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    load_matrices(a, chunk_address(tile, warp * 16 + (lane & 15), step * 2 + (lane >> 4)));
}

// c [16 rows of this warp, 64] = left rightᵀ over STEPS x 16 columns of both tiles.
template <int STEPS>
DEVICE void product_of_rows(float (&c)[8][4], u32 left, u32 right)
{
#if WGMMA
    u32 a[STEPS][4];
#pragma unroll
    for (int step = 0; step < STEPS; step++)
        load_left(a[step], left, step);
    products_begin();
#pragma unroll
    for (int step = 0; step < STEPS; step++)
        multiply_64<0>(c, a[step], descriptor(right + (step >> 2) * PANEL_BYTES + (step & 3) * 32), step > 0);
    products_end();
    pin(c);
#else
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            c[n][e] = 0.0f;
#pragma unroll
    for (int step = 0; step < STEPS; step++)
    {
        u32 a[4];
        load_left(a, left, step);
#pragma unroll
        for (int n = 0; n < 4; n++)
        {
            u32 b[4];
            load_matrices(b, chunk_address(right, n * 16 + (lane >> 4) * 8 + (lane & 7), step * 2 + ((lane >> 3) & 1)));
            multiply(c[2 * n], a, b[0], b[1]);
            multiply(c[2 * n + 1], a, b[2], b[3]);
        }
    }
#endif
}

// The left operand's 16 columns 16 step ... of a product, from accumulators of an earlier one.
DEVICE void left_of(u32 (&a)[4], const float (&c)[8][4], int step)
{
    a[0] = packed(c[2 * step][0], c[2 * step][1]);
    a[1] = packed(c[2 * step][2], c[2 * step][3]);
    a[2] = packed(c[2 * step + 1][0], c[2 * step + 1][1]);
    a[3] = packed(c[2 * step + 1][2], c[2 * step + 1][3]);
}

// c[m] [16 rows of this warp, 16 STEPS columns] += left[m] [.., 64] tile, for COUNT left operands at once.
template <int COUNT, int STEPS>
DEVICE void accumulate_products(float (&c)[COUNT][2 * STEPS][4], const u32 (&left)[COUNT][4][4], u32 tile)
{
#if WGMMA
#pragma unroll
    for (int m = 0; m < COUNT; m++)
        pin(c[m]);
    products_begin();
#pragma unroll
    for (int step = 0; step < 4; step++)
#pragma unroll
        for (int m = 0; m < COUNT; m++)
        {
#pragma unroll
            for (int first = 0; first < STEPS; first += 4)
            {
                u64 right = descriptor(tile + (first >> 2) * PANEL_BYTES + step * 16 * 128);
                if (STEPS - first >= 4)
                    multiply_64<1>(c[m] + 2 * first, left[m][step], right, true);
                else
                {
                    if ((STEPS - first) & 2)
                        multiply_32<1>(c[m] + 2 * first, left[m][step], right, true);
                    // The columns behind those 32 begin 64 bytes into the panel.
                    if ((STEPS - first) & 1)
                        multiply_16<1>(c[m] + 2 * (first + ((STEPS - first) & 2)), left[m][step],
                                       right + (((STEPS - first) & 2) ? 4 : 0), true);
                }
            }
        }
    products_end();
#pragma unroll
    for (int m = 0; m < COUNT; m++)
        pin(c[m]);
#else
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int step = 0; step < 4; step++)
#pragma unroll
        for (int n = 0; n < STEPS; n++)
        {
            u32 b[4];
            load_matrices_transposed(b, chunk_address(tile, step * 16 + (lane & 15), n * 2 + (lane >> 4)));
#pragma unroll
            for (int m = 0; m < COUNT; m++)
            {
                multiply(c[m][2 * n], left[m][step], b[0], b[1]);
                multiply(c[m][2 * n + 1], left[m][step], b[2], b[3]);
            }
        }
#endif
}

// Starts to copy rows first ... first + 63 of a [positions, width] matrix into a tile of STEPS x 16 columns; zeros where there are none.
template <int STEPS>
DEVICE void copy_tile(u32 tile, const u16* matrix, i64 stride, int first, int positions, int width)
{
#pragma unroll
    for (int round = 0; round < TILE * 2 * STEPS / THREADS; round++)
    {
        int n = round * THREADS + threadIdx.x, row = n / (2 * STEPS), chunk = n % (2 * STEPS);
        bool inside = first + row < positions && chunk * 8 < width;
        copy_chunk(chunk_address(tile, row, chunk), inside ? matrix + (first + row) * stride + chunk * 8 : matrix, inside);
    }
}

// Sum and maximum over the four threads that share a row of an accumulator.
DEVICE float row_sum(float x)
{
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

DEVICE float row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
