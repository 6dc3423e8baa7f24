// Class colours and borders over the frame, and the pixels of every class for the legend. The reference is `amis_runtime::overlay`.

enum { BACKGROUND = 0, IGNORE = 255, HATCH_PX = 4 };

// `Ink` in src/kernels/layout.rs: pixels of a class become (frame * keep + add) / 256.
struct Ink {
    int keep;
    int add[3];
    u8 border[4];
};

// One thread a pixel. `picture` has `stride` pixels a row: the legend may stand beside the frame.
extern "C" __global__ void overlay(Frame frame, const u8* bytes, const u8* map, const Ink* inks, int stride, u8* picture) {
    int x = blockIdx.x * blockDim.x + threadIdx.x;
    int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= frame.width || y >= frame.height) return;
    size_t at = (size_t)y * frame.width + x;
    int id = map[at];
    // The line between two classes; against background it has the colour of what it surrounds.
    int other = y + 1 < frame.height && map[at + frame.width] != id ? map[at + frame.width] : x + 1 < frame.width ? map[at + 1] : id;
    u8* out = picture + 3 * ((size_t)y * stride + x);
    if (other != id) {
        const Ink& ink = inks[id == BACKGROUND ? other : id];
        for (int c = 0; c < 3; c++) out[c] = ink.border[c];
        return;
    }
    Rgb rgb = read_rgb(frame, bytes, x, y);
    int level[3] = {rgb.r, rgb.g, rgb.b};
    bool plain = id == IGNORE && (x / HATCH_PX + y / HATCH_PX) % 2 == 0;
    const Ink& ink = inks[id];
    for (int c = 0; c < 3; c++) out[c] = (u8)(plain ? level[c] : (level[c] * ink.keep + ink.add[c]) >> 8);
}

// One thread a row of the map: neighbours mostly have the same class, and a run of them is counted at once.
extern "C" __global__ void count_classes(const u8* map, int width, int height, unsigned* counts) {
    int y = blockIdx.x * blockDim.x + threadIdx.x;
    if (y >= height) return;
    const u8* row = map + (size_t)y * width;
    for (int start = 0; start < width;) {
        int end = start + 1;
        while (end < width && row[end] == row[start]) end++;
        atomicAdd(&counts[row[start]], (unsigned)(end - start));
        start = end;
    }
}
