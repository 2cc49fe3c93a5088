// Scores of candidates that queries share: a row is read once for a tile of up to TILE queries, whose
// vectors lie in shared memory, and scored for each of them that wants it. Tiles take their rows in
// ascending order, so that what several tiles want is met in the cache where they run side by side.
//
// A group is a row with the pairs of one tile that want it. Each score is the same sum in the same
// order as in gather_dot.cu, so the two give the same bits.
#include "rows.cuh"

#define THREADS 256
#define TILE 8
#define LANES 32

template <class Row, int METRIC>
__device__ __forceinline__ void grouped_dot(const float* queries, const float* query_norms,
                                            const Store& store, int count, int tile,
                                            const int* block_query, const int* block_first,
                                            const int* block_last, const int* group_row,
                                            const int* group_begin, const int* pair_query,
                                            const int* pair_place, float* scores) {
    DYNAMIC_SHARED(float, staged);
    const int query = block_query[blockIdx.x];
    const int length = staged_length<Row, LANES>(store.dimension);
    const int here = min(tile, count - query);
    for (int i = 0; i < here; ++i) {
        stage<Row, LANES>(queries + (long long)(query + i) * store.dimension, store.dimension,
                          staged + i * length);
    }
    __syncthreads();

    constexpr int PARTS = Row::WIDTH / 4;
    const int lane = threadIdx.x % LANES;
    const int pieces = (store.dimension + Row::WIDTH - 1) / Row::WIDTH;
    const int last = block_last[blockIdx.x];
    for (int group = block_first[blockIdx.x] + threadIdx.x / LANES; group < last;
         group += THREADS / LANES) {
        const int index = group_row[group], begin = group_begin[group], end = group_begin[group + 1];
        const float scale = Row::SCALED ? __ldg(store.scales + index) : 1.0f;
        unsigned wanted = 0;
#pragma unroll 1
        for (int pair = begin; pair < end; ++pair) wanted |= 1u << (pair_query[pair] - query);

        const uint4* row = store.row(index);
        float sum[TILE] = {}, squares = 0.0f;
        uint4 next = __ldg(row + min(lane, pieces - 1));
#pragma unroll 1
        for (int piece = lane; piece < pieces; piece += LANES) {
            const uint4 raw = next;
            next = __ldg(row + min(piece + LANES, pieces - 1));
            const float* at = staged + ((piece - lane) * PARTS + lane) * 4;
            float4 x[PARTS];
#pragma unroll
            for (int part = 0; part < PARTS; ++part) {
                x[part] = Row::four(raw, part);
                if (METRIC == COSINE) add_four<IP>(squares, x[part], x[part]);
            }
#pragma unroll
            for (int i = 0; i < TILE; ++i) {
                if (!(wanted >> i & 1)) continue;
                const float* q = at + i * length;
#pragma unroll
                for (int part = 0; part < PARTS; ++part, q += LANES * 4) {
                    add_four<METRIC, Row::SCALED>(sum[i], *reinterpret_cast<const float4*>(q),
                                                  x[part], scale);
                }
            }
        }
        const float square = METRIC == COSINE ? sum_over<LANES>(squares) : 0.0f;
#pragma unroll
        for (int i = 0; i < TILE; ++i) {
            const float total = sum_over<LANES>(sum[i]);
#pragma unroll 1
            for (int pair = begin + lane; pair < end; pair += LANES) {
                if (pair_query[pair] - query == i) {
                    const float norm = METRIC == COSINE ? query_norms[query + i] : 0.0f;
                    scores[pair_place[pair]] = finished<METRIC>(total, square, norm, scale);
                }
            }
        }
    }
}

#define KERNEL(name, Row, METRIC)                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, 3) name(                             \
        const float* queries, const float* query_norms, const unsigned char* data,            \
        long long stride, const float* scales, int dimension, int count, int tile,            \
        const int* block_query, const int* block_first, const int* block_last,                \
        const int* group_row, const int* group_begin, const int* pair_query,                  \
        const int* pair_place, float* scores) {                                                \
        grouped_dot<Row, METRIC>(queries, query_norms, Store{data, stride, scales, dimension}, \
                                 count, tile, block_query, block_first, block_last, group_row, \
                                 group_begin, pair_query, pair_place, scores);                 \
    }

#define KERNELS(format, Row)                                                                   \
    KERNEL(grouped_##format##_ip, Row, IP)                                                     \
    KERNEL(grouped_##format##_cosine, Row, COSINE)                                             \
    KERNEL(grouped_##format##_l2, Row, L2)

KERNELS(float32, Float32)
KERNELS(float16, Float16)
KERNELS(int8, Int8)
