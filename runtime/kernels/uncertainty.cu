// How unsure the network is: the entropy of its probabilities. The reference is `entropy` in src/model.rs.

// One thread a position of the masks [classes, positions]. With e = exp(value - largest) the entropy is ln(sum e) - sum(e * ln e) / sum(e).
extern "C" __global__ void uncertainty(const float* masks, int classes, int positions, float* entropy) {
    int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= positions) return;
    const float* values = masks + at;
    float largest = values[0];
    for (int c = 1; c < classes; c++) {
        float value = values[(size_t)c * positions];
        if (value > largest) largest = value;
    }
    float sum = 0.0f, weighted = 0.0f;
    for (int c = 0; c < classes; c++) {
        float below = values[(size_t)c * positions] - largest;
        float e = expf(below);
        sum += e;
        weighted += e * below;
    }
    entropy[at] = logf(sum) - weighted / sum;
}
