// Stored rows: how 16 bytes of a row become components, and how a query is laid out beside them.
#pragma once
#include "common.cuh"

// The rows of a store on the device. The first byte of each is 16-byte aligned and what follows the
// last component, up to the next 16 bytes, is zero: so the kernels need no other tail than that of
// whole 16-byte pieces.
struct Store {
    const unsigned char* data;
    long long stride;  // bytes
    const float* scales;  // of int8
    int dimension;

    __device__ __forceinline__ const uint4* row(int index) const {
        return reinterpret_cast<const uint4*>(data + index * stride);
    }
};

__device__ __forceinline__ unsigned word(const uint4& piece, int index) {
    return index == 0 ? piece.x : index == 1 ? piece.y : index == 2 ? piece.z : piece.w;
}

// Each format: WIDTH components in 16 bytes, and four(), which unpacks components 4*part to
// 4*part + 3. All are exact.
struct Float32 {
    static constexpr int WIDTH = 4;
    static constexpr bool SCALED = false;
    static __device__ __forceinline__ float4 four(const uint4& piece, int) {
        return make_float4(__uint_as_float(piece.x), __uint_as_float(piece.y),
                           __uint_as_float(piece.z), __uint_as_float(piece.w));
    }
};

struct Float16 {
    static constexpr int WIDTH = 8;
    static constexpr bool SCALED = false;
    static __device__ __forceinline__ float4 four(const uint4& piece, int part) {
        unsigned low = word(piece, 2 * part), high = word(piece, 2 * part + 1);
        return make_float4(half_to_float(low & 0xffff), half_to_float(low >> 16),
                           half_to_float(high & 0xffff), half_to_float(high >> 16));
    }
};

// A byte b placed under the exponent of 2^23 is the float 2^23 + b: one byte permutation and one
// subtraction, both at full rate, where a conversion instruction has a quarter of it or less. The
// whole is 3.25 instructions a component with its multiplication. dp4a with a query of two 8-bit
// digits would take 0.5, but rounds the query to 16 bits; 3.25 keep the query as it is, and at the
// 21 bytes that memory gives a multiprocessor of an H200 each clock are 68 of its 128 lanes' slots.
struct Int8 {
    static constexpr int WIDTH = 16;
    static constexpr bool SCALED = true;
    static __device__ __forceinline__ float4 four(const uint4& piece, int part) {
        unsigned shifted = word(piece, part) ^ 0x80808080u;  // -128..127 to 0..255
        return make_float4(one<0>(shifted), one<1>(shifted), one<2>(shifted), one<3>(shifted));
    }
    template <int BYTE>
    static __device__ __forceinline__ float one(unsigned shifted) {
        return __uint_as_float(__byte_perm(shifted, 0x4b000000u, 0x7440 + BYTE)) - 8388736.0f;
    }
};

// Where component `index` of a query stands in shared memory, in floats. Lane l of LANES reads the
// components of its 16 bytes as float4s; those of all lanes lie side by side, so that no two lanes
// want the same bank.
template <class Row, int LANES>
__device__ __forceinline__ int staged_at(int index) {
    constexpr int STEP = LANES * Row::WIDTH;
    int within = index % STEP;
    int lane = within / Row::WIDTH, part = within % Row::WIDTH;
    return index - within + (part / 4 * LANES + lane) * 4 + part % 4;
}

// Floats that a staged query takes: whole steps of all lanes.
template <class Row, int LANES>
__device__ __forceinline__ int staged_length(int dimension) {
    constexpr int STEP = LANES * Row::WIDTH;
    return (dimension + STEP - 1) / STEP * STEP;
}

template <class Row, int LANES>
__device__ __forceinline__ void stage(const float* query, int dimension, float* staged) {
    int length = staged_length<Row, LANES>(dimension);
    for (int index = threadIdx.x; index < length; index += blockDim.x) {
        staged[staged_at<Row, LANES>(index)] = index < dimension ? __ldg(query + index) : 0.0f;
    }
}

// Adds the products (or squared differences) of four components. Every contraction is written out, so
// that kernels which add in the same order give the same bits.
template <int METRIC, bool SCALED = false>
__device__ __forceinline__ void add_four(float& sum, const float4& q, const float4& x,
                                         float scale = 1.0f) {
    if (METRIC == L2) {
        float4 d = SCALED ? make_float4(fmaf(-scale, x.x, q.x), fmaf(-scale, x.y, q.y),
                                        fmaf(-scale, x.z, q.z), fmaf(-scale, x.w, q.w))
                          : make_float4(q.x - x.x, q.y - x.y, q.z - x.z, q.w - x.w);
        sum = fmaf(d.w, d.w, fmaf(d.z, d.z, fmaf(d.y, d.y, fmaf(d.x, d.x, sum))));
    } else {
        sum = fmaf(q.w, x.w, fmaf(q.z, x.z, fmaf(q.y, x.y, fmaf(q.x, x.x, sum))));
    }
}

// From sums to a score. The cosine with a zero vector is 0.
template <int METRIC>
__device__ __forceinline__ float finished(float sum, float squares, float query_norm,
                                          float scale) {
    if (METRIC == L2) return -sum;
    if (METRIC == IP) return scale * sum;
    float norm = query_norm * (scale * sqrtf(squares));
    return norm == 0.0f ? 0.0f : scale * sum / norm;
}
