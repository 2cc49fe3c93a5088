// New query vectors as weighted sums of the old ones and of stored rows (average, Rocchio). Weights
// are made on the host, where the rules of each method are; here a thread has WIDTH components of one
// query and goes through its rows, neighbouring threads reading neighbouring pieces of a row.
#include "rows.cuh"

#define THREADS 128

template <class Row>
__device__ __forceinline__ void weighted_sum(const float* queries, const float* query_weights,
                                             const Store& store, const int* rows,
                                             const float* weights, const long long* offsets,
                                             int blocks_each, float* updated) {
    const int query = blockIdx.x / blocks_each;
    const int piece = blockIdx.x % blocks_each * THREADS + threadIdx.x;
    const int first = piece * Row::WIDTH;
    if (first >= store.dimension) return;
    const long long own = (long long)query * store.dimension;

    float sum[Row::WIDTH];
    const float query_weight = query_weights[query];
#pragma unroll
    for (int i = 0; i < Row::WIDTH; ++i) {
        sum[i] = first + i < store.dimension ? query_weight * queries[own + first + i] : 0.0f;
    }
    for (long long place = offsets[query]; place < offsets[query + 1]; ++place) {
        const int index = rows[place];
        const uint4 raw = __ldg(store.row(index) + piece);
        const float weight = weights[place] * (Row::SCALED ? __ldg(store.scales + index) : 1.0f);
#pragma unroll
        for (int part = 0; part < Row::WIDTH / 4; ++part) {
            const float4 x = Row::four(raw, part);
            sum[4 * part] = fmaf(weight, x.x, sum[4 * part]);
            sum[4 * part + 1] = fmaf(weight, x.y, sum[4 * part + 1]);
            sum[4 * part + 2] = fmaf(weight, x.z, sum[4 * part + 2]);
            sum[4 * part + 3] = fmaf(weight, x.w, sum[4 * part + 3]);
        }
    }
#pragma unroll
    for (int i = 0; i < Row::WIDTH; ++i) {
        if (first + i < store.dimension) updated[own + first + i] = sum[i];
    }
}

#define KERNEL(name, Row)                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS) name(                                \
        const float* queries, const float* query_weights, const unsigned char* data,          \
        long long stride, const float* scales, int dimension, const int* rows,                \
        const float* weights, const long long* offsets, int blocks_each, float* updated) {    \
        weighted_sum<Row>(queries, query_weights, Store{data, stride, scales, dimension},      \
                          rows, weights, offsets, blocks_each, updated);                       \
    }

KERNEL(feedback_float32, Float32)
KERNEL(feedback_float16, Float16)
KERNEL(feedback_int8, Int8)
