// The kernels themselves, compiled as C++: one thread after another, in the grid that was asked for.

#include "kernels.h"

#include "on_cpu.h"

#include "frame.cuh"

#include "preprocess.cu"

#include "class_map.cu"

#include "uncertainty.cu"

#include "overlay.cu"

#include <map>
#include <mutex>
#include <tuple>
#include <type_traits>
#include <utility>

namespace
{

std::mutex turn; // the place of a thread is global

template <typename Work>
void forEachThread(Launch launch, Work work)
{
    std::lock_guard<std::mutex> const lock{turn};
    blockDim.x = launch.blockWidth;
    blockDim.y = launch.blockHeight;
    for (blockIdx.y = 0; blockIdx.y < launch.rows; ++blockIdx.y)
    {
        for (blockIdx.x = 0; blockIdx.x < launch.columns; ++blockIdx.x)
        {
            for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
            {
                for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x)
                {
                    work();
                }
            }
        }
    }
}

template <typename T>
T value(void* argument)
{
    T const value = *static_cast<T const*>(argument);
    if constexpr (std::is_pointer_v<T>)
    {
        require(blockBytes(value) > 0, "a kernel is given an address that is none of the GPU's memory");
    }
    return value;
}

template <typename... Arguments, size_t... Places>
Kernel kernel(void (*function)(Arguments...), std::index_sequence<Places...>)
{
    return [function](Launch launch, void** arguments) -> std::function<void()> {
        std::tuple<Arguments...> const values{value<Arguments>(arguments[Places])...};
        return [=] { forEachThread(launch, [&] { std::apply(function, values); }); };
    };
}

template <typename... Arguments>
Kernel kernel(void (*function)(Arguments...))
{
    return kernel(function, std::index_sequence_for<Arguments...>{});
}

} // namespace

Kernel findKernel(std::string const& name)
{
    static std::map<std::string, Kernel> const kernels{
        {"preprocess", kernel(preprocess)}, {"class_map", kernel(class_map)}, {"uncertainty", kernel(uncertainty)}};
    auto const found = kernels.find(name);
    return found == kernels.end() ? Kernel{} : found->second;
}
