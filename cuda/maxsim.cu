// MaxSim (late interaction) over documents of any number of tokens: the sum over the tokens of a query
// of the largest inner product with a token of the document. Token vectors are float16.
//
// A warp takes a document; tensor cores multiply TILES x 16 tokens of the query with 8 of the
// document at a time. Which component stands in which slot of a product does not matter if both sides
// agree, so each lane reads 16 neighbouring bytes of a token, which are its share of two products,
// and no shuffle and no shared memory is needed for the document. The query lies in shared memory (or,
// if too long for it, is read from where it is). Query tokens beyond TILES x 16 take further passes.
#include "rows.cuh"

#define THREADS 256
#define LOWEST __uint_as_float(0xff800000u)  // minus infinity

struct Tokens {  // of one query, TILES * 16 of them, those beyond the last being zero
    const uint4* data;
    int pitch;  // pieces of 16 bytes from token to token
    int count;
    int pieces;
};

template <bool STAGED>
__device__ __forceinline__ uint4 piece_of(const Tokens& tokens, int token, int piece) {
    if (STAGED) return tokens.data[token * tokens.pitch + piece];
    return token < tokens.count && piece < tokens.pieces
               ? __ldg(tokens.data + token * tokens.pitch + piece)
               : make_uint4(0, 0, 0, 0);
}

__device__ __forceinline__ void multiply_pieces(float (&sum)[4], const uint4& low,
                                                const uint4& high, const uint4& other) {
    const unsigned first[4] = {low.x, high.x, low.y, high.y};
    multiply_add(sum, first, other.x, other.y);
    const unsigned second[4] = {low.z, high.z, low.w, high.w};
    multiply_add(sum, second, other.z, other.w);
}

// The score of one document by one warp.
template <int TILES, bool STAGED>
__device__ __forceinline__ float score_document(const Tokens& query, const unsigned char* query_mask,
                                                const Store& store, long long begin, int count,
                                                const unsigned char* mask) {
    const int lane = threadIdx.x % 32, group = lane / 4, corner = lane % 4;
    float best[TILES][2];
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) best[tile][0] = best[tile][1] = LOWEST;

    const long long eight = store.stride / 2;  // pieces in eight rows
    for (int token = 0; token < count; token += 16) {
        float sum[TILES][2][4] = {};
        const bool there[2] = {token + group < count, token + 8 + group < count};
        const uint4* row = reinterpret_cast<const uint4*>(
            store.data + (begin + token + group) * store.stride);
#pragma unroll 1
        for (int piece = corner; piece < (query.pieces + 3) / 4 * 4; piece += 4) {
            uint4 other[2];
#pragma unroll
            for (int side = 0; side < 2; ++side) {
                other[side] = there[side] && piece < query.pieces ? __ldg(row + side * eight + piece)
                                                                  : make_uint4(0, 0, 0, 0);
            }
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                const uint4 low = piece_of<STAGED>(query, tile * 16 + group, piece);
                const uint4 high = piece_of<STAGED>(query, tile * 16 + 8 + group, piece);
                multiply_pieces(sum[tile][0], low, high, other[0]);
                multiply_pieces(sum[tile][1], low, high, other[1]);
            }
        }
#pragma unroll
        for (int column = 0; column < 4; ++column) {
            const int own = token + column / 2 * 8 + corner * 2 + column % 2;
            if (own >= count || (mask && !mask[begin + own])) continue;
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                const float* of = sum[tile][column / 2];
                best[tile][0] = max_or_nan(best[tile][0], of[column % 2]);
                best[tile][1] = max_or_nan(best[tile][1], of[2 + column % 2]);
            }
        }
        __syncwarp();  // tensor cores want the warp together
    }

    float total = 0.0f;
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float largest = best[tile][half];
            largest = max_or_nan(largest, __shfl_xor_sync(WHOLE_WARP, largest, 1));
            largest = max_or_nan(largest, __shfl_xor_sync(WHOLE_WARP, largest, 2));
            const int token = tile * 16 + half * 8 + group;
            const bool counts = token < query.count && (!query_mask || query_mask[token]);
            if (corner == 0 && counts) total += largest;
        }
    }
    return sum_over<32>(total);
}

template <int TILES, bool STAGED>
__device__ __forceinline__ void maxsim(const uint4* queries, const unsigned char* query_masks,
                                       int length, int query_pitch, const Store& store,
                                       const long long* documents, const unsigned char* mask,
                                       const int* wanted, const long long* offsets,
                                       const int* tile_query, const long long* tile_first,
                                       int per_tile, float* scores) {
    DYNAMIC_SHARED(uint4, staged);
    SHARED(int, next, 1);
    const int query = tile_query[blockIdx.x];
    const long long first = tile_first[blockIdx.x];
    const int count = (int)min(offsets[query + 1] - first, (long long)per_tile);
    const int pieces = (store.dimension + 7) / 8;
    // Rows that begin 64 bytes apart modulo 128 keep the lanes of a load on different banks.
    const int pitch = (pieces + 3) / 4 * 4 + ((pieces + 3) / 4 % 2 ? 0 : 4);
    const uint4* own = queries + (long long)query * length * query_pitch;

    for (int pass = 0; pass < length; pass += TILES * 16) {
        const int here = min(TILES * 16, length - pass);
        if (STAGED) {
            for (int i = threadIdx.x; i < TILES * 16 * pitch; i += THREADS) {
                const int token = i / pitch, piece = i % pitch;
                staged[i] = token < here && piece < pieces
                                ? __ldg(own + (pass + token) * query_pitch + piece)
                                : make_uint4(0, 0, 0, 0);
            }
        }
        if (threadIdx.x == 0) next[0] = 0;
        __syncthreads();
        const Tokens tokens = {STAGED ? staged : own + (long long)pass * query_pitch,
                               STAGED ? pitch : query_pitch, here, pieces};
        const unsigned char* masks =
            query_masks ? query_masks + (long long)query * length + pass : nullptr;
        // Documents differ in length: a warp takes the next one when it is done with its last.
        for (;;) {
            int taken = 0;
            if (threadIdx.x % 32 == 0) taken = atomicAdd(next, 1);
            taken = __shfl_sync(WHOLE_WARP, taken, 0);
            if (taken >= count) break;
            const int document = wanted[first + taken];
            const long long begin = documents[document];
            const float score = score_document<TILES, STAGED>(
                tokens, masks, store, begin, (int)(documents[document + 1] - begin), mask);
            if (threadIdx.x % 32 == 0) {
                scores[first + taken] = pass ? scores[first + taken] + score : score;
            }
        }
        __syncthreads();
    }
}

#define KERNEL(name, TILES, STAGED)                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS) name(                                \
        const uint4* queries, const unsigned char* query_masks, int length, int query_pitch,  \
        const unsigned char* data, long long stride, int dimension,                           \
        const long long* documents, const unsigned char* mask, const int* wanted,             \
        const long long* offsets, const int* tile_query, const long long* tile_first,         \
        int per_tile, float* scores) {                                                         \
        maxsim<TILES, STAGED>(queries, query_masks, length, query_pitch,                       \
                              Store{data, stride, nullptr, dimension}, documents, mask,        \
                              wanted, offsets, tile_query, tile_first, per_tile, scores);      \
    }

// A query of up to 16 tokens wastes half of the products of the first: memory is the bound, not they.
KERNEL(maxsim_staged, 2, true)
KERNEL(maxsim_direct, 1, false)
