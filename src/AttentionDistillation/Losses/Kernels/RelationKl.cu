// KL(teacher || student) of two attention maps and its gradient without either map, for half precision and head widths up to 128.
//
// `rows` takes 64 queries through all keys once, with running maxima as in FlashAttention (arXiv 2205.14135): log-sum-exps, each row's KL
// as the running sum of p_t (s_t - s_s), and dq_s = g scale_s (A_s(k_s) - A_t(k_s)). `columns` takes 64 keys through all queries:
// dk_s = scale_s Eᵀ q_s with E = g (P_s - P_t). Seven products of L x S x D, as many as an attention's forward and backward, no atomics.
//
// Where student and teacher agree, A_s(k_s) - A_t(k_s) is a small difference of large sums. So one sum runs over the rounded difference
// p_s - c p_t, with c the ratio of the two normalisers so far, and another over p_t; when c moves, the first is corrected by the second.
// The rounding error is then that of the difference, as in the definition.

struct Model
{
    const u16* query;
    const u16* key;
    i64 queryStrides[3]; // of batch, head, position
    i64 keyStrides[3];
    int width;
    float scale; // times log2(e)
};

struct Call
{
    Model teacher, student;
    const float* weights; // each row's share in the mean, none negative
    i64 weightStrides[3];
    const u8* mask;       // [B, S] or null
    u64* keyBits;         // [B, tiles]: the real keys of each tile, where there is a mask
    int* keyTiles;        // [B, 1 + tiles]: how many tiles hold a real key, and which
    int* queryTiles;      // [B, weightHeads, 1 + tiles]: the same of rows with a weight; null when all have one
    float* rows;          // [B, H, L]
    float* teacherSums;   // [B, H, L], base-2 logarithms
    float* studentSums;
    u16* queryGradient;
    u16* keyGradient;
    i64 queryGradientStrides[3];
    i64 keyGradientStrides[3];
    int batch, heads, weightHeads, queries, keys, causal;
    float gradientScale;
};

constexpr float HIDDEN = -1e30f;            // score of a pair that is not seen; finite, so that no inf - inf appears
constexpr float NO_WEIGHT = 1e30f;          // log-sum-exp of a row that does not count: its probabilities are zero
constexpr float LARGEST_RATIO = 4096.0f;    // of the normalisers; beyond it nothing cancels, and float16 would overflow
constexpr float LN2 = 0.693147180559945f;
constexpr int NO_TILE = 0x7FFFFFFF;
constexpr int TEACHER_BYTES = (TEACHER_STEPS + 3) / 4 * PANEL_BYTES;
constexpr int STUDENT_BYTES = (STUDENT_STEPS + 3) / 4 * PANEL_BYTES;
constexpr int STAGE_BYTES = TEACHER_BYTES + STUDENT_BYTES;
constexpr int QUERY_STAGE_BYTES = STAGE_BYTES + 1024; // and the rows' log-sum-exps and weights

DEVICE const u16* head_of(const u16* tensor, const i64 (&strides)[3], int sequence, int head)
{
    return tensor + sequence * strides[0] + head * strides[1];
}

DEVICE int tile_count(int positions) { return (positions + TILE - 1) / TILE; }

// Number n of a list of tiles, or of all tiles where there is no list.
DEVICE int tile_at(const int* list, int n, int tiles)
{
    if (list == nullptr)
        return n < tiles ? n : NO_TILE;
    return n < list[0] ? list[1 + n] : NO_TILE;
}

// Lists the tiles of each sequence that hold something: real keys (and which), or rows with a weight. One block a list.
extern "C" __global__ void __launch_bounds__(1024) live_tiles(const __grid_constant__ Call call, const int ofQueries)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    int positions = ofQueries ? call.queries : call.keys, tiles = tile_count(positions);
    int sequence = ofQueries ? blockIdx.x / call.weightHeads : blockIdx.x;
    const float* weights = ofQueries ? call.weights + sequence * call.weightStrides[0] + blockIdx.x % call.weightHeads * call.weightStrides[1] : nullptr;
    const u8* mask = call.mask + (i64)sequence * call.keys;
    int* list = (ofQueries ? call.queryTiles : call.keyTiles) + (i64)blockIdx.x * (1 + tiles);
    u64* bits = ofQueries ? nullptr : call.keyBits + (i64)sequence * tiles;
    for (int tile = warp; tile < tiles; tile += warps)
    {
        u32 halves[2];
        for (int half = 0; half < 2; half++)
        {
            int position = tile * TILE + half * 32 + lane;
            bool live = position < positions && (ofQueries ? weights[position * call.weightStrides[2]] > 0.0f : mask[position] != 0);
            halves[half] = __ballot_sync(~0u, live);
        }
        if (lane == 0)
        {
            list[1 + tile] = (halves[0] | halves[1]) != 0;
            if (bits != nullptr)
                bits[tile] = halves[0] | (u64)halves[1] << 32;
        }
    }
    __syncthreads();
    if (warp > 0)
        return;
    int count = 0;
    for (int first = 0; first < tiles; first += 32)
    {
        bool live = first + lane < tiles && list[1 + first + lane] != 0;
        u32 all = __ballot_sync(~0u, live);
        // Numbers are written behind what is still to be read, or in its place.
        if (live)
            list[1 + count + __popc(all & ((1u << lane) - 1))] = first + lane;
        __syncwarp();
        count += __popc(all);
    }
    if (lane == 0)
        list[0] = count;
}

template <bool GRADIENT>
DEVICE void row_tile(const Call& call)
{
    extern __shared__ __align__(1024) u8 memory[];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = lane >> 2, pair = (lane & 3) * 2;
    int blocks = tile_count(call.queries), map = blockIdx.x / blocks;
    // Causal calls begin with the rows that see most.
    int block = call.causal ? blocks - 1 - blockIdx.x % blocks : blockIdx.x % blocks;
    int sequence = map / call.heads, head = map % call.heads, first = block * TILE, past = call.keys - call.queries;
    i64 rowOffset = (i64)map * call.queries;

    float weight[2] = {0.0f, 0.0f};
    if (GRADIENT)
    {
        const float* weights = call.weights + sequence * call.weightStrides[0] + (call.weightHeads > 1 ? head : 0) * call.weightStrides[1];
        for (int r = 0; r < 2; r++)
        {
            int row = first + warp * 16 + group + r * 8;
            if (row < call.queries)
                weight[r] = weights[row * call.weightStrides[2]];
        }
    }
    const u16* teacherKey = head_of(call.teacher.key, call.teacher.keyStrides, sequence, head);
    const u16* studentKey = head_of(call.student.key, call.student.keyStrides, sequence, head);
    u32 teacherQuery = shared_address(memory), studentQuery = teacherQuery + TEACHER_BYTES, stage = teacherQuery + STAGE_BYTES, other = stage + STAGE_BYTES;

    int tiles = tile_count(call.keys);
    const int* list = call.mask == nullptr ? nullptr : call.keyTiles + (i64)sequence * (1 + tiles);
    int reach = call.causal ? min(first + TILE, call.queries) - 1 + past : call.keys - 1; // the last key that a row sees
    int last = reach < 0 ? -1 : reach / TILE;
    // Tiles of rows that do not count are left out; their outputs are zeros.
    bool counted = !GRADIENT || __syncthreads_or(weight[0] > 0.0f || weight[1] > 0.0f);
    int number = 0, tile = counted ? tile_at(list, 0, tiles) : NO_TILE;

    if (tile <= last)
    {
        copy_tile<TEACHER_STEPS>(teacherQuery, head_of(call.teacher.query, call.teacher.queryStrides, sequence, head), call.teacher.queryStrides[2], first, call.queries, call.teacher.width);
        copy_tile<STUDENT_STEPS>(studentQuery, head_of(call.student.query, call.student.queryStrides, sequence, head), call.student.queryStrides[2], first, call.queries, call.student.width);
        copy_tile<TEACHER_STEPS>(stage, teacherKey, call.teacher.keyStrides[2], tile * TILE, call.keys, call.teacher.width);
        copy_tile<STUDENT_STEPS>(stage + TEACHER_BYTES, studentKey, call.student.keyStrides[2], tile * TILE, call.keys, call.student.width);
        copies_issued();
    }

    float teacherMax[2] = {HIDDEN, HIDDEN}, studentMax[2] = {HIDDEN, HIDDEN};
    float teacherSum[2] = {0.0f, 0.0f}, studentSum[2] = {0.0f, 0.0f}, value[2] = {0.0f, 0.0f}, ratio[2] = {1.0f, 1.0f};
    constexpr int WIDTH = GRADIENT ? STUDENT_STEPS : 1;
    float output[2][2 * WIDTH][4]; // over p_t, and over p_s - ratio p_t
#pragma unroll
    for (int n = 0; n < 2 * WIDTH; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            output[0][n][e] = output[1][n][e] = 0.0f;

    while (tile <= last)
    {
        int next = tile_at(list, ++number, tiles);
        copies_arrived();
        if (next <= last)
        {
            copy_tile<TEACHER_STEPS>(other, teacherKey, call.teacher.keyStrides[2], next * TILE, call.keys, call.teacher.width);
            copy_tile<STUDENT_STEPS>(other + TEACHER_BYTES, studentKey, call.student.keyStrides[2], next * TILE, call.keys, call.student.width);
            copies_issued();
        }
        float teacher[8][4], student[8][4];
        product_of_rows<TEACHER_STEPS>(teacher, teacherQuery, stage);
        product_of_rows<STUDENT_STEPS>(student, studentQuery, stage + TEACHER_BYTES);

        float largest[2][2] = {{HIDDEN, HIDDEN}, {HIDDEN, HIDDEN}};
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
            {
                teacher[n][e] *= call.teacher.scale;
                student[n][e] *= call.student.scale;
            }
        int start = tile * TILE;
        u64 real = list != nullptr ? call.keyBits[(i64)sequence * tiles + tile] : call.keys - start >= TILE ? ~0ull : (1ull << (call.keys - start)) - 1;
        if (real != ~0ull || (call.causal && start + TILE - 1 > first + past))
        {
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                {
                    int column = n * 8 + pair + (e & 1), row = first + warp * 16 + group + (e >> 1) * 8;
                    if (!(real >> column & 1) || (call.causal && start + column > row + past))
                        teacher[n][e] = student[n][e] = HIDDEN;
                }
        }
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
            {
                largest[0][e >> 1] = fmaxf(largest[0][e >> 1], teacher[n][e]);
                largest[1][e >> 1] = fmaxf(largest[1][e >> 1], student[n][e]);
            }
        float teacherDecay[2], studentDecay[2];
#pragma unroll
        for (int r = 0; r < 2; r++)
        {
            float grown = fmaxf(teacherMax[r], row_max(largest[0][r]));
            teacherDecay[r] = exp2_fast(teacherMax[r] - grown);
            teacherMax[r] = grown;
            grown = fmaxf(studentMax[r], row_max(largest[1][r]));
            studentDecay[r] = exp2_fast(studentMax[r] - grown);
            studentMax[r] = grown;
            value[r] *= teacherDecay[r];
        }
        float sums[2][2] = {{0.0f, 0.0f}, {0.0f, 0.0f}};
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
            {
                float difference = teacher[n][e] - student[n][e];
                teacher[n][e] = exp2_fast(teacher[n][e] - teacherMax[e >> 1]);
                student[n][e] = exp2_fast(student[n][e] - studentMax[e >> 1]);
                value[e >> 1] = fmaf(teacher[n][e], difference, value[e >> 1]);
                sums[0][e >> 1] += teacher[n][e];
                sums[1][e >> 1] += student[n][e];
            }
        float correction[2];
#pragma unroll
        for (int r = 0; r < 2; r++)
        {
            teacherSum[r] = fmaf(teacherSum[r], teacherDecay[r], row_sum(sums[0][r]));
            studentSum[r] = fmaf(studentSum[r], studentDecay[r], row_sum(sums[1][r]));
            float moved = fminf(__fdividef(studentSum[r], teacherSum[r]), LARGEST_RATIO);
            correction[r] = studentDecay[r] * ratio[r] - moved * teacherDecay[r];
            ratio[r] = moved;
        }
        if (GRADIENT)
        {
#pragma unroll
            for (int n = 0; n < 2 * WIDTH; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                {
                    output[1][n][e] = fmaf(correction[e >> 1], output[0][n][e], studentDecay[e >> 1] * output[1][n][e]);
                    output[0][n][e] *= teacherDecay[e >> 1];
                }
            u32 left[2][4][4];
#pragma unroll
            for (int step = 0; step < 4; step++)
                left_of(left[0][step], teacher, step);
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    student[n][e] = fmaf(-ratio[e >> 1], teacher[n][e], student[n][e]);
#pragma unroll
            for (int step = 0; step < 4; step++)
                left_of(left[1][step], student, step);
            accumulate_products<2, WIDTH>(output, left, stage + TEACHER_BYTES);
        }
        tile = next;
        u32 swapped = stage;
        stage = other;
        other = swapped;
    }

    // Every product of the loop is complete; a row that saw nothing keeps sums of one, so that nothing below divides by zero.
#pragma unroll
    for (int r = 0; r < 2; r++)
    {
        int row = first + warp * 16 + group + r * 8;
        float summed = row_sum(value[r]);
        if (teacherSum[r] == 0.0f)
            teacherSum[r] = studentSum[r] = 1.0f;
        if (row < call.queries && (lane & 3) == 0)
        {
            float teacherLog = log2f(teacherSum[r]), studentLog = log2f(studentSum[r]);
            call.rows[rowOffset + row] = LN2 * (summed / teacherSum[r] - (teacherMax[r] - studentMax[r]) - (teacherLog - studentLog));
            if (GRADIENT)
            {
                call.teacherSums[rowOffset + row] = weight[r] > 0.0f ? teacherMax[r] + teacherLog : NO_WEIGHT;
                call.studentSums[rowOffset + row] = weight[r] > 0.0f ? studentMax[r] + studentLog : NO_WEIGHT;
            }
        }
        if (GRADIENT && row < call.queries)
        {
            float factor = weight[r] > 0.0f ? weight[r] * call.gradientScale : 0.0f, ofStudent = factor / studentSum[r],
                  ofTeacher = ratio[r] * ofStudent - factor / teacherSum[r];
            u16* to = call.queryGradient + sequence * call.queryGradientStrides[0] + head * call.queryGradientStrides[1] + row * call.queryGradientStrides[2];
#pragma unroll
            for (int n = 0; n < 2 * WIDTH; n++)
                if (n * 8 + pair < call.student.width)
                    *reinterpret_cast<u32*>(to + n * 8 + pair) =
                        packed(output[1][n][2 * r] * ofStudent + output[0][n][2 * r] * ofTeacher, output[1][n][2 * r + 1] * ofStudent + output[0][n][2 * r + 1] * ofTeacher);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) rows_only(const __grid_constant__ Call call) { row_tile<false>(call); }

extern "C" __global__ void __launch_bounds__(THREADS, 2) rows(const __grid_constant__ Call call) { row_tile<true>(call); }

// Log-sum-exps and weights of 64 rows, behind the tiles of their queries.
DEVICE void copy_rows(u32 to, const Call& call, const float* weights, i64 rowOffset, int first)
{
    int n = threadIdx.x % TILE, row = first + n;
    bool inside = row < call.queries;
    if (threadIdx.x < TILE)
    {
        copy_word(to + n * 4, call.teacherSums + (inside ? rowOffset + row : 0), inside);
        copy_word(to + 256 + n * 4, call.studentSums + (inside ? rowOffset + row : 0), inside);
    }
    else
        copy_word(to + 512 + n * 4, weights + (inside ? row * call.weightStrides[2] : 0), inside);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) columns(const __grid_constant__ Call call)
{
    extern __shared__ __align__(1024) u8 memory[];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = lane >> 2, pair = (lane & 3) * 2;
    int blocks = tile_count(call.keys), map = blockIdx.x / blocks, block = blockIdx.x % blocks;
    int sequence = map / call.heads, head = map % call.heads, first = block * TILE, past = call.keys - call.queries;
    i64 rowOffset = (i64)map * call.queries;
    int weightHead = call.weightHeads > 1 ? head : 0;
    const float* weights = call.weights + sequence * call.weightStrides[0] + weightHead * call.weightStrides[1];
    const u16* teacherRows = head_of(call.teacher.query, call.teacher.queryStrides, sequence, head);
    const u16* studentRows = head_of(call.student.query, call.student.queryStrides, sequence, head);
    u32 teacherKey = shared_address(memory), studentKey = teacherKey + TEACHER_BYTES, stage = teacherKey + STAGE_BYTES, other = stage + QUERY_STAGE_BYTES;

    int tiles = tile_count(call.queries);
    const int* list = call.queryTiles == nullptr ? nullptr : call.queryTiles + ((i64)sequence * call.weightHeads + weightHead) * (1 + tiles);
    u64 real = call.mask != nullptr ? call.keyBits[(i64)sequence * blocks + block] : ~0ull;
    int number = 0, tile = real != 0 ? tile_at(list, 0, tiles) : NO_TILE;
    // Earlier rows of a causal call do not see these keys.
    int earliest = call.causal && first > past ? (first - past) / TILE : 0;
    while (tile < earliest)
        tile = tile_at(list, ++number, tiles);

    if (tile < tiles)
    {
        copy_tile<TEACHER_STEPS>(teacherKey, head_of(call.teacher.key, call.teacher.keyStrides, sequence, head), call.teacher.keyStrides[2], first, call.keys, call.teacher.width);
        copy_tile<STUDENT_STEPS>(studentKey, head_of(call.student.key, call.student.keyStrides, sequence, head), call.student.keyStrides[2], first, call.keys, call.student.width);
        copy_tile<TEACHER_STEPS>(stage, teacherRows, call.teacher.queryStrides[2], tile * TILE, call.queries, call.teacher.width);
        copy_tile<STUDENT_STEPS>(stage + TEACHER_BYTES, studentRows, call.student.queryStrides[2], tile * TILE, call.queries, call.student.width);
        copy_rows(stage + STAGE_BYTES, call, weights, rowOffset, tile * TILE);
        copies_issued();
    }
    float output[1][2 * STUDENT_STEPS][4];
#pragma unroll
    for (int n = 0; n < 2 * STUDENT_STEPS; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            output[0][n][e] = 0.0f;

    while (tile < tiles)
    {
        int next = tile_at(list, ++number, tiles);
        copies_arrived();
        if (next < tiles)
        {
            copy_tile<TEACHER_STEPS>(other, teacherRows, call.teacher.queryStrides[2], next * TILE, call.queries, call.teacher.width);
            copy_tile<STUDENT_STEPS>(other + TEACHER_BYTES, studentRows, call.student.queryStrides[2], next * TILE, call.queries, call.student.width);
            copy_rows(other + STAGE_BYTES, call, weights, rowOffset, next * TILE);
            copies_issued();
        }
        float teacher[8][4], error[8][4];
        product_of_rows<TEACHER_STEPS>(teacher, teacherKey, stage);
        product_of_rows<STUDENT_STEPS>(error, studentKey, stage + TEACHER_BYTES);
        const float* sums = reinterpret_cast<const float*>(memory + (stage - teacherKey) + STAGE_BYTES);
        bool partial = call.causal && first + TILE - 1 > tile * TILE + past;
#pragma unroll
        for (int n = 0; n < 8; n++)
        {
            int column = n * 8 + pair;
            float2 ofTeacher = *reinterpret_cast<const float2*>(sums + column), ofStudent = *reinterpret_cast<const float2*>(sums + TILE + column),
                   weight = *reinterpret_cast<const float2*>(sums + 2 * TILE + column);
#pragma unroll
            for (int e = 0; e < 4; e++)
            {
                float pTeacher = exp2_fast(fmaf(teacher[n][e], call.teacher.scale, -(e & 1 ? ofTeacher.y : ofTeacher.x)));
                float pStudent = exp2_fast(fmaf(error[n][e], call.student.scale, -(e & 1 ? ofStudent.y : ofStudent.x)));
                error[n][e] = (e & 1 ? weight.y : weight.x) * (pStudent - pTeacher);
                if (partial && first + warp * 16 + group + (e >> 1) * 8 > tile * TILE + column + (e & 1) + past)
                    error[n][e] = 0.0f;
            }
        }
        u32 left[1][4][4];
#pragma unroll
        for (int step = 0; step < 4; step++)
            left_of(left[0][step], error, step);
        accumulate_products<1, STUDENT_STEPS>(output, left, stage + TEACHER_BYTES);
        tile = next;
        u32 swapped = stage;
        stage = other;
        other = swapped;
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
    {
        int inTile = warp * 16 + group + r * 8, key = first + inTile;
        if (key >= call.keys)
            continue;
        bool seen = real >> inTile & 1;
        u16* to = call.keyGradient + sequence * call.keyGradientStrides[0] + head * call.keyGradientStrides[1] + key * call.keyGradientStrides[2];
#pragma unroll
        for (int n = 0; n < 2 * STUDENT_STEPS; n++)
            if (n * 8 + pair < call.student.width)
                *reinterpret_cast<u32*>(to + n * 8 + pair) =
                    seen ? packed(output[0][n][2 * r] * call.gradientScale, output[0][n][2 * r + 1] * call.gradientScale) : 0u;
    }
}
