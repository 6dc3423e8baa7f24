// A stand-in for the shim with TensorRT behind it, and for the CUDA driver: what the tests open where there is no GPU.
//
// It has the functions of amis_trt.h and those of libcuda that the project calls. Its soname is libcuda.so, so once it is
// opened as the shim, the loader gives the same library to whoever asks for the driver: our code takes the same road as
// on a machine with a GPU. "Device memory" is memory, and streams do their work at once; but a failure of the work shows
// when the stream is waited for, as with CUDA, and until then the work counts as going on: closing its engine, or any call
// of an engine without the CUDA context, ends the process. Kernels are those of runtime/kernels, compiled as C++ (kernels.cpp), whatever the machine code
// says; FAKE_CUDA_DRIVER is the version that the driver tells (12060). NVRTC is in the library too (nvrtc.cpp).
//
// A plan is text, one statement a line:
//
//   input NAME TYPE SIZE...     an input; TYPE as in amis_trt_tensor, -1 is a dynamic size
//   output NAME TYPE SIZE...    an output
//   patch PIXELS                the output is the mean of every patch of the input, then for each class
//   class BIAS RED GREEN BLUE   bias + weights * means; without classes the output is zero
//   fail WHAT [COUNT]           deserialize; enqueue or lost (the device), from run COUNT on; capture

#include "amis_trt.h"
#include "kernels.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace
{

using Result = int; // CUresult
constexpr Result kOK = 0;
constexpr Result kOUT_OF_MEMORY = 2;
constexpr Result kLAUNCH_FAILED = 719;
constexpr size_t kMEMORY_BYTES = size_t{1} << 26;

using Work = std::vector<std::function<bool()>>; // a CUDA graph

struct Stream
{
    bool lost{false};
    bool busy{false};
    Work* captured{nullptr};
};

struct Tensor
{
    std::string name;
    bool isInput;
    int32_t type;
    std::vector<int64_t> sizes;
    float* address;
};

size_t values(Tensor const& tensor)
{
    size_t count = 1;
    for (auto const size : tensor.sizes)
    {
        count *= static_cast<size_t>(size);
    }
    return count;
}

thread_local void* current = nullptr;
std::mutex blocksMutex;
std::map<unsigned long long, size_t> blocks;

Result allocate(unsigned long long* address, size_t bytes)
{
    if (bytes > kMEMORY_BYTES)
    {
        return kOUT_OF_MEMORY;
    }
    *address = reinterpret_cast<unsigned long long>(operator new(bytes));
    std::lock_guard<std::mutex> const lock{blocksMutex};
    blocks[*address] = bytes;
    return kOK;
}

Result release(unsigned long long address)
{
    {
        std::lock_guard<std::mutex> const lock{blocksMutex};
        require(blocks.erase(address) == 1, "memory is freed that is none");
    }
    operator delete(reinterpret_cast<void*>(address));
    return kOK;
}

Stream& begin(void* stream)
{
    auto& work = *static_cast<Stream*>(stream);
    work.busy = true;
    return work;
}

Result outcome(Stream const& work)
{
    return work.lost ? kLAUNCH_FAILED : kOK;
}

int32_t fail(amis_trt_sink const* sink, amis_trt_status status, std::string const& text)
{
    sink->log(sink->user, 1, ("the fake was told to: " + text).c_str());
    sink->fail(sink->user, text.c_str());
    return status;
}

} // namespace

size_t blockBytes(void const* address)
{
    std::lock_guard<std::mutex> const lock{blocksMutex};
    auto const found = blocks.find(reinterpret_cast<unsigned long long>(address));
    return found == blocks.end() ? 0 : found->second;
}

void require(bool kept, char const* rule)
{
    if (!kept)
    {
        std::fprintf(stderr, "fake: %s\n", rule);
        std::abort();
    }
}

struct amis_trt_library
{
};

struct amis_trt_engine
{
    std::vector<Tensor> tensors;
    size_t patch{1};
    std::vector<std::vector<float>> classes;
    std::map<std::string, size_t> failures;
    size_t runs{0};
    Stream const* stream{nullptr}; // the last one that it was put on

    bool fails(char const* what) const
    {
        auto const found = failures.find(what);
        return found != failures.end() && runs >= found->second;
    }

    // False: the device is lost.
    bool run()
    {
        ++runs;
        if (fails("lost"))
        {
            return false;
        }
        Tensor const* in = nullptr;
        Tensor* out = nullptr;
        for (Tensor& tensor : tensors)
        {
            tensor.isInput ? in = &tensor : out = &tensor;
        }
        std::memset(out->address, 0, values(*out) * sizeof(float));
        auto const width = static_cast<size_t>(in->sizes.back());
        auto const height = static_cast<size_t>(in->sizes[in->sizes.size() - 2]);
        size_t at = 0;
        for (auto const& weights : classes)
        {
            for (size_t y = 0; y < height; y += patch)
            {
                for (size_t x = 0; x < width; x += patch)
                {
                    float sum = weights[0];
                    for (size_t i = 0; i < 3 * patch * patch; ++i)
                    {
                        size_t const channel = i / (patch * patch);
                        size_t const row = y + i / patch % patch;
                        sum += weights[1 + channel] * in->address[(channel * height + row) * width + x + i % patch]
                            / static_cast<float>(patch * patch);
                    }
                    out->address[at++] = sum;
                }
            }
        }
        return true;
    }
};

extern "C" {

// ---- the shim ---------------------------------------------------------------------------------------------------

uint32_t amis_trt_abi(void)
{
    return AMIS_TRT_ABI;
}

void amis_trt_headers(amis_trt_version* out)
{
    *out = {AMIS_TRT_ENTERPRISE, 10, 3, 0};
}

size_t amis_trt_capabilities(int32_t const** out)
{
    *out = nullptr;
    return 0;
}

int32_t amis_trt_open(char const*, char const*, amis_trt_sink const*, amis_trt_library** out)
{
    *out = new amis_trt_library;
    return AMIS_TRT_OK;
}

void amis_trt_library_version(amis_trt_library const*, amis_trt_version* out)
{
    amis_trt_headers(out);
}

// Says what was asked for, and gives the model back as the plan.
int32_t amis_trt_build(amis_trt_library const*, amis_trt_build_request const* request, amis_trt_sink const* sink)
{
    std::ostringstream asked;
    asked << "workspace " << request->workspace_bytes << " memory " << request->memory_bytes << " batch " << request->max_batch
          << " dla " << request->dla_core << " flags " << request->flags << " float";
    for (size_t index = 0; index < request->float_node_count; ++index)
    {
        asked << ' ' << request->float_nodes[index];
    }
    sink->log(sink->user, 2, asked.str().c_str());
    sink->progress(sink->user, "building", "", 1, 1);
    if (request->timing_cache)
    {
        std::string const cache = std::string(static_cast<char const*>(request->timing_cache), request->timing_cache_bytes) + "+";
        sink->timing_cache(sink->user, cache.data(), cache.size());
    }
    sink->built(sink->user, request->model, request->model_bytes, 1);
    return AMIS_TRT_OK;
}

int32_t amis_trt_deserialize(
    amis_trt_library const*, void const* plan, size_t plan_bytes, amis_trt_sink const* sink, amis_trt_engine** out)
{
    if (!current)
    {
        return fail(sink, AMIS_TRT_PLAN, "no CUDA context is current");
    }
    auto* const engine = new amis_trt_engine;
    std::istringstream text(std::string(static_cast<char const*>(plan), plan_bytes));
    for (std::string line; std::getline(text, line);)
    {
        std::istringstream words(line);
        std::string verb;
        words >> verb;
        if (verb == "input" || verb == "output")
        {
            Tensor tensor{"", verb == "input", 0, {}, nullptr};
            words >> tensor.name >> tensor.type;
            for (int64_t size; words >> size;)
            {
                tensor.sizes.push_back(size);
            }
            engine->tensors.push_back(tensor);
        }
        else if (verb == "patch")
        {
            words >> engine->patch;
        }
        else if (verb == "class")
        {
            std::vector<float> weights(4);
            words >> weights[0] >> weights[1] >> weights[2] >> weights[3];
            engine->classes.push_back(weights);
        }
        else if (verb == "fail")
        {
            std::string what;
            size_t count = 0;
            words >> what >> count;
            engine->failures[what] = count;
        }
        else
        {
            delete engine;
            return fail(sink, AMIS_TRT_PLAN, "not a plan: " + line);
        }
    }
    if (engine->fails("deserialize"))
    {
        delete engine;
        return fail(sink, AMIS_TRT_PLAN, "no engine for the plan");
    }
    *out = engine;
    return AMIS_TRT_OK;
}

int32_t amis_trt_tensor_count(amis_trt_engine const* engine)
{
    return static_cast<int32_t>(engine->tensors.size());
}

int32_t amis_trt_tensor_at(amis_trt_engine const* engine, int32_t index, amis_trt_sink const*, amis_trt_tensor* out)
{
    Tensor const& tensor = engine->tensors[static_cast<size_t>(index)];
    *out = {tensor.name.c_str(), tensor.isInput, tensor.type, static_cast<int32_t>(tensor.sizes.size()), {}};
    std::memcpy(out->sizes, tensor.sizes.data(), tensor.sizes.size() * sizeof(int64_t));
    return AMIS_TRT_OK;
}

// The output's dynamic batch is the input's.
int32_t amis_trt_set_sizes(
    amis_trt_engine* engine, char const* name, int64_t const* sizes, int32_t rank, amis_trt_sink const* sink)
{
    for (Tensor& tensor : engine->tensors)
    {
        if (tensor.isInput && (tensor.name != name || static_cast<size_t>(rank) != tensor.sizes.size()))
        {
            return fail(sink, AMIS_TRT_RUN, "no such input");
        }
        if (tensor.sizes[0] == -1)
        {
            tensor.sizes[0] = sizes[0];
        }
    }
    return AMIS_TRT_OK;
}

int32_t amis_trt_bind(amis_trt_engine* engine, char const* name, void* address, amis_trt_sink const* sink)
{
    for (Tensor& tensor : engine->tensors)
    {
        if (tensor.name == name && blockBytes(address) >= values(tensor) * sizeof(float))
        {
            tensor.address = static_cast<float*>(address);
            return AMIS_TRT_OK;
        }
    }
    return fail(sink, AMIS_TRT_RUN, "no such tensor, or too little memory");
}

int32_t amis_trt_enqueue(amis_trt_engine* engine, void* stream, amis_trt_sink const* sink)
{
    auto& work = *static_cast<Stream*>(stream);
    require(current, "the engine runs without a CUDA context");
    engine->stream = &work;
    for (Tensor const& tensor : engine->tensors)
    {
        if (!tensor.address)
        {
            return fail(sink, AMIS_TRT_RUN, "a tensor is not bound");
        }
    }
    if (work.captured)
    {
        if (engine->fails("capture"))
        {
            return fail(sink, AMIS_TRT_RUN, "it cannot be captured");
        }
        work.captured->push_back([engine] { return engine->run(); });
        return AMIS_TRT_OK;
    }
    if (engine->fails("enqueue"))
    {
        return fail(sink, AMIS_TRT_RUN, "TensorRT did not enqueue the engine");
    }
    work.busy = true;
    work.lost = !engine->run() || work.lost;
    return AMIS_TRT_OK;
}

int32_t amis_trt_time_layers(amis_trt_engine* engine, void* stream, amis_trt_sink const* sink)
{
    int32_t const status = amis_trt_enqueue(engine, stream, sink);
    if (status == AMIS_TRT_OK)
    {
        sink->layer_time(sink->user, "patches", 0.5F);
        sink->layer_time(sink->user, "classes", 0.25F);
    }
    return status;
}

int32_t amis_trt_inspect(amis_trt_engine const*, amis_trt_sink const* sink)
{
    require(current, "the engine is inspected without a CUDA context");
    sink->inspected(sink->user, "{\"Layers\": [\"patches\", \"classes\"]}");
    return AMIS_TRT_OK;
}

void amis_trt_close_engine(amis_trt_engine* engine)
{
    require(current, "the engine is closed without a CUDA context");
    require(!engine->stream || !engine->stream->busy, "the engine is closed while its stream works");
    delete engine;
}

void amis_trt_close(amis_trt_library* library)
{
    delete library;
}

// ---- the CUDA driver: one GPU, like the smallest Orin ---------------------------------------------------------------

AMIS_TRT_EXPORT Result cuInit(unsigned)
{
    return kOK;
}

AMIS_TRT_EXPORT Result cuDeviceGet(int* device, int)
{
    *device = 0;
    return kOK;
}

AMIS_TRT_EXPORT Result cuDeviceGetName(char* name, int length, int)
{
    std::strncpy(name, "Fake Orin", static_cast<size_t>(length));
    return kOK;
}

AMIS_TRT_EXPORT Result cuDeviceGetAttribute(int* value, int attribute, int)
{
    // Multiprocessors, integrated, compute capability; the rest, memory pools among it, it does not have.
    std::map<int, int> const known{{16, 8}, {18, 1}, {75, 8}, {76, 7}};
    auto const found = known.find(attribute);
    *value = found == known.end() ? 0 : found->second;
    return kOK;
}

AMIS_TRT_EXPORT Result cuDevicePrimaryCtxRetain(void** context, int)
{
    static int primary;
    *context = &primary;
    return kOK;
}

AMIS_TRT_EXPORT Result cuDevicePrimaryCtxRelease_v2(int)
{
    return kOK;
}

AMIS_TRT_EXPORT Result cuCtxGetCurrent(void** context)
{
    *context = current;
    return kOK;
}

AMIS_TRT_EXPORT Result cuCtxSetCurrent(void* context)
{
    current = context;
    return kOK;
}

AMIS_TRT_EXPORT Result cuCtxSynchronize()
{
    return kOK;
}

AMIS_TRT_EXPORT Result cuMemGetInfo_v2(size_t* free, size_t* total)
{
    *free = kMEMORY_BYTES;
    *total = kMEMORY_BYTES;
    return kOK;
}

AMIS_TRT_EXPORT Result cuDriverGetVersion(int* version)
{
    char const* const told = std::getenv("FAKE_CUDA_DRIVER");
    *version = told ? std::atoi(told) : 12060;
    return kOK;
}

AMIS_TRT_EXPORT Result cuMemAlloc_v2(unsigned long long* address, size_t bytes)
{
    return allocate(address, bytes);
}

AMIS_TRT_EXPORT Result cuMemFree_v2(unsigned long long address)
{
    return release(address);
}

// Memory of the CPU for both: kMAPPED is CU_MEMHOSTALLOC_DEVICEMAP.
AMIS_TRT_EXPORT Result cuMemHostAlloc(void** address, size_t bytes, unsigned flags)
{
    constexpr unsigned kMAPPED = 2;
    require(flags == kMAPPED, "memory of the CPU is asked for that kernels do not reach, or that the CPU reads slowly");
    return allocate(reinterpret_cast<unsigned long long*>(address), bytes);
}

AMIS_TRT_EXPORT Result cuMemFreeHost(void* address)
{
    return release(reinterpret_cast<unsigned long long>(address));
}

AMIS_TRT_EXPORT Result cuMemHostGetDevicePointer_v2(unsigned long long* device, void* address, unsigned)
{
    *device = reinterpret_cast<unsigned long long>(address);
    return kOK;
}

// Events are made with memory of the CPU, and never recorded here.
AMIS_TRT_EXPORT Result cuEventCreate(void** event, unsigned)
{
    static int only;
    *event = &only;
    return kOK;
}

AMIS_TRT_EXPORT Result cuEventSynchronize(void*)
{
    return kOK;
}

AMIS_TRT_EXPORT Result cuEventDestroy_v2(void*)
{
    return kOK;
}

AMIS_TRT_EXPORT Result cuModuleLoadData(void** module, void const* code)
{
    require(!std::memcmp(code, "\x7f" "ELF", 4), "what is loaded is no machine code");
    *module = new int{0};
    return kOK;
}

AMIS_TRT_EXPORT Result cuModuleUnload(void* module)
{
    delete static_cast<int*>(module);
    return kOK;
}

AMIS_TRT_EXPORT Result cuModuleGetFunction(void** function, void*, char const* name)
{
    constexpr Result kNOT_FOUND = 500;
    static std::mutex mutex;
    static std::map<std::string, Kernel> kept;
    std::lock_guard<std::mutex> const lock{mutex};
    Kernel const found = findKernel(name);
    *function = &(kept[name] = found);
    return found ? kOK : kNOT_FOUND;
}

AMIS_TRT_EXPORT Result cuLaunchKernel(void* function, unsigned columns, unsigned rows, unsigned depth, unsigned blockWidth, unsigned blockHeight,
    unsigned blockDepth, unsigned, void* stream, void** arguments, void**)
{
    require(depth == 1 && blockDepth == 1 && blockWidth * blockHeight <= 1024, "a kernel is started with a block that no GPU has");
    auto const work = (*static_cast<Kernel*>(function))({columns, rows, blockWidth, blockHeight}, arguments);
    auto& target = *static_cast<Stream*>(stream);
    if (target.captured)
    {
        target.captured->push_back([work] { return work(), true; });
        return kOK;
    }
    work();
    return outcome(begin(stream));
}

AMIS_TRT_EXPORT Result cuStreamCreate(void** stream, unsigned)
{
    *stream = new Stream;
    return kOK;
}

AMIS_TRT_EXPORT Result cuStreamDestroy_v2(void* stream)
{
    delete static_cast<Stream*>(stream);
    return kOK;
}

AMIS_TRT_EXPORT Result cuStreamSynchronize(void* stream)
{
    auto& work = *static_cast<Stream*>(stream);
    work.busy = false;
    return outcome(work);
}

AMIS_TRT_EXPORT Result cuMemsetD8Async(unsigned long long address, unsigned char value, size_t bytes, void* stream)
{
    auto const work = [=] { return std::memset(reinterpret_cast<void*>(address), value, bytes), true; };
    auto& target = *static_cast<Stream*>(stream);
    if (target.captured)
    {
        target.captured->push_back(work);
        return kOK;
    }
    work();
    return outcome(begin(stream));
}

AMIS_TRT_EXPORT Result cuMemcpyHtoDAsync_v2(unsigned long long to, void const* from, size_t bytes, void* stream)
{
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return outcome(begin(stream));
}

AMIS_TRT_EXPORT Result cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t bytes, void* stream)
{
    begin(stream);
    // The work before it on the stream may not have happened yet: that shows when the stream is waited for.
    std::memcpy(to, reinterpret_cast<void const*>(from), bytes);
    return kOK;
}

AMIS_TRT_EXPORT Result cuStreamBeginCapture_v2(void* stream, int)
{
    static_cast<Stream*>(stream)->captured = new Work;
    return kOK;
}

AMIS_TRT_EXPORT Result cuStreamEndCapture(void* stream, void** graph)
{
    *graph = static_cast<Stream*>(stream)->captured;
    static_cast<Stream*>(stream)->captured = nullptr;
    return kOK;
}

AMIS_TRT_EXPORT Result cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long)
{
    *executable = new Work(*static_cast<Work*>(graph));
    return kOK;
}

AMIS_TRT_EXPORT Result cuGraphLaunch(void* executable, void* stream)
{
    auto& work = begin(stream);
    for (auto const& step : *static_cast<Work*>(executable))
    {
        work.lost = !step() || work.lost;
    }
    return kOK;
}

AMIS_TRT_EXPORT Result cuGraphExecDestroy(void* executable)
{
    delete static_cast<Work*>(executable);
    return kOK;
}

AMIS_TRT_EXPORT Result cuGraphDestroy(void* graph)
{
    return cuGraphExecDestroy(graph);
}

AMIS_TRT_EXPORT Result cuGetErrorString(Result error, char const** text)
{
    *text = error == kOUT_OF_MEMORY ? "out of memory" : "unspecified launch failure";
    return kOK;
}
}
