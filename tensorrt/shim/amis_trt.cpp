// One source for TensorRT 8.5 to 11 and TensorRT-RTX; see amis_trt.h for the interface and its rules.

#include "amis_trt.h"

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <dlfcn.h>

#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <type_traits>

#if defined(TRT_MAJOR_RTX)
#define AMIS_IS_RTX 1
#else
#define AMIS_IS_RTX 0
#endif

// Networks are always strongly typed from TensorRT 11 and TensorRT-RTX 1.5 on, by a flag in TensorRT 10 and earlier
// RTX, and cannot be with TensorRT 8. A DLA takes weakly typed ones only; their flags are deprecated from 10.12 on,
// which is for devices without a DLA.
#define AMIS_ALWAYS_STRONGLY_TYPED                                                                                    \
    ((AMIS_IS_RTX && (NV_TENSORRT_MAJOR > 1 || NV_TENSORRT_MINOR >= 5)) || (!AMIS_IS_RTX && NV_TENSORRT_MAJOR >= 11))
#define AMIS_NEVER_STRONGLY_TYPED (!AMIS_IS_RTX && NV_TENSORRT_MAJOR < 10)
#define AMIS_HAS_WEAK_TYPING                                                                                          \
    (AMIS_NEVER_STRONGLY_TYPED || (!AMIS_IS_RTX && NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR < 12))
#define AMIS_HAS_PROGRESS (AMIS_IS_RTX || NV_TENSORRT_MAJOR >= 10)
#define AMIS_HAS_TACTIC_MEMORY                                                                                        \
    (AMIS_IS_RTX || NV_TENSORRT_MAJOR >= 9 || (NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR >= 6))

using CreateBuilder = void* (*) (void* logger, int32_t version);
using CreateRuntime = void* (*) (void* logger, int32_t version);
using CreateParser = void* (*) (void* network, void* logger, int version);
using LibraryVersion = int32_t (*)();

struct amis_trt_library
{
    CreateBuilder createBuilder;
    CreateRuntime createRuntime;
    CreateParser createParser;
    amis_trt_version version;
};

struct amis_trt_engine
{
    // In this order: each is made by the one before it and must go first.
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::unique_ptr<nvinfer1::IExecutionContext> context;
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
    return sink && sink->log && sink->fail && sink->parser_error && sink->progress && sink->timing_cache && sink->built
        && sink->inspected && sink->layer_time;
}

std::string orEmpty(char const* text)
{
    return text ? text : "";
}

// ---- log --------------------------------------------------------------------------------------------------------

// TensorRT keeps the first logger that it is given for the whole process, from whatever thread it likes. So there is
// one that is never destroyed, and each call connects its sink to it.
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

// Holds the log for one call; another one waits here.
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
    auto const createRuntime = symbol<CreateRuntime>(core, tensorrt, "createInferRuntime_INTERNAL");
    void* const onnx = load(parser);
    auto const createParser = symbol<CreateParser>(onnx, parser, "createNvOnnxParser_INTERNAL");
    return std::unique_ptr<amis_trt_library>{new amis_trt_library{createBuilder, createRuntime, createParser, version}};
}

// ---- building ---------------------------------------------------------------------------------------------------

template <typename T>
std::unique_ptr<T> owned(T* object, char const* what, amis_trt_status status = AMIS_TRT_BUILD)
{
    if (!object)
    {
        throw Failure{status, std::string{"TensorRT gave no "} + what};
    }
    return std::unique_ptr<T>{object};
}

bool isWeaklyTyped(amis_trt_build_request const& request) noexcept
{
    return AMIS_NEVER_STRONGLY_TYPED || (AMIS_HAS_WEAK_TYPING && request.dla_core >= 0);
}

nvinfer1::NetworkDefinitionCreationFlags networkFlags(amis_trt_build_request const& request) noexcept
{
#if AMIS_ALWAYS_STRONGLY_TYPED
    (void) request;
    return 0;
#elif AMIS_NEVER_STRONGLY_TYPED
    (void) request;
    return 1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
#else
    uint32_t const strong = 1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
    return isWeaklyTyped(request) ? 0 : strong;
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

#if AMIS_HAS_PROGRESS
// Passes the phases of a build on. TensorRT calls from any thread.
class Progress final : public nvinfer1::IProgressMonitor
{
public:
    explicit Progress(amis_trt_sink const& sink)
        : mSink{sink}
    {
    }

    void phaseStart(char const* phase, char const* parent, int32_t steps) noexcept override
    {
        report(phase, [&](Phase& known) { known = {orEmpty(parent), 0, steps}; });
    }

    bool stepComplete(char const* phase, int32_t step) noexcept override
    {
        report(phase, [&](Phase& known) { known.step = step + 1; });
        return true;
    }

    void phaseFinish(char const* phase) noexcept override
    {
        report(phase, [](Phase& known) { known.step = known.steps; });
    }

private:
    struct Phase
    {
        std::string parent;
        int32_t step;
        int32_t steps;
    };

    // A report that finds no memory is left out: it is not worth the build.
    template <typename Change>
    void report(char const* name, Change change) noexcept
    try
    {
        std::lock_guard<std::mutex> const lock{mMutex};
        Phase& phase = mPhases[orEmpty(name)];
        change(phase);
        mSink.progress(mSink.user, orEmpty(name).c_str(), phase.parent.c_str(), phase.step, phase.steps);
    }
    catch (std::bad_alloc const&)
    {
    }

    amis_trt_sink const& mSink;
    std::mutex mMutex;
    std::map<std::string, Phase> mPhases;
};
#endif

void setMemory(nvinfer1::IBuilderConfig& config, amis_trt_build_request const& request)
{
    uint64_t const workspace = request.workspace_bytes != 0 ? request.workspace_bytes : request.memory_bytes;
    if (workspace != 0)
    {
        config.setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, workspace);
    }
#if AMIS_HAS_TACTIC_MEMORY
    if (request.memory_bytes != 0)
    {
        config.setMemoryPoolLimit(nvinfer1::MemoryPoolType::kTACTIC_DRAM, request.memory_bytes);
    }
#endif
}

void setDla(nvinfer1::IBuilder const& builder, nvinfer1::IBuilderConfig& config, amis_trt_build_request const& request)
{
    if (request.dla_core < 0)
    {
        return;
    }
    int32_t const cores = AMIS_IS_RTX ? 0 : builder.getNbDLACores();
    if (request.dla_core >= cores)
    {
        throw Failure{AMIS_TRT_OPTION,
            "DLA core " + std::to_string(request.dla_core) + ": this GPU has " + std::to_string(cores) + " of them"};
    }
    config.setDefaultDeviceType(nvinfer1::DeviceType::kDLA);
    config.setDLACore(request.dla_core);
    config.setFlag(nvinfer1::BuilderFlag::kGPU_FALLBACK);
}

// The profile of a model whose inputs have a dynamic first size: from 1 to max_batch.
void setProfile(nvinfer1::IBuilder& builder, nvinfer1::INetworkDefinition const& network,
    nvinfer1::IBuilderConfig& config, amis_trt_build_request const& request)
{
    nvinfer1::IOptimizationProfile* profile = nullptr; // belongs to the builder
    for (int32_t index = 0; index < network.getNbInputs(); ++index)
    {
        nvinfer1::ITensor const& input = *network.getInput(index);
        auto sizes = input.getDimensions();
        int32_t dynamic = 0;
        for (int32_t axis = 0; axis < sizes.nbDims; ++axis)
        {
            dynamic += sizes.d[axis] < 0 ? 1 : 0;
        }
        if (dynamic == 0)
        {
            continue;
        }
        if (dynamic > 1 || sizes.d[0] >= 0)
        {
            throw Failure{AMIS_TRT_OPTION, "input " + orEmpty(input.getName()) + " has a dynamic size that is no batch"};
        }
        if (request.max_batch <= 0)
        {
            throw Failure{AMIS_TRT_OPTION,
                "input " + orEmpty(input.getName()) + " has a dynamic batch, and no largest one was asked for"};
        }
        profile = profile ? profile : builder.createOptimizationProfile();
        auto const set = [&](nvinfer1::OptProfileSelector selector, int32_t batch) {
            sizes.d[0] = batch;
            return profile && profile->setDimensions(input.getName(), selector, sizes);
        };
        if (!set(nvinfer1::OptProfileSelector::kMIN, 1) || !set(nvinfer1::OptProfileSelector::kOPT, request.max_batch)
            || !set(nvinfer1::OptProfileSelector::kMAX, request.max_batch))
        {
            throw Failure{AMIS_TRT_OPTION, "TensorRT does not take batches from 1 to " + std::to_string(request.max_batch)};
        }
    }
    if (request.max_batch > 0 && !profile)
    {
        throw Failure{AMIS_TRT_OPTION, "a largest batch was asked for, but no input of the model has a dynamic one"};
    }
    if (profile && config.addOptimizationProfile(profile) < 0)
    {
        throw Failure{AMIS_TRT_OPTION, "TensorRT does not take the profile of dynamic batches"};
    }
}

#if AMIS_HAS_WEAK_TYPING
bool isFloat(nvinfer1::ILayer const& layer)
{
    for (int32_t output = 0; output < layer.getNbOutputs(); ++output)
    {
        auto const type = layer.getOutput(output)->getType();
        if (type != nvinfer1::DataType::kFLOAT && type != nvinfer1::DataType::kHALF)
        {
            return false;
        }
    }
    return true;
}

// The parser calls a layer as its node, and further ones of that node NODE_1, NODE_2...
bool isOfNode(std::string const& layer, std::string const& node)
{
    if (layer.compare(0, node.size(), node) != 0)
    {
        return false;
    }
    return layer.size() == node.size()
        || (layer[node.size()] == '_' && layer.find_first_not_of("0123456789", node.size() + 1) == std::string::npos);
}

void keepFloat(nvinfer1::INetworkDefinition const& network, std::string const& node, amis_trt_sink const& sink)
{
    bool found = false;
    for (int32_t index = 0; index < network.getNbLayers(); ++index)
    {
        nvinfer1::ILayer& layer = *network.getLayer(index);
        if (!isOfNode(orEmpty(layer.getName()), node))
        {
            continue;
        }
        found = true;
        if (isFloat(layer))
        {
            layer.setPrecision(nvinfer1::DataType::kFLOAT);
            for (int32_t output = 0; output < layer.getNbOutputs(); ++output)
            {
                layer.setOutputType(output, nvinfer1::DataType::kFLOAT);
            }
        }
    }
    if (!found)
    {
        std::string const text = "no layer is called as node " + node + ", which was to stay float32";
        sink.log(sink.user, static_cast<int32_t>(nvinfer1::ILogger::Severity::kWARNING), text.c_str());
    }
}

// A weakly typed network may use FP32 only unless told otherwise: allow what is asked for, and what the graph holds.
void setTypes(nvinfer1::INetworkDefinition const& network, nvinfer1::IBuilderConfig& config,
    amis_trt_build_request const& request, amis_trt_sink const& sink)
{
    bool half = (request.flags & AMIS_TRT_FP16) != 0;
    bool int8 = (request.flags & AMIS_TRT_INT8) != 0;
    for (int32_t index = 0; index < network.getNbLayers(); ++index)
    {
        nvinfer1::ILayer const& layer = *network.getLayer(index);
        int8 = int8 || layer.getType() == nvinfer1::LayerType::kQUANTIZE;
        for (int32_t output = 0; output < layer.getNbOutputs(); ++output)
        {
            half = half || layer.getOutput(output)->getType() == nvinfer1::DataType::kHALF;
        }
    }
    if (half)
    {
        config.setFlag(nvinfer1::BuilderFlag::kFP16);
    }
    if (int8)
    {
        config.setFlag(nvinfer1::BuilderFlag::kINT8);
    }
    if ((request.flags & AMIS_TRT_OBEY_PRECISION) != 0)
    {
        config.setFlag(nvinfer1::BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
    }
    for (size_t index = 0; index < request.float_node_count; ++index)
    {
        keepFloat(network, orEmpty(request.float_nodes[index]), sink);
    }
}
#endif

#if AMIS_IS_RTX
void refuseTimingCache(amis_trt_build_request const& request)
{
    if (request.timing_cache)
    {
        throw Failure{AMIS_TRT_OPTION, "TensorRT-RTX keeps no timing cache: it builds without trying layers"};
    }
}
#else
// Puts the request's cache into the configuration. One of another GPU or version, or a damaged one, is begun anew:
// that costs time only.
std::unique_ptr<nvinfer1::ITimingCache> setTimingCache(
    nvinfer1::IBuilderConfig& config, amis_trt_build_request const& request, amis_trt_sink const& sink)
{
    if (!request.timing_cache)
    {
        return nullptr;
    }
    std::unique_ptr<nvinfer1::ITimingCache> cache{
        config.createTimingCache(request.timing_cache, request.timing_cache_bytes)};
    if (cache && config.setTimingCache(*cache, false))
    {
        return cache;
    }
    sink.log(sink.user, static_cast<int32_t>(nvinfer1::ILogger::Severity::kWARNING),
        "the timing cache is of another GPU or TensorRT, or damaged; a new one is begun");
    cache = owned(config.createTimingCache(nullptr, 0), "timing cache");
    if (!config.setTimingCache(*cache, false))
    {
        throw Failure{AMIS_TRT_OPTION, "TensorRT does not take a timing cache"};
    }
    return cache;
}
#endif

void build(amis_trt_library const& library, amis_trt_build_request const& request, amis_trt_sink const& sink)
{
    LogScope const scope{sink};
#if AMIS_HAS_PROGRESS
    Progress progress{sink}; // outlives all that TensorRT makes here
#endif
    if (!isWeaklyTyped(request) && (request.flags != 0 || request.float_node_count != 0))
    {
        throw Failure{AMIS_TRT_OPTION, "this graph is for TensorRT 8: from 10 on the graph's own types count"};
    }
    auto const builder = owned(static_cast<nvinfer1::IBuilder*>(library.createBuilder(
                                   &logger(), static_cast<int32_t>(NV_TENSORRT_VERSION))),
        "builder");
    auto const network = owned(builder->createNetworkV2(networkFlags(request)), "network");
    auto const config = owned(builder->createBuilderConfig(), "builder configuration");
    // The network's weights are memory of the parser: it must live until the plan is built.
    auto const parser = owned(static_cast<nvonnxparser::IParser*>(
                                  library.createParser(network.get(), &logger(), NV_ONNX_PARSER_VERSION)),
        "ONNX parser");
    setCapabilities(*config, request);
    setMemory(*config, request);
    setDla(*builder, *config, request);
#if AMIS_IS_RTX
    refuseTimingCache(request);
#else
    auto const cache = setTimingCache(*config, request, sink);
#endif
#if AMIS_HAS_PROGRESS
    config->setProgressMonitor(&progress);
#endif
    parse(*parser, *network, request, sink);
    setProfile(*builder, *network, *config, request);
#if AMIS_HAS_WEAK_TYPING
    if (isWeaklyTyped(request))
    {
        setTypes(*network, *config, request, sink);
    }
#endif
    int32_t const layers = network->getNbLayers();
    auto const plan = owned(builder->buildSerializedNetwork(*network, *config), "plan");
#if !AMIS_IS_RTX
    if (cache)
    {
        auto const bytes = owned(cache->serialize(), "serialized timing cache");
        sink.timing_cache(sink.user, bytes->data(), bytes->size());
    }
#endif
    sink.built(sink.user, plan->data(), plan->size(), layers);
}

// ---- running ----------------------------------------------------------------------------------------------------

std::unique_ptr<amis_trt_engine> deserialize(
    amis_trt_library const& library, void const* plan, size_t plan_bytes, amis_trt_sink const& sink)
{
    LogScope const scope{sink};
    std::unique_ptr<amis_trt_engine> made{new amis_trt_engine};
    made->runtime = owned(static_cast<nvinfer1::IRuntime*>(library.createRuntime(
                              &logger(), static_cast<int32_t>(NV_TENSORRT_VERSION))),
        "runtime", AMIS_TRT_PLAN);
    made->engine = owned(made->runtime->deserializeCudaEngine(plan, plan_bytes), "engine for the plan", AMIS_TRT_PLAN);
    made->context = owned(made->engine->createExecutionContext(), "execution context", AMIS_TRT_PLAN);
    return made;
}

amis_trt_tensor tensorAt(amis_trt_engine const& engine, int32_t index)
{
    if (index < 0 || index >= engine.engine->getNbIOTensors())
    {
        throw Failure{AMIS_TRT_ARGUMENT, "the engine has no tensor " + std::to_string(index)};
    }
    char const* const name = engine.engine->getIOTensorName(index);
    auto const sizes = engine.context->getTensorShape(name);
    if (sizes.nbDims < 0 || sizes.nbDims > AMIS_TRT_MAX_RANK)
    {
        throw Failure{AMIS_TRT_RUN, "tensor " + orEmpty(name) + " has no usable shape"};
    }
    amis_trt_tensor tensor{};
    tensor.name = name;
    tensor.is_input = engine.engine->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT ? 1 : 0;
    tensor.type = static_cast<int32_t>(engine.engine->getTensorDataType(name));
    tensor.rank = sizes.nbDims;
    for (int32_t axis = 0; axis < sizes.nbDims; ++axis)
    {
        tensor.sizes[axis] = sizes.d[axis];
    }
    return tensor;
}

void setSizes(amis_trt_engine& engine, char const* name, int64_t const* sizes, int32_t rank, amis_trt_sink const& sink)
{
    LogScope const scope{sink};
    nvinfer1::Dims shape{};
    shape.nbDims = rank;
    for (int32_t axis = 0; axis < rank; ++axis)
    {
        shape.d[axis] = static_cast<std::remove_reference_t<decltype(shape.d[0])>>(sizes[axis]);
    }
    if (!engine.context->setInputShape(name, shape))
    {
        throw Failure{AMIS_TRT_RUN, "input " + orEmpty(name) + " does not take this shape"};
    }
}

void bind(amis_trt_engine& engine, char const* name, void* address, amis_trt_sink const& sink)
{
    LogScope const scope{sink};
    if (!engine.context->setTensorAddress(name, address))
    {
        throw Failure{AMIS_TRT_RUN, "tensor " + orEmpty(name) + " does not take this address"};
    }
}

void enqueue(amis_trt_engine& engine, void* stream, amis_trt_sink const& sink)
{
    LogScope const scope{sink};
    if (!engine.context->enqueueV3(static_cast<cudaStream_t>(stream)))
    {
        throw Failure{AMIS_TRT_RUN, "TensorRT did not enqueue the engine"};
    }
}

class LayerTimes final : public nvinfer1::IProfiler
{
public:
    explicit LayerTimes(amis_trt_sink const& sink)
        : mSink{sink}
    {
    }

    void reportLayerTime(char const* layer, float milliseconds) noexcept override
    {
        mSink.layer_time(mSink.user, layer ? layer : "", milliseconds);
    }

private:
    amis_trt_sink const& mSink;
};

void timeLayers(amis_trt_engine& engine, void* stream, amis_trt_sink const& sink)
{
    LogScope const scope{sink};
    LayerTimes times{sink};
    engine.context->setProfiler(&times);
    // With a profiler TensorRT waits for the layers and reports before it returns.
    bool const done = engine.context->enqueueV3(static_cast<cudaStream_t>(stream));
    engine.context->setProfiler(nullptr);
    if (!done)
    {
        throw Failure{AMIS_TRT_RUN, "TensorRT did not enqueue the engine"};
    }
}

void inspect(amis_trt_engine const& engine, amis_trt_sink const& sink)
{
    LogScope const scope{sink};
    auto const inspector = owned(engine.engine->createEngineInspector(), "engine inspector", AMIS_TRT_RUN);
    inspector->setExecutionContext(engine.context.get());
    std::string const json = orEmpty(inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON));
    sink.inspected(sink.user, json.c_str());
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
        || (request->capability_count != 0 && !request->capabilities)
        || (request->float_node_count != 0 && !request->float_nodes))
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { build(*library, *request, *sink); });
}

int32_t amis_trt_deserialize(amis_trt_library const* library, void const* plan, size_t plan_bytes,
    amis_trt_sink const* sink, amis_trt_engine** out)
{
    if (!isComplete(sink) || !library || !plan || !out)
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { *out = deserialize(*library, plan, plan_bytes, *sink).release(); });
}

int32_t amis_trt_tensor_count(amis_trt_engine const* engine)
{
    return engine->engine->getNbIOTensors();
}

int32_t amis_trt_tensor_at(
    amis_trt_engine const* engine, int32_t index, amis_trt_sink const* sink, amis_trt_tensor* out)
{
    if (!isComplete(sink) || !engine || !out)
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { *out = tensorAt(*engine, index); });
}

int32_t amis_trt_set_sizes(
    amis_trt_engine* engine, char const* name, int64_t const* sizes, int32_t rank, amis_trt_sink const* sink)
{
    if (!isComplete(sink) || !engine || !name || !sizes || rank < 0 || rank > AMIS_TRT_MAX_RANK)
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { setSizes(*engine, name, sizes, rank, *sink); });
}

int32_t amis_trt_bind(amis_trt_engine* engine, char const* name, void* address, amis_trt_sink const* sink)
{
    if (!isComplete(sink) || !engine || !name)
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { bind(*engine, name, address, *sink); });
}

int32_t amis_trt_enqueue(amis_trt_engine* engine, void* stream, amis_trt_sink const* sink)
{
    if (!isComplete(sink) || !engine)
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { enqueue(*engine, stream, *sink); });
}

int32_t amis_trt_time_layers(amis_trt_engine* engine, void* stream, amis_trt_sink const* sink)
{
    if (!isComplete(sink) || !engine)
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { timeLayers(*engine, stream, *sink); });
}

int32_t amis_trt_inspect(amis_trt_engine const* engine, amis_trt_sink const* sink)
{
    if (!isComplete(sink) || !engine)
    {
        return AMIS_TRT_ARGUMENT;
    }
    return guarded(*sink, [&] { inspect(*engine, *sink); });
}

void amis_trt_close_engine(amis_trt_engine* engine)
{
    delete engine;
}

void amis_trt_close(amis_trt_library* library)
{
    delete library;
}
