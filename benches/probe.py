"""Whether the patch features of a base step (network without the Global Attention Block) tell tree from building: the figures in docs/results.md.

    python benches/probe.py DATA CHECKPOINT          DATA: CamVid; CHECKPOINT: runs/.../step-0. Needs torch, safetensors, numpy, pillow.

Prints what the network takes the patches of each class for, and the area under the curve of a linear probe for tree, trained on the images of step 1 and
on those of the base step, tested on the validation images.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

from pytorch_step import Segmenter

BUILDING, TREE = 2, 5
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def network(folder):
    manifest = json.loads((folder / "checkpoint.json").read_text())
    model, spec = manifest["model"], manifest["image_spec"]
    tensors = load_file(folder / "model.safetensors")
    grid = [spec["height_px"] // model["patch_px"], spec["width_px"] // model["patch_px"]]
    position = tensors["encoder.pos_embed"]
    plane = position[:, 1:].reshape(1, *manifest["position_grid"], -1).permute(0, 3, 1, 2)
    plane = F.interpolate(plane, size=grid, mode="bilinear").flatten(2).transpose(1, 2)
    tensors["encoder.pos_embed"] = torch.cat([position[:, :1], plane], 1)
    return Segmenter(tensors, model, manifest["groups"], fused=True).eval(), model["patch_px"]


def patches(net, patch, data, names):
    """Features, true class and predicted class of all patches that one class fills to 60 %."""
    features, truth, predicted = [], [], []
    for name in (data / f"ImageSets/{names}.txt").read_text().split():
        image = torch.tensor(np.array(Image.open(data / f"JPEGImages/{name}.jpg").convert("RGB"))).permute(2, 0, 1) / 255
        labels = np.array(Image.open(data / f"SegmentationClass/{name}.png"))
        with torch.no_grad():
            masks, _, tokens, _, _ = net(((image - MEAN) / STD)[None])
        rows, columns = masks.shape[2:]
        labels = labels.reshape(rows, patch, columns, patch).transpose(0, 2, 1, 3).reshape(rows * columns, -1)
        most = np.array([np.bincount(patch_labels).argmax() for patch_labels in labels])
        full = (labels == most[:, None]).mean(1) > 0.6
        features.append(tokens[0][full])
        truth.append(most[full])
        predicted.append(masks[0].flatten(1).argmax(0).numpy()[full])
    return torch.cat(features), np.concatenate(truth), np.concatenate(predicted)


def area_under_curve(scores, positive):
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(len(scores))
    count = positive.sum()
    return (ranks[positive].sum() - count * (count - 1) / 2) / (count * (len(positive) - count))


def probe(train, test):
    features, truth, _ = train
    target = torch.tensor(truth == TREE, dtype=torch.float32)
    mean, std = features.mean(0), features.std(0)
    weight, bias = torch.zeros(features.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100)

    def loss():
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits((features - mean) / std @ weight + bias, target) + 1e-3 * (weight * weight).sum()
        value.backward()
        return value

    optimizer.step(loss)
    result = []
    for features, truth, _ in (train, test):
        chosen = (truth == TREE) | (truth == BUILDING)
        scores = ((features - mean) / std @ weight + bias).detach().numpy()[chosen]
        result.append(area_under_curve(scores, truth[chosen] == TREE))
    return result


def main():
    data, (net, patch) = Path(sys.argv[1]), network(Path(sys.argv[2]))
    sets = {name: patches(net, patch, data, path) for name, path in {"base": "Steps/4-1-1/0", "step 1": "Steps/4-1-1/1", "val": "Segmentation/val"}.items()}
    for name, (_, truth, predicted) in sets.items():
        print(f"{name}: tree patches taken for building {np.mean(predicted[truth == TREE] == BUILDING):.2f}, for background {np.mean(predicted[truth == TREE] == 0):.2f}")
    for name in ("step 1", "base"):
        print("tree against building, probe of {}: there {:.2f}, val {:.2f}".format(name, *probe(sets[name], sets["val"])))


if __name__ == "__main__":
    main()
