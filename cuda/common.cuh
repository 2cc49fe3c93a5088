// What every kernel here stands on. No header of the CUDA toolkit is needed: NVRTC knows the vector
// types and intrinsics by itself, and the rest is a line of PTX each. Under EMULATED the same names
// come from tests/cuda/shim.h, and the kernels run on the CPU.
#pragma once

#ifdef EMULATED
#include "shim.h"
#else

#define SHARED(type, name, count) __shared__ type name[count]
// As much as the launch asks for.
#define DYNAMIC_SHARED(type, name)          \
    extern __shared__ uint4 dynamic_shared[]; \
    type* name = reinterpret_cast<type*>(dynamic_shared)

__device__ __forceinline__ float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

// The larger of two numbers, NaN if one is; fmaxf would hide the NaN.
__device__ __forceinline__ float max_or_nan(float a, float b) {
    float value;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(value) : "f"(a), "f"(b));
    return value;
}

// sum += a * b for a of 16 x 16 and b of 16 x 8 halves, spread over the warp as PTX defines for
// mma.m16n8k16.
__device__ __forceinline__ void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0,
                                             unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

#define WHOLE_WARP 0xffffffffu

enum Metric { IP = 0, COSINE = 1, L2 = 2 };

// The sum over aligned groups of LANES neighbours, known to each of them. The order of additions is
// fixed, so that a repetition gives the same bits.
template <int LANES>
__device__ __forceinline__ float sum_over(float value) {
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(WHOLE_WARP, value, step);
    }
    return value;
}

template <int LANES>
__device__ __forceinline__ int sum_over(int value) {
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(WHOLE_WARP, value, step);
    }
    return value;
}
