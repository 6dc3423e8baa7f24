// Frame to network input: colours, resize and normalisation in one pass. The reference is `amis_artifacts::preprocess`.

// `InputLayout` in src/kernels/layout.rs.
struct Input {
    int width, height;
    // Weights a column and a row have in their tables.
    int taps_x, taps_y;
    // Colour where the frame does not reach, in RGB.
    int fill[3];
    // Whether the planes are blue, green, red.
    int bgr;
};

__device__ inline float normalized(const float* table, int channel, int level) {
    return table[256 * channel + level];
}

// One thread a pixel of the input [3, height, width]. `first_*` holds for every column (row) of the input the first pixel of the frame that
// counts, or -1 outside the frame, `weights_*` the weights of that pixel and of those behind it. `table` [3, 256] holds the value of every
// level, by plane of the input.
extern "C" __global__ void preprocess(Frame frame, const u8* bytes, Input input, const int* first_x, const float* weights_x, const int* first_y,
                                      const float* weights_y, const float* table, float* out) {
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= input.width || y >= input.height) return;
    int left = first_x[x], top = first_y[y];
    int level[3] = {input.fill[0], input.fill[1], input.fill[2]};
    if (left >= 0 && top >= 0) {
        float sum[3] = {0.0f, 0.0f, 0.0f};
        for (int j = 0; j < input.taps_y && top + j < frame.height; j++) {
            float weight_y = weights_y[(size_t)y * input.taps_y + j];
            if (weight_y == 0.0f) continue;
            for (int i = 0; i < input.taps_x && left + i < frame.width; i++) {
                float weight = weights_x[(size_t)x * input.taps_x + i] * weight_y;
                if (weight == 0.0f) continue;
                Rgb rgb = read_rgb(frame, bytes, left + i, top + j);
                sum[0] += weight * rgb.r;
                sum[1] += weight * rgb.g;
                sum[2] += weight * rgb.b;
            }
        }
        for (int c = 0; c < 3; c++) level[c] = to_byte(sum[c]);
    }
    size_t plane = (size_t)input.width * input.height, at = (size_t)y * input.width + x;
    for (int c = 0; c < 3; c++) out[c * plane + at] = normalized(table, c, level[input.bgr ? 2 - c : c]);
}
