// Building a plan of an ONNX model.

#include "common.h"

#include <NvOnnxParser.h>

#include <map>

using namespace shim;

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

namespace
{

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

void keepFloat(nvinfer1::INetworkDefinition const& network, std::string const& node)
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
        logger().log(nvinfer1::ILogger::Severity::kWARNING, text.c_str());
    }
}

// A weakly typed network may use FP32 only unless told otherwise: allow what is asked for, and what the graph holds.
void setTypes(nvinfer1::INetworkDefinition const& network, nvinfer1::IBuilderConfig& config,
    amis_trt_build_request const& request)
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
        keepFloat(network, orEmpty(request.float_nodes[index]));
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
    nvinfer1::IBuilderConfig& config, amis_trt_build_request const& request)
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
    logger().log(nvinfer1::ILogger::Severity::kWARNING,
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
    auto const cache = setTimingCache(*config, request);
#endif
#if AMIS_HAS_PROGRESS
    config->setProgressMonitor(&progress);
#endif
    parse(*parser, *network, request, sink);
    setProfile(*builder, *network, *config, request);
#if AMIS_HAS_WEAK_TYPING
    if (isWeaklyTyped(request))
    {
        setTypes(*network, *config, request);
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

} // namespace

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
