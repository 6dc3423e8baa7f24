// Asks the real TensorRT, through the shim, to make a plan ready to run: FOLDER-OF-LIBRARIES TENSORRT PARSER PLAN.
// Prints what it said, and on a machine with a GPU the tensors and what the inspector knows.

#include "amis_trt.h"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

int main(int, char** arguments)
{
    amis_trt_sink sink{};
    sink.log = [](void*, int32_t severity, char const* text) {
        if (severity < 2)
        {
            std::printf("log %s\n", text);
        }
    };
    sink.fail = [](void*, char const* text) { std::printf("fail %s\n", text); };
    sink.parser_error = [](void*, amis_trt_parser_error const*) {};
    sink.progress = [](void*, char const*, char const*, int32_t, int32_t) {};
    sink.timing_cache = [](void*, void const*, size_t) {};
    sink.built = [](void*, void const*, size_t, int32_t) {};
    sink.inspected = [](void*, char const* json) { std::printf("inspected %s\n", json); };
    sink.layer_time = [](void*, char const*, float) {};

    std::string const folder = std::string(arguments[1]) + "/";
    amis_trt_library* library = nullptr;
    std::printf("open %d\n", amis_trt_open((folder + arguments[2]).c_str(), (folder + arguments[3]).c_str(), &sink, &library));

    std::ifstream file(arguments[4], std::ios::binary);
    std::string const plan{std::istreambuf_iterator<char>(file), {}};
    for (size_t const bytes : {plan.size(), plan.size() / 2, size_t{0}})
    {
        amis_trt_engine* engine = nullptr;
        std::printf("deserialize %d\n", amis_trt_deserialize(library, plan.data(), bytes, &sink, &engine));
        for (int32_t index = 0; engine && index < amis_trt_tensor_count(engine); ++index)
        {
            amis_trt_tensor tensor{};
            amis_trt_tensor_at(engine, index, &sink, &tensor);
            std::printf("tensor %s input %d type %d rank %d\n", tensor.name, tensor.is_input, tensor.type, tensor.rank);
        }
        if (engine)
        {
            amis_trt_inspect(engine, &sink);
        }
        amis_trt_close_engine(engine);
    }
    amis_trt_close(library);
}
