// Masks [classes, h, w] to class ids at the frame's size: bilinear interpolation and argmax in one pass. The reference is
// `amis_runtime::class_map`, with the same operations in the same order.

__device__ inline float interpolate(float weight, float low, float high) {
    return (1.0f - weight) * low + weight * high;
}

// One thread a pixel of the map [height, width]. `low_*` holds for every row (column) the position before it, or -1 where the network has not
// seen the frame, `weight_*` the share of the position behind it. A value that is not finite sets `broken`.
extern "C" __global__ void class_map(const float* masks, int classes, int h, int w, const int* low_y, const float* weight_y, const int* low_x,
                                     const float* weight_x, int width, int height, u8* map, int* broken) {
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    int x0 = low_x[x], y0 = low_y[y];
    if (x0 < 0 || y0 < 0) {
        map[(size_t)y * width + x] = 255;
        return;
    }
    int x1 = x0 + 1 < w ? x0 + 1 : w - 1, y1 = y0 + 1 < h ? y0 + 1 : h - 1;
    float wx = weight_x[x], wy = weight_y[y];
    float best = 0.0f;
    int winner = -1;
    for (int c = 0; c < classes; c++) {
        const float* plane = masks + (size_t)c * h * w;
        float low = interpolate(wy, plane[(size_t)y0 * w + x0], plane[(size_t)y1 * w + x0]);
        float high = interpolate(wy, plane[(size_t)y0 * w + x1], plane[(size_t)y1 * w + x1]);
        float value = interpolate(wx, low, high);
        // What is not finite gives no difference of 0 to itself.
        if (!(value - value == 0.0f)) *broken = 1;
        if (winner < 0 || value > best) {
            best = value;
            winner = c;
        }
    }
    map[(size_t)y * width + x] = (u8)winner;
}
