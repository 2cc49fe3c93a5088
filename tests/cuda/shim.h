// Runs a CUDA kernel on the CPU, to check what it computes and where it reads and writes: one fibre
// a thread, blocks one after the other. Shared memory is on the heap, of exactly the size asked for,
// and holds NaNs at first: AddressSanitizer sees what lies outside, the results show what was read
// before it was written. Threads run in order from one barrier to the next, so a missing barrier
// shows too, mostly. It does not check races in general, memory order, PTX or speed.
#pragma once
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
struct Index {
    unsigned x = 0, y = 0, z = 0;
};
inline Index threadIdx, blockIdx, blockDim, gridDim;

namespace shim {

constexpr size_t STACK = 256 << 10;
constexpr int WARP = 32;

struct Barrier {
    int arrived = 0;
    unsigned generation = 0;
};

struct Fibre {
    ucontext_t context;
    char* stack = nullptr;
    void* fake = nullptr;  // what AddressSanitizer keeps of a stack that is switched away
    bool done = false;
    Barrier* waits = nullptr;
    unsigned generation = 0;
    unsigned exchanges = 0;
};

struct Warp {
    Barrier barrier;
    unsigned char slot[2][WARP][32];
};

inline std::vector<Fibre> fibres;
inline std::vector<Warp> warps;
inline std::map<const void*, void*> shared;
inline size_t dynamic_bytes = 0;
inline Barrier all;
inline int alive = 0, current = 0;
inline ucontext_t scheduler;
inline void* scheduler_fake = nullptr;
inline const void* scheduler_stack = nullptr;
inline size_t scheduler_size = 0;
inline std::function<void()> body;

inline void fail(const char* message) {
    std::fprintf(stderr, "emulation: %s (block %u)\n", message, blockIdx.x);
    std::abort();
}

inline void leave() {
    Fibre& self = fibres[current];
    __sanitizer_start_switch_fiber(self.done ? nullptr : &self.fake, scheduler_stack,
                                   scheduler_size);
    swapcontext(&self.context, &scheduler);
    __sanitizer_finish_switch_fiber(self.fake, &scheduler_stack, &scheduler_size);
}

inline void release(Barrier& barrier) {
    barrier.arrived = 0;
    ++barrier.generation;
}

inline void wait(Barrier& barrier, int expected) {
    if (++barrier.arrived == expected) return release(barrier);
    Fibre& self = fibres[current];
    self.waits = &barrier;
    self.generation = barrier.generation;
    leave();
}

inline void entry() {
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_size);
    body();
    fibres[current].done = true;
    --alive;
    if (alive && all.arrived == alive) release(all);  // those that left are not waited for
    leave();
}

inline void resume(int thread) {
    Fibre& fibre = fibres[thread];
    current = thread;
    threadIdx.x = thread;
    fibre.waits = nullptr;
    __sanitizer_start_switch_fiber(&scheduler_fake, fibre.stack, STACK);
    swapcontext(&scheduler, &fibre.context);
    __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
}

inline void run_block(int threads) {
    fibres.resize(std::max<size_t>(fibres.size(), threads));
    warps.assign((threads + WARP - 1) / WARP, Warp{});
    all = Barrier{};
    alive = threads;
    for (int thread = 0; thread < threads; ++thread) {
        Fibre& fibre = fibres[thread];
        if (!fibre.stack) {
            fibre.stack = static_cast<char*>(mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        }
        __asan_unpoison_memory_region(fibre.stack, STACK);
        getcontext(&fibre.context);
        fibre.context.uc_stack.ss_sp = fibre.stack;
        fibre.context.uc_stack.ss_size = STACK;
        fibre.context.uc_link = nullptr;
        fibre.done = false;
        fibre.waits = nullptr;
        fibre.fake = nullptr;
        fibre.exchanges = 0;
        makecontext(&fibre.context, entry, 0);
    }
    while (alive) {
        bool moved = false;
        for (int thread = 0; thread < threads; ++thread) {
            Fibre& fibre = fibres[thread];
            if (fibre.done || (fibre.waits && fibre.waits->generation == fibre.generation)) continue;
            resume(thread);
            moved = true;
        }
        if (!moved) fail("threads wait for others that never come: a barrier in divergent code");
    }
    for (auto& entry : shared) std::free(entry.second);
    shared.clear();
}

inline void* shared_memory(const void* key, size_t bytes) {
    void*& memory = shared[key];
    if (!memory) {
        memory = std::aligned_alloc(16, bytes ? (bytes + 15) / 16 * 16 : 16);
        std::memset(memory, 0xff, bytes);
        if (bytes % 16 || !bytes) {
            __asan_poison_memory_region(static_cast<char*>(memory) + bytes, 16 - bytes % 16);
        }
    }
    return memory;
}

// Every thread of the warp shows a value and sees those of the others. Two sets of slots in turns:
// nobody can be two exchanges ahead.
template <class Value>
const unsigned char (*exchange(const Value& value))[32] {
    static_assert(sizeof(Value) <= 32, "a slot has 32 bytes");
    Warp& warp = warps[current / WARP];
    auto& slots = warp.slot[fibres[current].exchanges++ % 2];
    std::memcpy(slots[current % WARP], &value, sizeof value);
    wait(warp.barrier, WARP);
    return slots;
}

template <class Value>
Value seen(const unsigned char (*slots)[32], int lane) {
    Value value;
    std::memcpy(&value, slots[lane], sizeof value);
    return value;
}

inline float from_half(unsigned short bits) {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float size = exponent == 31 ? (mantissa ? NAN : INFINITY)
                 : exponent     ? std::ldexp(1024.0f + mantissa, exponent - 25)
                                : std::ldexp(static_cast<float>(mantissa), -24);
    return bits & 0x8000 ? -size : size;
}

}  // namespace shim

#define SHARED(type, name, count) \
    static char name##_key;       \
    type* name = static_cast<type*>(shim::shared_memory(&name##_key, sizeof(type) * (count)))
#define DYNAMIC_SHARED(type, name) \
    type* name = static_cast<type*>(shim::shared_memory(&shim::dynamic_bytes, shim::dynamic_bytes))

using std::max;
using std::min;

inline void __syncthreads() { shim::wait(shim::all, shim::alive); }
inline void __syncwarp(unsigned = ~0u) { shim::wait(shim::warps[shim::current / 32].barrier, 32); }
template <class Value>
Value __shfl_xor_sync(unsigned, Value value, int step) {
    return shim::seen<Value>(shim::exchange(value), (shim::current % 32) ^ step);
}
template <class Value>
Value __shfl_sync(unsigned, Value value, int lane) {
    return shim::seen<Value>(shim::exchange(value), lane % 32);
}
template <class Value>
Value __ldg(const Value* place) {
    return *place;
}
inline int atomicAdd(int* place, int value) {
    int before = *place;
    *place += value;
    return before;
}
inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
    unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
    unsigned value = 0;
    for (int i = 0; i < 4; ++i) {
        value |= static_cast<unsigned>(both >> (selector >> 4 * i & 7) * 8 & 255) << 8 * i;
    }
    return value;
}
template <class To, class From>
To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
inline float __uint_as_float(unsigned value) { return same_bits<float>(value); }
inline unsigned __float_as_uint(float value) { return same_bits<unsigned>(value); }
inline long long __double_as_longlong(double value) { return same_bits<long long>(value); }
inline double __dmul_rn(double a, double b) { return a * b; }  // built with -ffp-contract=off
inline double __dadd_rn(double a, double b) { return a + b; }

inline float half_to_float(unsigned short bits) { return shim::from_half(bits); }
inline float max_or_nan(float a, float b) {
    return std::isnan(a) || std::isnan(b) ? NAN : std::max(a, b);
}

// The layout of the operands over the warp is that of the PTX manual, section mma.m16n8k16.
inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    struct Operands {
        unsigned a[4], b[2];
    };
    auto slots = shim::exchange(Operands{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    auto half = [](unsigned pair, int k) {
        return shim::from_half(static_cast<unsigned short>(k % 2 ? pair >> 16 : pair & 0xffff));
    };
    int lane = shim::current % 32;
    for (int i = 0; i < 4; ++i) {
        int row = lane / 4 + (i / 2) * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; ++k) {
            auto left = shim::seen<Operands>(slots, row % 8 * 4 + k % 8 / 2);
            auto right = shim::seen<Operands>(slots, column * 4 + k % 8 / 2);
            sum[i] += half(left.a[row / 8 + k / 8 * 2], k) * half(right.b[k / 8], k);
        }
    }
}
