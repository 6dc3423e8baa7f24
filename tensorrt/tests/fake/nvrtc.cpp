// A stand-in for NVRTC, in the same library: it takes a source that has the kernels, and gives what the fake driver takes as machine code.

#include "amis_trt.h"

#include <cstring>
#include <string>

namespace
{

constexpr char kCODE[] = "\x7f" "ELF of the fake NVRTC";

} // namespace

extern "C" {

AMIS_TRT_EXPORT int nvrtcVersion(int* major, int* minor)
{
    *major = 12;
    *minor = 6;
    return 0;
}

AMIS_TRT_EXPORT int nvrtcCreateProgram(void** program, char const* source, char const*, int, char const* const*, char const* const*)
{
    *program = new std::string(source);
    return 0;
}

// 6: NVRTC_ERROR_COMPILATION
AMIS_TRT_EXPORT int nvrtcCompileProgram(void* program, int count, char const* const* options)
{
    bool const hasKernels = static_cast<std::string*>(program)->find("__global__ void preprocess(") != std::string::npos;
    return hasKernels && count > 0 && !std::strcmp(options[0], "--gpu-architecture=sm_87") ? 0 : 6;
}

AMIS_TRT_EXPORT int nvrtcGetProgramLogSize(void*, size_t* bytes)
{
    *bytes = 1;
    return 0;
}

AMIS_TRT_EXPORT int nvrtcGetProgramLog(void*, char* log)
{
    *log = 0;
    return 0;
}

AMIS_TRT_EXPORT int nvrtcGetCUBINSize(void*, size_t* bytes)
{
    *bytes = sizeof(kCODE);
    return 0;
}

AMIS_TRT_EXPORT int nvrtcGetCUBIN(void*, char* code)
{
    std::memcpy(code, kCODE, sizeof(kCODE));
    return 0;
}

AMIS_TRT_EXPORT char const* nvrtcGetErrorString(int)
{
    return "NVRTC_ERROR_COMPILATION";
}

AMIS_TRT_EXPORT int nvrtcDestroyProgram(void** program)
{
    delete static_cast<std::string*>(*program);
    *program = nullptr;
    return 0;
}
}
