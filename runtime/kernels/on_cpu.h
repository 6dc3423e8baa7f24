// What CUDA adds to C++, for running the kernels on a CPU in the tests: one thread after another, blocks of one thread.
#include <cmath>
#include <cstddef>

#define __global__
#define __device__

static struct {
    unsigned x, y;
} blockIdx, threadIdx = {0, 0}, blockDim = {1, 1};

static unsigned atomicAdd(unsigned* at, unsigned value) {
    unsigned before = *at;
    *at += value;
    return before;
}
