// The best k candidates of each query, exactly and in the order of a stable sort: by score
// descending, then by position; NaN after everything. With a score of the first stage for each
// candidate, what is ranked is alpha * sparse + (1 - alpha) * dense in float64.
//
// A block sorts up to LARGEST_SORT candidates in shared memory. Longer lists are cut, sorted in
// pieces and merged; only k of each piece go on. Every key is distinct, because the position is part
// of it, so the result depends neither on the order of threads nor on that of blocks.
#include "common.cuh"

#define THREADS 512
#define LARGEST_SORT 4096

typedef unsigned long long u64;

__device__ __forceinline__ u64 from_lane(u64 value, int step) {
    return __shfl_xor_sync(WHOLE_WARP, value, step);
}

// Keys ascend where scores descend. Adding 0 makes -0 and 0 one key, as they are one score.
__device__ __forceinline__ unsigned descending(float score) {
    if (score != score) return 0xffffffffu;
    unsigned bits = __float_as_uint(score + 0.0f);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

__device__ __forceinline__ u64 descending(double score) {
    if (score != score) return ~0ull;
    u64 bits = (u64)__double_as_longlong(score + 0.0);
    return bits >> 63 ? bits : ~(bits | 1ull << 63);
}

struct Narrow {  // of a float32 score
    u64 both;
    static __device__ __forceinline__ Narrow of(float score, unsigned position) {
        return Narrow{(u64)descending(score) << 32 | position};
    }
    static __device__ __forceinline__ Narrow last() { return Narrow{~0ull}; }
    __device__ __forceinline__ bool before(const Narrow& other) const { return both < other.both; }
    __device__ __forceinline__ Narrow across(int step) const {
        return Narrow{from_lane(both, step)};
    }
    __device__ __forceinline__ int position() const { return (int)(both & 0xffffffffu); }
};

struct Wide {  // of a float64 score
    u64 score, place;
    static __device__ __forceinline__ Wide of(double score, unsigned position) {
        return Wide{descending(score), position};
    }
    static __device__ __forceinline__ Wide last() { return Wide{~0ull, ~0ull}; }
    __device__ __forceinline__ bool before(const Wide& other) const {
        return score < other.score || (score == other.score && place < other.place);
    }
    __device__ __forceinline__ Wide across(int step) const {
        return Wide{from_lane(score, step), from_lane(place, step)};
    }
    __device__ __forceinline__ int position() const { return (int)place; }
};

// What is ranked: one of these knows the score of each candidate.
struct Plain {
    typedef Narrow Key;
    typedef float Score;
    const float* dense;
    __device__ __forceinline__ float at(long long index) const { return dense[index]; }
};

struct Mixed {
    typedef Wide Key;
    typedef double Score;
    const float *dense, *sparse;
    double alpha;
    // Rounded after each operation, as NumPy does it: then ties are the same ties.
    __device__ __forceinline__ double at(long long index) const {
        return __dadd_rn(__dmul_rn(alpha, (double)sparse[index]),
                         __dmul_rn(__dadd_rn(1.0, -alpha), (double)dense[index]));
    }
};

// One level of a bitonic sort over neighbours of a warp: `index` keeps the earlier key of the two
// where its place is that of the earlier.
template <class Key>
__device__ __forceinline__ Key exchanged(const Key& key, int index, int step, int width) {
    Key other = key.across(step);
    bool keeps_earlier = ((index & step) == 0) == ((index & width) == 0);
    return other.before(key) == keeps_earlier ? other : key;
}

// Bitonic sort of `size` keys, a power of two from 32 up. Steps within 32 keys are shuffles; only
// longer ones need the block's barrier.
template <class Key>
__device__ void sort_block(Key* keys, int size) {
    for (int index = threadIdx.x; index < size; index += THREADS) {
        Key key = keys[index];
        for (int width = 2; width <= 32; width *= 2) {
            for (int step = width / 2; step > 0; step /= 2) {
                key = exchanged(key, index, step, width);
            }
        }
        keys[index] = key;
    }
    for (int width = 64; width <= size; width *= 2) {
        for (int step = width / 2; step >= 32; step /= 2) {
            __syncthreads();
            for (int pair = threadIdx.x; pair < size / 2; pair += THREADS) {
                int low = pair / step * 2 * step + pair % step;
                Key a = keys[low], b = keys[low + step];
                if (b.before(a) == ((low & width) == 0)) {
                    keys[low] = b;
                    keys[low + step] = a;
                }
            }
        }
        __syncthreads();
        for (int index = threadIdx.x; index < size; index += THREADS) {
            Key key = keys[index];
            for (int step = 16; step > 0; step /= 2) key = exchanged(key, index, step, width);
            keys[index] = key;
        }
    }
    __syncthreads();
}

// Sorts one stretch of a query's list. A list of one stretch is done with that; of others the best k
// keys go to `runs`, where the stretch stands among all candidates.
template <class Scores>
__device__ void sort_stretch(const Scores& scores, const long long* offsets, const int* tile_query,
                             const long long* tile_first, int k, const long long* kept,
                             typename Scores::Key* runs, int* positions,
                             typename Scores::Score* best) {
    typedef typename Scores::Key Key;
    DYNAMIC_SHARED(Key, keys);
    const int query = tile_query[blockIdx.x];
    const long long first = tile_first[blockIdx.x], start = offsets[query];
    const long long length = offsets[query + 1] - start;
    const int count = (int)min(offsets[query + 1] - first, (long long)LARGEST_SORT);
    int size = 32;
    while (size < count) size *= 2;
    for (int index = threadIdx.x; index < size; index += THREADS) {
        keys[index] = index < count ? Key::of(scores.at(first + index),
                                              (unsigned)(first - start) + index)
                                    : Key::last();
    }
    __syncthreads();
    sort_block(keys, size);
    for (int index = threadIdx.x; index < min(k, count); index += THREADS) {
        if (length > LARGEST_SORT) {
            runs[first + index] = keys[index];
        } else {
            positions[kept[query] + index] = keys[index].position();
            best[kept[query] + index] = scores.at(start + keys[index].position());
        }
    }
}

// Merges neighbouring runs: begin..middle and middle..end are the stretches they come from, of which
// the first k keys are there. A key's place is its own rank plus the number of keys of the other run
// that come before it.
template <class Key>
__device__ void merge_runs(const Key* from, Key* to, const long long* begin,
                           const long long* middle, const long long* end, const int* block_pair,
                           const int* block_start, int k) {
    const int pair = block_pair[blockIdx.x];
    const long long left = begin[pair], right = middle[pair];
    const int lefts = (int)min(right - left, (long long)k);
    const int rights = (int)min(end[pair] - right, (long long)k);
    const int index = block_start[blockIdx.x] + threadIdx.x;
    if (index >= lefts + rights) return;
    const bool on_left = index < lefts;
    const int rank = on_left ? index : index - lefts;
    const Key key = from[(on_left ? left : right) + rank];
    const Key* other = from + (on_left ? right : left);
    int low = 0, high = on_left ? rights : lefts;
    while (low < high) {
        int probe = (low + high) / 2;
        if (other[probe].before(key)) {
            low = probe + 1;
        } else {
            high = probe;
        }
    }
    if (rank + low < k) to[left + rank + low] = key;
}

// Positions and scores of lists that were merged.
template <class Scores>
__device__ void emit(const Scores& scores, const typename Scores::Key* runs,
                     const long long* offsets, const long long* kept, const int* block_query,
                     const int* block_start, int* positions, typename Scores::Score* best) {
    const int query = block_query[blockIdx.x];
    const int index = block_start[blockIdx.x] + threadIdx.x;
    if (index >= kept[query + 1] - kept[query]) return;
    const int position = runs[offsets[query] + index].position();
    positions[kept[query] + index] = position;
    best[kept[query] + index] = scores.at(offsets[query] + position);
}

#define KERNELS(name, Scores)                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) topk_sort_##name(                    \
        const float* dense, const float* sparse, double alpha, const long long* offsets,      \
        const int* tile_query, const long long* tile_first, int k, const long long* kept,     \
        void* runs, int* positions, Scores::Score* best) {                                     \
        sort_stretch(MAKE_##name, offsets, tile_query, tile_first, k, kept,                    \
                     (Scores::Key*)runs, positions, best);                                     \
    }                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) topk_merge_##name(                   \
        const void* from, void* to, const long long* begin, const long long* middle,          \
        const long long* end, const int* block_pair, const int* block_start, int k) {         \
        merge_runs((const Scores::Key*)from, (Scores::Key*)to, begin, middle, end, block_pair, \
                   block_start, k);                                                            \
    }                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) topk_emit_##name(                    \
        const float* dense, const float* sparse, double alpha, const void* runs,              \
        const long long* offsets, const long long* kept, const int* block_query,              \
        const int* block_start, int* positions, Scores::Score* best) {                         \
        emit(MAKE_##name, (const Scores::Key*)runs, offsets, kept, block_query, block_start,   \
             positions, best);                                                                 \
    }

#define MAKE_plain Plain{dense}
#define MAKE_mixed Mixed{dense, sparse, alpha}
KERNELS(plain, Plain)
KERNELS(mixed, Mixed)
