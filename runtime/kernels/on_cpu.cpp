// The kernels as functions that do the work of all their threads. Compiled and called by the tests.
#include "on_cpu.h"

#include "frame.cuh"

#include "preprocess.cu"

#include "class_map.cu"

#include "uncertainty.cu"

#include "overlay.cu"

#define FOR_EACH(columns, rows, call)                                 \
    for (blockIdx.y = 0; blockIdx.y < (unsigned)(rows); blockIdx.y++) \
        for (blockIdx.x = 0; blockIdx.x < (unsigned)(columns); blockIdx.x++) call

// One more column and row than there are: threads outside must do nothing.
extern "C" void all_preprocess(Frame frame, const u8* bytes, Input input, const int* first_x, const float* weights_x, const int* first_y,
                               const float* weights_y, const float* table, float* out) {
    FOR_EACH(input.width + 1, input.height + 1, preprocess(frame, bytes, input, first_x, weights_x, first_y, weights_y, table, out));
}

extern "C" void all_class_map(const float* masks, int classes, int h, int w, const int* low_y, const float* weight_y, const int* low_x,
                              const float* weight_x, int width, int height, u8* map, int* broken) {
    FOR_EACH(width + 1, height + 1, class_map(masks, classes, h, w, low_y, weight_y, low_x, weight_x, width, height, map, broken));
}

extern "C" void all_uncertainty(const float* masks, int classes, int positions, float* entropy) {
    FOR_EACH(positions + 1, 1, uncertainty(masks, classes, positions, entropy));
}

extern "C" void all_overlay(Frame frame, const u8* bytes, const u8* map, const Ink* inks, int stride, u8* picture) {
    FOR_EACH(frame.width + 1, frame.height + 1, overlay(frame, bytes, map, inks, stride, picture));
}

extern "C" void all_count_classes(const u8* map, int width, int height, unsigned* counts) {
    FOR_EACH(height + 1, 1, count_classes(map, width, height, counts));
}
