"""One incremental MBS step (teacher, student, losses, backward, optimizer) in PyTorch, written from the method's equations.

The peer of `trainer/benches/step.rs`, which writes the inputs, starts this script and compares losses, time and memory:

    python benches/pytorch_step.py FOLDER plain|fused STEPS THREADS

`plain` is how such code is usually written: attention as products and a softmax, loops over classes in the losses, boolean masks.
`fused` uses scaled_dot_product_attention and vectorized losses, so that nobody is compared with a strawman only.
FOLDER holds inputs.safetensors (`old.*`, `new.*`, `images`, `labels`) and sizes.json. Prints one JSON object.
"""

import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

EPS = 1e-5


class Segmenter(torch.nn.Module):
    """ViT encoder and mask transformer over tensors under the reference names."""

    def __init__(self, tensors, sizes, groups, fused):
        super().__init__()
        self.tensors = torch.nn.ParameterDict({name.replace(".", "/"): torch.nn.Parameter(value.clone()) for name, value in tensors.items()})
        self.sizes, self.groups, self.fused = sizes, groups, fused

    def t(self, name):
        return self.tensors[name.replace(".", "/")]

    def linear(self, x, name):
        return F.linear(x, self.t(f"{name}.weight"), self.t(f"{name}.bias"))

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.t(f"{name}.weight"), self.t(f"{name}.bias"), EPS)

    def attention(self, x, name, heads):
        batch, tokens, dim = x.shape
        q, k, v = self.linear(x, f"{name}.qkv").reshape(batch, tokens, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            weights = (q @ k.transpose(-2, -1)) * (dim // heads) ** -0.5
            mixed = weights.softmax(dim=-1) @ v
        return self.linear(mixed.transpose(1, 2).reshape(batch, tokens, dim), f"{name}.proj")

    def block(self, x, name, heads):
        x = x + self.attention(self.norm(x, f"{name}.norm1"), f"{name}.attn", heads)
        return x + self.linear(F.gelu(self.linear(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")), f"{name}.mlp.fc2")

    def forward(self, images):
        sizes = self.sizes
        patch = sizes["patch_px"]
        maps = F.conv2d(images, self.t("encoder.patch_embed.proj.weight"), self.t("encoder.patch_embed.proj.bias"), stride=patch)
        rows, columns = maps.shape[2:]
        x = torch.cat([self.t("encoder.cls_token").expand(len(images), -1, -1), maps.flatten(2).transpose(1, 2)], 1) + self.t("encoder.pos_embed")
        for i in range(sizes["depth"]):
            x = self.block(x, f"encoder.blocks.{i}", sizes["heads"])
        x = self.linear(self.norm(x, "encoder.norm")[:, 1:], "decoder.proj_dec")
        count = x.shape[1]
        embeddings = torch.cat([self.t(f"decoder.cls_emb.{k}") for k in range(len(self.groups))], 1)
        x = torch.cat([x, embeddings.expand(len(images), -1, -1)], 1)
        for i in range(sizes["decoder_depth"]):
            x = self.block(x, f"decoder.blocks.{i}", sizes["decoder_heads"])
        x = self.norm(x, "decoder.decoder_norm")
        patches, classes = x[:, :count] @ self.t("decoder.proj_patch"), x[:, count:] @ self.t("decoder.proj_classes")
        masks = F.normalize(patches, dim=-1) @ F.normalize(classes, dim=-1).transpose(1, 2)
        weight = torch.cat([self.t(f"decoder.mask_norm.weight.{k}") for k in range(len(self.groups))])
        bias = torch.cat([self.t(f"decoder.mask_norm.bias.{k}") for k in range(len(self.groups))])
        masks = (masks - masks.mean(-1, keepdim=True)) / (masks.std(-1, keepdim=True) + EPS) * weight + bias
        masks = masks.transpose(1, 2).reshape(len(images), -1, rows, columns)
        logits = F.interpolate(masks, scale_factor=patch, mode="bilinear", align_corners=False)
        return masks, logits, patches, classes, embeddings


def complete_plain(labels, old_logits, threshold):
    """Terms 1 and 2, class by class."""
    probabilities = old_logits.softmax(1)
    best, predicted = probabilities.max(1)
    completed = labels.clone()
    for k in range(1, old_logits.shape[1]):
        completed[(labels == 0) & (predicted == k) & (best >= threshold)] = k
    doubt = (completed == 0) & (probabilities[:, 0] < probabilities[:, 1:].sum(1))
    completed[doubt] = 255
    return completed


def complete_fused(labels, old_logits, threshold):
    probabilities = old_logits.softmax(1)
    best, predicted = probabilities.max(1)
    completed = torch.where((labels == 0) & (predicted > 0) & (best >= threshold), predicted, labels)
    return completed.masked_fill((completed == 0) & (probabilities[:, 0] < 0.5), 255)


def distill_plain(new_logits, old_logits, labels):
    """Term 3: the old background probability moves to the new class, class by class."""
    classes, old_classes = new_logits.shape[1], old_logits.shape[1]
    old = old_logits.softmax(1)
    target = torch.zeros_like(new_logits)
    target[:, :old_classes] = old
    for c in range(old_classes, classes):
        mask = labels == c
        target[:, c][mask] = old[:, 0][mask]
        target[:, 0][mask] = 0.0
    return -(target * new_logits.log_softmax(1)).sum(1).div(classes).mean()


def distill_fused(new_logits, old_logits, labels):
    classes, old_classes = new_logits.shape[1], old_logits.shape[1]
    old = old_logits.softmax(1)
    is_new = ((labels >= old_classes) & (labels < classes)).unsqueeze(1)
    mass = old[:, :1] * is_new
    target = torch.cat([old[:, :1] - mass, old[:, 1:], old.new_zeros(len(old), classes - old_classes, *old.shape[2:])], 1)
    target = target.scatter_add(1, labels.unsqueeze(1).where(is_new, 0), mass)
    return -(target * new_logits.log_softmax(1)).sum() / new_logits.numel()


def score_plain(old_masks, labels):
    """Term 6, class by class."""
    score = old_masks.softmax(1)[:, 0].clone()
    for k in labels.unique().tolist():
        if k >= old_masks.shape[1]:
            score[labels == k] = 0.0
        elif k > 0:
            score[labels == k] = 1.0
    return score


def score_fused(old_masks, labels):
    score = old_masks.softmax(1)[:, 0].masked_fill(labels >= old_masks.shape[1], 0.0)
    return score.masked_fill((labels > 0) & (labels < old_masks.shape[1]), 1.0)


def orthogonality(embeddings, old_classes):
    rows = F.normalize(embeddings[0], dim=-1)
    cosines = (rows @ rows.detach().T) * (1 - torch.eye(len(rows)))
    cosines = cosines[old_classes:].abs()
    return cosines[cosines > 0].mean()


def memory_bytes(line):
    """A line of /proc/self/status: VmRSS is the memory in use, VmHWM the most there has been (ru_maxrss counts the parent's as well)."""
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(f"{line}:"):
            return int(text.split()[1]) * 1024
    raise KeyError(line)


def main():
    folder, variant, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    fused = variant == "fused"
    torch.set_num_threads(int(sys.argv[4]))
    config = json.loads((folder / "sizes.json").read_text())
    tensors = load_file(folder / "inputs.safetensors")
    part = lambda prefix: {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    groups = config["groups"]
    old = Segmenter(part("old."), config["model"], groups[:-1], fused).eval()
    new = Segmenter(part("new."), config["model"], groups, fused)
    images, labels = tensors["images"], tensors["labels"].long()
    old_classes, classes = sum(groups[:-1]), sum(groups)
    optimizer = torch.optim.SGD(new.parameters(), lr=1e-4, momentum=0.9, nesterov=True, weight_decay=1e-5)
    complete, distill, score_map = (complete_fused, distill_fused, score_fused) if fused else (complete_plain, distill_plain, score_plain)
    seconds, cpu_seconds, losses = [], [], []
    before = memory_bytes("VmRSS")
    for _ in range(steps):
        start, cpu = time.perf_counter(), time.process_time()
        with torch.no_grad():
            old_masks, old_logits, old_patches, old_classes_features, _ = old(images)
            completed = complete(labels, old_logits, 0.7)
        _, logits, patches, class_features, embeddings = new(images)
        masks_size = old_masks.shape[2:]
        low = F.interpolate(completed.unsqueeze(1).float(), size=masks_size, mode="nearest")[:, 0].long()
        score = score_map(old_masks, low).flatten(1)
        terms = {
            "ce": F.cross_entropy(logits, completed, ignore_index=255),
            "patches": ((patches - old_patches) ** 2 * score.unsqueeze(-1)).sum() / (patches.shape[-1] * (score > 0).sum()),
            "classes": F.mse_loss(class_features[:, :old_classes], old_classes_features),
            "output": 25.0 * distill(logits, old_logits, labels),
            "orthogonality": (classes - old_classes) / classes * orthogonality(embeddings, old_classes),
        }
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append({name: value.item() for name, value in terms.items()})
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu)
    peak = memory_bytes("VmHWM")
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "losses": losses, "peak_bytes": peak, "grown_bytes": peak - before}))


if __name__ == "__main__":
    main()
