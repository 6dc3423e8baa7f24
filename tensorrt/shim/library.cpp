// Opening TensorRT, and the log that all calls share.

#include "common.h"

#include <dlfcn.h>

using namespace shim;

namespace shim
{

Logger& logger()
{
    static Logger* const instance = new Logger;
    return *instance;
}

static std::mutex& turn()
{
    static std::mutex* const mutex = new std::mutex;
    return *mutex;
}

LogScope::LogScope(amis_trt_sink const& sink)
    : mTurn{turn()}
{
    logger().connect(&sink);
}

LogScope::~LogScope()
{
    logger().connect(nullptr);
}

} // namespace shim

namespace
{

using LibraryVersion = int32_t (*)();

// TensorRT counts 8501 for 8.5.1 before version 10, and 100300 for 10.3.0 since.
amis_trt_version decode(int32_t number) noexcept
{
    int32_t const major = number < 10000 ? 1000 : 10000;
    return {AMIS_IS_RTX ? AMIS_TRT_RTX : AMIS_TRT_ENTERPRISE, number / major, number / 100 % (major / 100),
        number % 100};
}

std::string toString(amis_trt_version const& version)
{
    return std::to_string(version.major) + "." + std::to_string(version.minor) + "." + std::to_string(version.patch);
}

void* load(char const* path)
{
    // Never closed again: TensorRT has threads and static objects that do not survive it.
    void* const handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
    {
        char const* const reason = dlerror();
        throw Failure{AMIS_TRT_LOAD, reason ? reason : std::string{path} + ": cannot be loaded"};
    }
    return handle;
}

template <typename Function>
Function symbol(void* handle, char const* path, char const* name)
{
    void* const address = dlsym(handle, name);
    if (!address)
    {
        throw Failure{AMIS_TRT_FOREIGN, std::string{path} + " has no function " + name};
    }
    return reinterpret_cast<Function>(address);
}

// Within a major version TensorRT only appends to its tables of virtual functions, so a newer minor version serves
// older headers, and no other combination is safe.
void checkVersion(char const* path, amis_trt_version const& found)
{
    amis_trt_version headers;
    amis_trt_headers(&headers);
    if (found.major != headers.major || found.minor < headers.minor)
    {
        throw Failure{AMIS_TRT_VERSION,
            std::string{path} + " is version " + toString(found) + ", but the shim was compiled for " + toString(headers)};
    }
}

std::unique_ptr<amis_trt_library> openLibrary(char const* tensorrt, char const* parser)
{
    void* const core = load(tensorrt);
    auto const createBuilder = symbol<CreateBuilder>(core, tensorrt, "createInferBuilder_INTERNAL");
    auto const version = decode(symbol<LibraryVersion>(core, tensorrt, "getInferLibVersion")());
    checkVersion(tensorrt, version);
    auto const createRuntime = symbol<CreateRuntime>(core, tensorrt, "createInferRuntime_INTERNAL");
    void* const onnx = load(parser);
    auto const createParser = symbol<CreateParser>(onnx, parser, "createNvOnnxParser_INTERNAL");
    return std::unique_ptr<amis_trt_library>{new amis_trt_library{createBuilder, createRuntime, createParser, version}};
}

} // namespace

uint32_t amis_trt_abi(void)
{
    return AMIS_TRT_ABI;
}

void amis_trt_headers(amis_trt_version* out)
{
    *out = decode(static_cast<int32_t>(NV_TENSORRT_VERSION));
}

size_t amis_trt_capabilities(int32_t const** out)
{
#if AMIS_IS_RTX
    using Capability = nvinfer1::ComputeCapability;
    static constexpr int32_t kKNOWN[] = {
        static_cast<int32_t>(Capability::kSM75),
        static_cast<int32_t>(Capability::kSM80),
        static_cast<int32_t>(Capability::kSM86),
        static_cast<int32_t>(Capability::kSM89),
        static_cast<int32_t>(Capability::kSM120),
#if NV_TENSORRT_MAJOR > 1 || NV_TENSORRT_MINOR >= 5
        static_cast<int32_t>(Capability::kSM121),
#endif
    };
    *out = kKNOWN;
    return sizeof(kKNOWN) / sizeof(kKNOWN[0]);
#else
    *out = nullptr;
    return 0;
#endif
}

int32_t amis_trt_open(char const* tensorrt, char const* parser, amis_trt_sink const* sink, amis_trt_library** out)
{
    if (!isComplete(sink) || !tensorrt || !parser || !out)
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { *out = openLibrary(tensorrt, parser).release(); });
}

void amis_trt_library_version(amis_trt_library const* library, amis_trt_version* out)
{
    *out = library->version;
}

void amis_trt_close(amis_trt_library* library)
{
    delete library;
}
