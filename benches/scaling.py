"""What several GPUs would bring, on paper: prints the tables of docs/scaling.md.

    python3 benches/scaling.py
"""

WIDTHS = {"vit_tiny": 192, "vit_small": 384, "vit_base": 768}
BLOCKS, DECODER_BLOCKS, PATCH, SIDE, CLASSES = 12, 2, 16, 512, 21
TOKENS = (SIDE // PATCH) ** 2
PER_GPU = 4  # images
# An assumption, not a measurement: a third of the 312 TFLOP/s in bf16 that NVIDIA states for the A100.
FLOPS = 312e12 / 3
# Bytes a second one way: NVLink of the A100, PCIe 4.0 x16, and networks of 400, 100 and 25 Gbit/s, as their makers state them.
LINKS = {"NVLink": 300e9, "PCIe 4": 31.5e9, "400 Gbit/s": 50e9, "100 Gbit/s": 12.5e9, "25 Gbit/s": 3.125e9}


def parameters(d):
    block = 12 * d * d + 13 * d
    encoder = 3 * PATCH * PATCH * d + d + d + (1 + TOKENS) * d + BLOCKS * block + 2 * d
    gab = 2 * d + 3 * d * d + 2 * d * (d // 4) + d // 4 + d + d + 1 + d
    decoder = d * d + d + gab + DECODER_BLOCKS * block + 2 * d + 2 * d * d + CLASSES * (d + 2)
    return encoder + decoder


def forward_flops(d):
    """Of one image: products of the Linear layers and of attention."""
    blocks = BLOCKS * (1 + TOKENS) * (24 * d * d + 4 * (1 + TOKENS) * d)
    tokens = TOKENS + CLASSES
    return blocks + DECODER_BLOCKS * tokens * (24 * d * d + 4 * tokens * d) + TOKENS * (2 * 3 * PATCH * PATCH * d + 4 * d * d)


def main():
    print("| backbone | parameters, million | gradients, MB | step of one GPU, GFLOP | step, ms (assumed rate) |\n| --- | --- | --- | --- | --- |")
    steps = {}
    for name, d in WIDTHS.items():
        # Old network forward, new one forward and backward (twice the forward).
        flops = 4 * forward_flops(d) * PER_GPU
        steps[name] = flops / FLOPS
        print(f"| {name} | {parameters(d) / 1e6:.1f} | {4 * parameters(d) / 1e6:.0f} | {flops / 1e9:.0f} | {1e3 * steps[name]:.1f} |")
    for gpus in (8, 64):
        print(f"\n{gpus} GPUs: milliseconds for the sum, in brackets how many times the images a second of one GPU\n")
        print("| backbone | " + " | ".join(LINKS) + " |\n| --- |" + " --- |" * len(LINKS))
        for name, d in WIDTHS.items():
            sums = [2 * (gpus - 1) / gpus * 4 * parameters(d) / rate for rate in LINKS.values()]
            print(f"| {name} | " + " | ".join(f"{1e3 * s:.1f} ({gpus * steps[name] / (steps[name] + s):.1f})" for s in sums) + " |")


if __name__ == "__main__":
    main()
