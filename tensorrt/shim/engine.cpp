// Running a plan.

#include "common.h"

#include <type_traits>

using namespace shim;

struct amis_trt_engine
{
    // In this order: each is made by the one before it and must go first.
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::unique_ptr<nvinfer1::IExecutionContext> context;
};

namespace
{

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
