"""The training transform as it is written with PIL and torchvision, on one core: the peer of data/benches/loading.rs.

    python benches/pil_pipeline.py FOLDER [--repeat N]

FOLDER has images/NAME.jpg and labels/NAME.png. Each pair is read, decoded, scaled so that its shorter side is the crop's
times a random factor of 0.5 to 2, padded and cropped to 512 x 512 at random, flipped half of the time, made a tensor and normalised
with ImageNet's mean and standard deviation. Prints one line of JSON: milliseconds of CPU time an image.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
from PIL import Image, __version__ as pil_version
from torchvision import __version__ as torchvision_version
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

CROP = 512
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def sample(picture: Path) -> tuple[torch.Tensor, torch.Tensor]:
    image = Image.open(picture).convert("RGB")
    labels = Image.open(picture.parent.parent / "labels" / f"{picture.stem}.png")
    scale = random.uniform(0.5, 2.0)
    short = min(image.size)
    height, width = (round(side * CROP / short * scale) for side in (image.height, image.width))
    image = F.resize(image, [height, width], InterpolationMode.BILINEAR)
    labels = F.resize(labels, [height, width], InterpolationMode.NEAREST)
    right, below = max(CROP - width, 0), max(CROP - height, 0)
    if right or below:
        image = F.pad(image, [0, 0, right, below])
        labels = F.pad(labels, [0, 0, right, below], fill=255)
    top = random.randint(0, image.height - CROP)
    left = random.randint(0, image.width - CROP)
    image, labels = F.crop(image, top, left, CROP, CROP), F.crop(labels, top, left, CROP, CROP)
    if random.random() < 0.5:
        image, labels = F.hflip(image), F.hflip(labels)
    return F.normalize(F.to_tensor(image), MEAN, STD), F.pil_to_tensor(labels)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(0)
    pictures = sorted((arguments.folder / "images").glob("*.jpg"))
    for picture in pictures[:10]:
        sample(picture)
    runs = []
    for _ in range(arguments.repeat):
        start = time.process_time()
        for picture in pictures:
            image, labels = sample(picture)
            assert image.shape == (3, CROP, CROP) and labels.shape == (1, CROP, CROP)
        runs.append((time.process_time() - start) / len(pictures) * 1e3)
    print(json.dumps({"ms": min(runs), "images": len(pictures), "pillow": pil_version, "torchvision": torchvision_version}))


if __name__ == "__main__":
    main()
