// Serves launches of emulated kernels over standard input and output. A request is the name, the
// grid, the block, the bytes of shared memory and the arguments, each with its size before it; the
// answer is a byte for each argument, 1 if the kernel may write to it, then its content follows.
#pragma once
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "shim.h"

namespace driver {

inline void read_all(void* into, size_t bytes) {
    if (bytes && std::fread(into, 1, bytes, stdin) != bytes) std::exit(0);
}

template <class Value>
Value read_value() {
    Value value;
    read_all(&value, sizeof value);
    return value;
}

// A buffer of exactly the bytes that were sent, so that the next byte is out of bounds.
struct Argument {
    long long bytes = 0;
    char* memory = nullptr;
    bool written = false;
};

template <class Type>
struct Reader {
    static Type value(Argument& argument) {
        if (argument.bytes != sizeof(Type)) shim::fail("a scalar has another size than declared");
        Type value;
        std::memcpy(&value, argument.memory, sizeof value);
        return value;
    }
};

template <class Type>
struct Reader<Type*> {
    static Type* value(Argument& argument) {
        argument.written = !std::is_const<Type>::value && argument.bytes >= 0;
        return reinterpret_cast<Type*>(argument.memory);
    }
};

using Call = std::function<void(std::vector<Argument>&, int, int)>;

template <class... Types, size_t... Places>
void run(void (*kernel)(Types...), std::vector<Argument>& arguments, int grid, int block,
         std::index_sequence<Places...>) {
    if (arguments.size() != sizeof...(Types)) shim::fail("another number of arguments");
    std::tuple<Types...> values{Reader<Types>::value(arguments[Places])...};
    shim::body = [&] { kernel(std::get<Places>(values)...); };
    gridDim = Index{static_cast<unsigned>(grid), 1, 1};
    blockDim = Index{static_cast<unsigned>(block), 1, 1};
    for (int each = 0; each < grid; ++each) {
        blockIdx.x = each;
        shim::run_block(block);
    }
}

template <class... Types>
Call call(void (*kernel)(Types...)) {
    return [kernel](std::vector<Argument>& arguments, int grid, int block) {
        run(kernel, arguments, grid, block, std::index_sequence_for<Types...>{});
    };
}

inline int serve(const std::map<std::string, Call>& kernels) {
    for (;;) {
        std::string name(read_value<int>(), ' ');
        read_all(&name[0], name.size());
        int grid = read_value<int>(), block = read_value<int>();
        shim::dynamic_bytes = read_value<int>();
        std::vector<Argument> arguments(read_value<int>());
        for (Argument& argument : arguments) {
            argument.bytes = read_value<long long>();
            if (argument.bytes < 0) continue;  // a null pointer
            argument.memory = static_cast<char*>(std::malloc(argument.bytes));
            read_all(argument.memory, argument.bytes);
        }
        auto found = kernels.find(name);
        if (found == kernels.end()) shim::fail("no such kernel");
        found->second(arguments, grid, block);
        for (Argument& argument : arguments) {
            std::putchar(argument.written);
            if (argument.written) std::fwrite(argument.memory, 1, argument.bytes, stdout);
            std::free(argument.memory);
        }
        std::fflush(stdout);
    }
}

}  // namespace driver
