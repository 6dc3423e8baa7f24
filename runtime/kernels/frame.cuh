// A frame as a camera delivers it, read as RGB. All other files here come behind this one in a single source.
//
// The same source is compiled by NVRTC for a GPU and by a C++ compiler for the tests (on_cpu.h); products and sums must not be
// contracted (NVRTC: --fmad=false, g++: -ffp-contract=off), so that both count as the Rust code does.

typedef unsigned char u8;

// How pixels are stored: the numbers of `PixelFormat` in src/pixels/layout.rs.
enum { YUYV, UYVY, NV12, NV21, YU12, RGB24, BGR24, GREY };

// `FrameLayout` in src/kernels/layout.rs.
struct Frame {
    int format;
    int width, height;
    // Bytes from row to row, of the first plane and of the others.
    int stride, chroma_stride;
    // Bytes from the frame's start to its second and third plane.
    int chroma[2];
    // level = (value - black) * gain, and what a step of chroma adds to red, green and blue.
    float black, gain;
    float red_v, green_u, green_v, blue_u;
};

struct Rgb {
    int r, g, b;
};

__device__ inline int to_byte(float level) {
    return level <= 0.0f ? 0 : level >= 255.0f ? 255 : (int)(level + 0.5f);
}

// The pixel in column x of row y.
__device__ inline Rgb read_rgb(const Frame& f, const u8* bytes, int x, int y) {
    const u8* row = bytes + (size_t)y * f.stride;
    if (f.format == RGB24 || f.format == BGR24) {
        const u8* pixel = row + 3 * (size_t)x;
        int red = f.format == RGB24 ? 0 : 2;
        Rgb rgb = {to_byte((pixel[red] - f.black) * f.gain), to_byte((pixel[1] - f.black) * f.gain), to_byte((pixel[2 - red] - f.black) * f.gain)};
        return rgb;
    }
    int luma, u = 128, v = 128;
    if (f.format == YUYV || f.format == UYVY) {
        const u8* pair = row + 4 * (size_t)(x / 2);
        int first = f.format == YUYV ? 0 : 1;
        luma = pair[first + 2 * (x & 1)];
        u = pair[1 - first];
        v = pair[3 - first];
    } else {
        luma = row[x];
        size_t chroma_row = (size_t)(y / 2) * f.chroma_stride;
        if (f.format == NV12 || f.format == NV21) {
            const u8* pair = bytes + f.chroma[0] + chroma_row + 2 * (size_t)(x / 2);
            int swap = f.format == NV12 ? 0 : 1;
            u = pair[swap];
            v = pair[1 - swap];
        } else if (f.format == YU12) {
            u = bytes[f.chroma[0] + chroma_row + x / 2];
            v = bytes[f.chroma[1] + chroma_row + x / 2];
        }
    }
    float level = (luma - f.black) * f.gain;
    float cu = u - 128, cv = v - 128;
    Rgb rgb = {to_byte(level + f.red_v * cv), to_byte(level + f.green_u * cu + f.green_v * cv), to_byte(level + f.blue_u * cu)};
    return rgb;
}
