/*
 * C interface of the TensorRT shim: what `amis-tensorrt` (Rust) knows of NVIDIA's C++ library.
 *
 * The shim is compiled against the NvInfer headers of one TensorRT and opens that TensorRT with dlopen, so one Rust
 * binary serves machines with different TensorRT versions and machines with none.
 *
 * Rules: no C++ exception leaves a function; calls in which TensorRT works take turns, so that each gets its own log;
 * texts are NUL-terminated, belong to the shim and are valid during the call that hands them out only; every number here
 * is part of the ABI and AMIS_TRT_ABI changes with it.
 */
#ifndef AMIS_TRT_H
#define AMIS_TRT_H

#include <stddef.h>
#include <stdint.h>

#define AMIS_TRT_ABI 3
#define AMIS_TRT_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

enum amis_trt_status {
    AMIS_TRT_OK = 0,
    AMIS_TRT_ARGUMENT = 1,  /* the caller broke this interface's rules */
    AMIS_TRT_LOAD = 2,      /* dlopen of a library failed */
    AMIS_TRT_FOREIGN = 3,   /* a library is loadable but is not what was asked for */
    AMIS_TRT_VERSION = 4,   /* TensorRT of a version that these headers do not serve */
    AMIS_TRT_OPTION = 5,    /* TensorRT does not take a build option */
    AMIS_TRT_MODEL = 6,     /* the ONNX parser refused the model; see amis_trt_sink.parser_error */
    AMIS_TRT_BUILD = 7,     /* TensorRT gave no builder, network or plan; its log says why */
    AMIS_TRT_INTERNAL = 8,  /* out of memory, or an exception that nothing else explains */
    AMIS_TRT_PLAN = 9,      /* TensorRT does not take a plan, or has no room for it; its log says why */
    AMIS_TRT_RUN = 10       /* TensorRT does not run an engine: a shape, an address, the work itself */
};

enum amis_trt_flavor { AMIS_TRT_ENTERPRISE = 0, AMIS_TRT_RTX = 1 };

typedef struct amis_trt_version {
    int32_t flavor; /* enum amis_trt_flavor */
    int32_t major;
    int32_t minor;
    int32_t patch;
} amis_trt_version;

/* One refusal of the ONNX parser. `node` and `op` are empty where the error concerns no node, or TensorRT is older
 * than 9 and does not say; `node_index` is the position in the graph, or -1. */
typedef struct amis_trt_parser_error {
    int32_t code; /* nvonnxparser::ErrorCode */
    int32_t node_index;
    char const* node;
    char const* op;
    char const* description;
} amis_trt_parser_error;

/* Receives everything that a function says. All members are required. */
typedef struct amis_trt_sink {
    void* user; /* handed back in every call */
    /* A line of TensorRT's log; severity 0 (internal error) to 4 (verbose). Called from any thread, one at a time. */
    void (*log)(void* user, int32_t severity, char const* text);
    /* Why the function fails. Called at most once, before it returns a status other than AMIS_TRT_OK. */
    void (*fail)(void* user, char const* text);
    void (*parser_error)(void* user, amis_trt_parser_error const* error);
    /* `step` of `steps` of a phase of the build is done; 0 when it begins, `steps` when it ends. `parent` is the phase
     * that it is part of, or empty. Called from any thread, one at a time; by TensorRT 10 and later. */
    void (*progress)(void* user, char const* phase, char const* parent, int32_t step, int32_t steps);
    /* The timing cache after the build, valid during the call, where the request had one. Called before `built`. */
    void (*timing_cache)(void* user, void const* cache, size_t cache_bytes);
    /* The finished plan, valid during the call, and the number of layers of the network that the parser made. */
    void (*built)(void* user, void const* plan, size_t plan_bytes, int32_t layers);
    /* What TensorRT made of an engine's layers, as JSON. */
    void (*inspected)(void* user, char const* json);
    /* How long a layer of an engine took. */
    void (*layer_time)(void* user, char const* layer, float milliseconds);
} amis_trt_sink;

/* What a weakly typed network may be lowered to; its graph does not say it. */
enum amis_trt_flag { AMIS_TRT_FP16 = 1, AMIS_TRT_INT8 = 2, AMIS_TRT_OBEY_PRECISION = 4 };

typedef struct amis_trt_build_request {
    void const* model; /* a serialized onnx.ModelProto */
    size_t model_bytes;
    /* Ten times the compute capability (86 for 8.6); none: TensorRT's own choice. For TensorRT-RTX only. */
    int32_t const* capabilities;
    size_t capability_count;
    uint64_t workspace_bytes; /* limit of the scratch memory of a layer; 0: as memory_bytes */
    uint64_t memory_bytes;    /* limit of what the builder takes to try layers; 0: TensorRT's own default */
    /* Inputs whose first size is dynamic take batches from 1 to max_batch, and this one best. 0: no size is dynamic. */
    int32_t max_batch;
    int32_t dla_core; /* the layers that it can run go to this DLA core, the others to the GPU; -1: all to the GPU */
    uint32_t flags;   /* enum amis_trt_flag; for weakly typed networks only */
    char const* const* float_nodes; /* nodes whose layers stay float32; for weakly typed networks only */
    size_t float_node_count;
    void const* timing_cache; /* of an earlier build; NULL: none is kept; no bytes: a new one is begun */
    size_t timing_cache_bytes;
} amis_trt_build_request;

/* An opened TensorRT with its ONNX parser. */
typedef struct amis_trt_library amis_trt_library;

/* Ask this first: nothing else may be called when it is not the AMIS_TRT_ABI that the caller was written for. */
AMIS_TRT_EXPORT uint32_t amis_trt_abi(void);

/* The TensorRT whose headers the shim was compiled against. */
AMIS_TRT_EXPORT void amis_trt_headers(amis_trt_version* out);

/* Compute capabilities (times ten) that can be asked for; returns their number, and the static array in `out`. */
AMIS_TRT_EXPORT size_t amis_trt_capabilities(int32_t const** out);

/* Opens TensorRT and its ONNX parser; each is a path, or a file name that the loader looks for. */
AMIS_TRT_EXPORT int32_t amis_trt_open(
    char const* tensorrt, char const* parser, amis_trt_sink const* sink, amis_trt_library** out);

AMIS_TRT_EXPORT void amis_trt_library_version(amis_trt_library const* library, amis_trt_version* out);

/* Parses an ONNX model and builds a plan. */
AMIS_TRT_EXPORT int32_t amis_trt_build(
    amis_trt_library const* library, amis_trt_build_request const* request, amis_trt_sink const* sink);

/* ---- running. An engine has one context and belongs to one thread at a time; the CUDA context of its GPU must be
 * current in every call. ---- */

#define AMIS_TRT_MAX_RANK 8

typedef struct amis_trt_tensor {
    char const* name; /* valid as long as the engine */
    int32_t is_input;
    int32_t type; /* nvinfer1::DataType: 0 float32, 1 float16, 2 int8, 3 int32 ... */
    int32_t rank;
    int64_t sizes[AMIS_TRT_MAX_RANK]; /* -1: dynamic, and not set yet */
} amis_trt_tensor;

/* A plan that was made ready to run, with its context. */
typedef struct amis_trt_engine amis_trt_engine;

/* Makes a plan ready to run. It must come from this TensorRT: the bytes are trusted. */
AMIS_TRT_EXPORT int32_t amis_trt_deserialize(amis_trt_library const* library, void const* plan, size_t plan_bytes,
    amis_trt_sink const* sink, amis_trt_engine** out);

AMIS_TRT_EXPORT int32_t amis_trt_tensor_count(amis_trt_engine const* engine);

/* Input or output number `index` of the engine, with the sizes that follow from the inputs' sizes set so far. */
AMIS_TRT_EXPORT int32_t amis_trt_tensor_at(
    amis_trt_engine const* engine, int32_t index, amis_trt_sink const* sink, amis_trt_tensor* out);

/* Sets the sizes of an input that has dynamic ones. */
AMIS_TRT_EXPORT int32_t amis_trt_set_sizes(
    amis_trt_engine* engine, char const* name, int64_t const* sizes, int32_t rank, amis_trt_sink const* sink);

/* Says where an input or output lies in the GPU's memory. */
AMIS_TRT_EXPORT int32_t amis_trt_bind(
    amis_trt_engine* engine, char const* name, void* address, amis_trt_sink const* sink);

/* Puts the engine's work on a stream (CUstream) and returns; while the stream is captured, into the CUDA graph. */
AMIS_TRT_EXPORT int32_t amis_trt_enqueue(amis_trt_engine* engine, void* stream, amis_trt_sink const* sink);

/* Runs the engine once and gives the time of every layer to the sink; waits for the end. */
AMIS_TRT_EXPORT int32_t amis_trt_time_layers(amis_trt_engine* engine, void* stream, amis_trt_sink const* sink);

AMIS_TRT_EXPORT int32_t amis_trt_inspect(amis_trt_engine const* engine, amis_trt_sink const* sink);

/* NULL is allowed. */
AMIS_TRT_EXPORT void amis_trt_close_engine(amis_trt_engine* engine);

/* Frees the handle. TensorRT itself stays loaded until the process ends. NULL is allowed. */
AMIS_TRT_EXPORT void amis_trt_close(amis_trt_library* library);

#ifdef __cplusplus
}
#endif

#endif
