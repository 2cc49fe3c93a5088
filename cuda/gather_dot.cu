// Scores of the candidates of each query: rows gathered by number, each read once per pair.
//
// The bound is the bytes of the rows over the bandwidth of memory. LANES neighbouring threads read ROWS rows
// at once, 16 bytes each a step, so that enough loads are under way to hide their latency; the query
// lies in shared memory. A block takes a tile: up to per_tile neighbouring candidates of one query.
// Tiles, and not (query, part) pairs, are the grid: ragged lists leave no block without work, and few
// long lists still fill the machine.
#include "rows.cuh"

#define THREADS 256
#define LARGEST_TILE 256

struct Tile {
    int query;
    int count;
    long long first;  // among all candidates

    __device__ __forceinline__ Tile(const int* tile_query, const long long* tile_first,
                                    const long long* offsets, int per_tile) {
        query = tile_query[blockIdx.x];
        first = tile_first[blockIdx.x];
        long long left = offsets[query + 1] - first;
        count = left < per_tile ? (int)left : per_tile;
    }
};

template <class Row, int METRIC, int LANES, int ROWS>
__device__ __forceinline__ void gather_dot(const float* queries, const float* query_norms,
                                           const Store& store, const int* rows, const Tile& tile,
                                           float* scores) {
    DYNAMIC_SHARED(float4, staged);
    SHARED(int, wanted, LARGEST_TILE);
    stage<Row, LANES>(queries + (long long)tile.query * store.dimension, store.dimension,
                      reinterpret_cast<float*>(staged));
    for (int i = threadIdx.x; i < tile.count; i += THREADS) wanted[i] = rows[tile.first + i];
    __syncthreads();

    constexpr int UNDER_WAY = THREADS / LANES * ROWS;  // candidates that the block has under way
    constexpr int UNROLL = Row::WIDTH == 4 ? 2 : 1;  // four loads under way in either case
    const int lane = threadIdx.x % LANES;
    const int pieces = (store.dimension + Row::WIDTH - 1) / Row::WIDTH;
    const float query_norm = METRIC == COSINE ? query_norms[tile.query] : 0.0f;
    // A warp of several groups goes on together, since it shuffles together: groups without a
    // candidate repeat the last one and keep silent.
    const int in_warp = threadIdx.x / 32 * (32 / LANES * ROWS);
    const int in_group = threadIdx.x / LANES * ROWS;
    for (int base = 0; base + in_warp < tile.count; base += UNDER_WAY) {
        const uint4* row[ROWS];
        float scale[ROWS], sum[ROWS], squares[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            int index = wanted[min(base + in_group + r, tile.count - 1)];
            row[r] = store.row(index);
            scale[r] = Row::SCALED ? __ldg(store.scales + index) : 1.0f;
            sum[r] = squares[r] = 0.0f;
        }
#pragma unroll UNROLL
        for (int piece = lane; piece < pieces; piece += LANES) {
            uint4 raw[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) raw[r] = __ldg(row[r] + piece);
            const float4* q = staged + (piece - lane) * (Row::WIDTH / 4) + lane;
#pragma unroll
            for (int part = 0; part < Row::WIDTH / 4; ++part) {
                const float4 four = q[part * LANES];
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    const float4 x = Row::four(raw[r], part);
                    add_four<METRIC, Row::SCALED>(sum[r], four, x, scale[r]);
                    if (METRIC == COSINE) add_four<IP>(squares[r], x, x);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            float total = sum_over<LANES>(sum[r]);
            float square = METRIC == COSINE ? sum_over<LANES>(squares[r]) : 0.0f;
            if (lane == r && base + in_group + r < tile.count) {
                scores[tile.first + base + in_group + r] =
                    finished<METRIC>(total, square, query_norm, scale[r]);
            }
        }
    }
}

// Signs: 16 bytes are 128 components, so 8 lanes are enough for a row. The query's bits are made
// here; how bytes lie in a word does not matter to a count of differing bits.
template <int LANES, int ROWS>
__device__ __forceinline__ void gather_signs(const float* queries, const Store& store,
                                             const int* rows, const Tile& tile, int metric,
                                             float* scores) {
    DYNAMIC_SHARED(uint4, bits);
    SHARED(int, wanted, LARGEST_TILE);
    const float* query = queries + (long long)tile.query * store.dimension;
    const int pieces = (store.dimension + 127) / 128;
    for (int byte = threadIdx.x; byte < pieces * 16; byte += THREADS) {
        unsigned value = 0;
        for (int bit = 0; bit < 8; ++bit) {
            int index = byte * 8 + bit;
            if (index < store.dimension && query[index] >= 0.0f) value |= 128u >> bit;
        }
        reinterpret_cast<unsigned char*>(bits)[byte] = (unsigned char)value;
    }
    for (int i = threadIdx.x; i < tile.count; i += THREADS) wanted[i] = rows[tile.first + i];
    __syncthreads();

    constexpr int UNDER_WAY = THREADS / LANES * ROWS;
    const int lane = threadIdx.x % LANES;
    const int in_warp = threadIdx.x / 32 * (32 / LANES * ROWS);
    const int in_group = threadIdx.x / LANES * ROWS;
    for (int base = 0; base + in_warp < tile.count; base += UNDER_WAY) {
        const uint4* row[ROWS];
        int differing[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            row[r] = store.row(wanted[min(base + in_group + r, tile.count - 1)]);
            differing[r] = 0;
        }
        for (int piece = lane; piece < pieces; piece += LANES) {
            uint4 raw[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) raw[r] = __ldg(row[r] + piece);
            const uint4 q = bits[piece];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                differing[r] += __popc(raw[r].x ^ q.x) + __popc(raw[r].y ^ q.y) +
                                __popc(raw[r].z ^ q.z) + __popc(raw[r].w ^ q.w);
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            int ip = store.dimension - 2 * sum_over<LANES>(differing[r]);
            if (lane == r && base + in_group + r < tile.count) {
                scores[tile.first + base + in_group + r] =
                    metric == COSINE ? (float)ip / (float)store.dimension
                    : metric == L2   ? (float)(2 * ip - 2 * store.dimension)
                                     : (float)ip;
            }
        }
    }
}

#define PARAMETERS                                                                             \
    const float *queries, const float *query_norms, const unsigned char *data,                \
        long long stride, const float *scales, int dimension, const int *rows,                \
        const long long *offsets, const int *tile_query, const long long *tile_first,         \
        int per_tile

#define KERNEL(name, Row, METRIC, LANES, ROWS)                                               \
    extern "C" __global__ void __launch_bounds__(THREADS)                                     \
        name(PARAMETERS, float* scores) {                                                     \
        gather_dot<Row, METRIC, LANES, ROWS>(                                                \
            queries, query_norms, Store{data, stride, scales, dimension}, rows,               \
            Tile(tile_query, tile_first, offsets, per_tile), scores);                         \
    }

#define KERNELS(format, Row, LANES, ROWS)                                                    \
    KERNEL(gather_##format##_ip_##LANES, Row, IP, LANES, ROWS)                               \
    KERNEL(gather_##format##_cosine_##LANES, Row, COSINE, LANES, ROWS)                       \
    KERNEL(gather_##format##_l2_##LANES, Row, L2, LANES, ROWS)

KERNELS(float32, Float32, 32, 2)
KERNELS(float16, Float16, 32, 4)
KERNELS(int8, Int8, 32, 4)
// Rows of up to 256 bytes would leave lanes of a whole warp without work.
KERNELS(float32, Float32, 8, 2)
KERNELS(float16, Float16, 8, 4)
KERNELS(int8, Int8, 8, 4)

extern "C" __global__ void __launch_bounds__(THREADS)
    gather_binary_8(PARAMETERS, int metric, float* scores) {
    gather_signs<8, 4>(queries, Store{data, stride, scales, dimension}, rows,
                       Tile(tile_query, tile_first, offsets, per_tile), metric, scores);
}
