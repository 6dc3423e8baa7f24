// What the parts of the shim share: the opened libraries, failures, and TensorRT's log. See amis_trt.h for the interface and its rules.
#ifndef AMIS_TRT_COMMON_H
#define AMIS_TRT_COMMON_H

#include "amis_trt.h"

#include <NvInfer.h>

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

using CreateBuilder = void* (*) (void* logger, int32_t version);
using CreateRuntime = void* (*) (void* logger, int32_t version);
using CreateParser = void* (*) (void* network, void* logger, int version);

struct amis_trt_library
{
    CreateBuilder createBuilder;
    CreateRuntime createRuntime;
    CreateParser createParser;
    amis_trt_version version;
};

namespace shim
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

inline bool isComplete(amis_trt_sink const* sink) noexcept
{
    return sink && sink->log && sink->fail && sink->parser_error && sink->progress && sink->timing_cache && sink->built
        && sink->inspected && sink->layer_time;
}

inline std::string orEmpty(char const* text)
{
    return text ? text : "";
}

template <typename T>
std::unique_ptr<T> owned(T* object, char const* what, amis_trt_status status = AMIS_TRT_BUILD)
{
    if (!object)
    {
        throw Failure{status, std::string{"TensorRT gave no "} + what};
    }
    return std::unique_ptr<T>{object};
}

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

Logger& logger();

// Holds the log for one call; another one waits here.
class LogScope
{
public:
    explicit LogScope(amis_trt_sink const& sink);
    ~LogScope();

    LogScope(LogScope const&) = delete;
    LogScope& operator=(LogScope const&) = delete;

private:
    std::lock_guard<std::mutex> mTurn;
};

} // namespace shim

#endif
