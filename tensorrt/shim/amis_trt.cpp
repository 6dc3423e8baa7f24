// One source for TensorRT 8.5 to 11 and TensorRT-RTX; see amis_trt.h for the interface and its rules.

#include "amis_trt.h"

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <dlfcn.h>

#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>

#if defined(TRT_MAJOR_RTX)
#define AMIS_IS_RTX 1
#else
#define AMIS_IS_RTX 0
#endif

// Networks are always strongly typed from TensorRT 11 and TensorRT-RTX 1.5 on, by a flag in TensorRT 10 and earlier
// RTX, and cannot be with TensorRT 8.
#define AMIS_ALWAYS_STRONGLY_TYPED                                                                                    \
    ((AMIS_IS_RTX && (NV_TENSORRT_MAJOR > 1 || NV_TENSORRT_MINOR >= 5)) || (!AMIS_IS_RTX && NV_TENSORRT_MAJOR >= 11))
#define AMIS_WEAKLY_TYPED (!AMIS_IS_RTX && NV_TENSORRT_MAJOR < 10)

using CreateBuilder = void* (*) (void* logger, int32_t version);
using CreateParser = void* (*) (void* network, void* logger, int version);
using LibraryVersion = int32_t (*)();

struct amis_trt_library
{
    CreateBuilder createBuilder;
    CreateParser createParser;
    amis_trt_version version;
};

namespace
{

struct Failure
{
    amis_trt_status status;
    std::string text;
};

// Runs `body` and turns whatever it throws into a status and a text in the sink.
template <typename Body>
int32_t guarded(amis_trt_sink const& sink, Body body) noexcept
{
    auto const fail = [&sink](amis_trt_status status, char const* text) {
        sink.fail(sink.user, text);
        return static_cast<int32_t>(status);
    };
    try
    {
        body();
        return AMIS_TRT_OK;
    }
    catch (Failure const& failure)
    {
        return fail(failure.status, failure.text.c_str());
    }
    catch (std::bad_alloc const&)
    {
        return fail(AMIS_TRT_INTERNAL, "out of memory");
    }
    catch (std::exception const& exception)
    {
        return fail(AMIS_TRT_INTERNAL, exception.what());
    }
    catch (...)
    {
        return fail(AMIS_TRT_INTERNAL, "a C++ exception without a text");
    }
}

bool isComplete(amis_trt_sink const* sink) noexcept
{
    return sink && sink->log && sink->fail && sink->parser_error && sink->built;
}

std::string orEmpty(char const* text)
{
    return text ? text : "";
}

// ---- log --------------------------------------------------------------------------------------------------------

// TensorRT keeps the first logger that it is given for the whole process, from whatever thread it likes. So there is
// one that is never destroyed, and each build connects its sink to it.
class Logger final : public nvinfer1::ILogger
{
public:
    void log(Severity severity, char const* text) noexcept override
    {
        std::lock_guard<std::mutex> const lock{mMutex};
        if (mSink)
        {
            mSink->log(mSink->user, static_cast<int32_t>(severity), text ? text : "");
        }
    }

    void connect(amis_trt_sink const* sink) noexcept
    {
        std::lock_guard<std::mutex> const lock{mMutex};
        mSink = sink;
    }

private:
    std::mutex mMutex;
    amis_trt_sink const* mSink{nullptr};
};

Logger& logger()
{
    static Logger* const instance = new Logger;
    return *instance;
}

// Holds the log for one build; a second build waits here.
class LogScope
{
public:
    explicit LogScope(amis_trt_sink const& sink)
        : mTurn{turn()}
    {
        logger().connect(&sink);
    }

    ~LogScope()
    {
        logger().connect(nullptr);
    }

    LogScope(LogScope const&) = delete;
    LogScope& operator=(LogScope const&) = delete;

private:
    static std::mutex& turn()
    {
        static std::mutex* const mutex = new std::mutex;
        return *mutex;
    }

    std::lock_guard<std::mutex> mTurn;
};

// ---- opening ----------------------------------------------------------------------------------------------------

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
    void* const onnx = load(parser);
    auto const createParser = symbol<CreateParser>(onnx, parser, "createNvOnnxParser_INTERNAL");
    return std::unique_ptr<amis_trt_library>{new amis_trt_library{createBuilder, createParser, version}};
}

// ---- building ---------------------------------------------------------------------------------------------------

template <typename T>
std::unique_ptr<T> owned(T* object, char const* what)
{
    if (!object)
    {
        throw Failure{AMIS_TRT_BUILD, std::string{"TensorRT gave no "} + what};
    }
    return std::unique_ptr<T>{object};
}

nvinfer1::NetworkDefinitionCreationFlags networkFlags() noexcept
{
#if AMIS_ALWAYS_STRONGLY_TYPED
    return 0;
#elif AMIS_WEAKLY_TYPED
    return 1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
#else
    return 1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#endif
}

void parse(nvonnxparser::IParser& parser, nvinfer1::INetworkDefinition const& network,
    amis_trt_build_request const& request, amis_trt_sink const& sink)
{
    if (parser.parse(request.model, request.model_bytes))
    {
        if (network.getNbOutputs() > 0)
        {
            return;
        }
        // Bytes that say nothing, such as none at all, are a valid protobuf message.
        auto const code = static_cast<int32_t>(nvonnxparser::ErrorCode::kINVALID_GRAPH);
        amis_trt_parser_error const out{code, -1, "", "", "the model has no graph, or its graph no output"};
        sink.parser_error(sink.user, &out);
    }
    for (int32_t index = 0; index < parser.getNbErrors(); ++index)
    {
        nvonnxparser::IParserError const* const error = parser.getError(index);
        if (!error)
        {
            continue;
        }
        std::string const description = orEmpty(error->desc());
#if NV_TENSORRT_MAJOR >= 9 || AMIS_IS_RTX
        std::string const node = orEmpty(error->nodeName());
        std::string const op = orEmpty(error->nodeOperator());
#else
        std::string const node;
        std::string const op;
#endif
        amis_trt_parser_error const out{
            static_cast<int32_t>(error->code()), error->node(), node.c_str(), op.c_str(), description.c_str()};
        sink.parser_error(sink.user, &out);
    }
    throw Failure{AMIS_TRT_MODEL, "the ONNX parser refused the model"};
}

void setCapabilities(nvinfer1::IBuilderConfig& config, amis_trt_build_request const& request)
{
    if (request.capability_count == 0)
    {
        return;
    }
#if AMIS_IS_RTX
    auto const count = static_cast<int32_t>(request.capability_count);
    bool taken = config.setNbComputeCapabilities(count);
    for (int32_t index = 0; taken && index < count; ++index)
    {
        taken = config.setComputeCapability(
            static_cast<nvinfer1::ComputeCapability>(request.capabilities[index]), index);
    }
    if (!taken)
    {
        throw Failure{AMIS_TRT_OPTION, "TensorRT-RTX does not take these compute capabilities"};
    }
#else
    (void) config;
    throw Failure{AMIS_TRT_OPTION, "TensorRT builds for the GPU of this machine only, not for named ones"};
#endif
}

#if AMIS_WEAKLY_TYPED
// A weakly typed network may use FP32 only unless told otherwise: allow what the graph itself holds.
void allowTypesOfGraph(nvinfer1::INetworkDefinition const& network, nvinfer1::IBuilderConfig& config)
{
    for (int32_t index = 0; index < network.getNbLayers(); ++index)
    {
        nvinfer1::ILayer const& layer = *network.getLayer(index);
        if (layer.getType() == nvinfer1::LayerType::kQUANTIZE)
        {
            config.setFlag(nvinfer1::BuilderFlag::kINT8);
        }
        for (int32_t output = 0; output < layer.getNbOutputs(); ++output)
        {
            if (layer.getOutput(output)->getType() == nvinfer1::DataType::kHALF)
            {
                config.setFlag(nvinfer1::BuilderFlag::kFP16);
            }
        }
    }
}
#endif

void build(amis_trt_library const& library, amis_trt_build_request const& request, amis_trt_sink const& sink)
{
    LogScope const scope{sink};
    auto const builder = owned(static_cast<nvinfer1::IBuilder*>(library.createBuilder(
                                   &logger(), static_cast<int32_t>(NV_TENSORRT_VERSION))),
        "builder");
    auto const network = owned(builder->createNetworkV2(networkFlags()), "network");
    auto const config = owned(builder->createBuilderConfig(), "builder configuration");
    // The network's weights are memory of the parser: it must live until the plan is built.
    auto const parser = owned(static_cast<nvonnxparser::IParser*>(
                                  library.createParser(network.get(), &logger(), NV_ONNX_PARSER_VERSION)),
        "ONNX parser");
    setCapabilities(*config, request);
    if (request.workspace_bytes != 0)
    {
        config->setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, request.workspace_bytes);
    }
    parse(*parser, *network, request, sink);
#if AMIS_WEAKLY_TYPED
    allowTypesOfGraph(*network, *config);
#endif
    int32_t const layers = network->getNbLayers();
    auto const plan = owned(builder->buildSerializedNetwork(*network, *config), "plan");
    sink.built(sink.user, plan->data(), plan->size(), layers);
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

int32_t amis_trt_build(
    amis_trt_library const* library, amis_trt_build_request const* request, amis_trt_sink const* sink)
{
    if (!isComplete(sink) || !library || !request || !request->model
        || (request->capability_count != 0 && !request->capabilities))
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { build(*library, *request, *sink); });
}

void amis_trt_close(amis_trt_library* library)
{
    delete library;
}
