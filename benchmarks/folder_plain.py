"""The plain way of `folder_speed.py`: timm and torchvision in a loop, as their pages show it.

    python benchmarks/folder_plain.py predict OUT PHOTOS THREADS
    python benchmarks/folder_plain.py evaluate OUT PHOTOS THREADS

OUT has the weights resnet18.pt, and gets plain.json.
"""

import json
import sys
from pathlib import Path

import timm
import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

CLASSES, SIZE, BATCH, WORKERS = 1000, 224, 32, 1


def loader_of(photos: Path) -> torch.utils.data.DataLoader:
    """Return batches of the photographs below a folder of classes."""
    prepare = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(256, antialias=True),
            v2.CenterCrop(SIZE),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return torch.utils.data.DataLoader(ImageFolder(photos, prepare), BATCH, num_workers=WORKERS)


def main() -> None:
    """Read the command line, answer the images, and write the answers or the top-1 accuracy."""
    verb, out, photos, threads = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(int(threads))
    network = timm.create_model("resnet18", num_classes=CLASSES).eval()
    network.load_state_dict(torch.load(out / "resnet18.pt", weights_only=True))
    loader = loader_of(photos)
    rows, right = [], 0
    with torch.inference_mode():
        for images, classes in loader:
            best, of = network(images).softmax(dim=1).topk(5)
            right += (of[:, 0] == classes).sum().item()
            rows += zip(of.tolist(), best.tolist(), strict=True)
    answers = [
        {"image": path, "classes": of, "probabilities": best}
        for (path, _), (of, best) in zip(loader.dataset.samples, rows, strict=True)
    ]
    top1 = {"top1": right / len(answers)}
    (out / "plain.json").write_text(json.dumps(top1 if verb == "evaluate" else answers))


if __name__ == "__main__":
    main()
