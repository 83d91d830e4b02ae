"""An entry of the model zoo from a run on Tiny ImageNet: half precision, checked on the validation images, with a card.

    python benchmarks/make_zoo_entry.py runs/large/nommer_nano-0 --data ../shared/data/tiny_imagenet_200
    python benchmarks/make_zoo_entry.py runs/large/nommer_tiny-0 --data ../shared/data/tiny_imagenet_200 --beside

The run's model is evaluated as it was trained and in half precision, both computed in float32; the entry is written
only if top-1 differs by --bound at most. It goes into the package (`src/nommer/zoo/`), with --beside into `zoo/` of the
repository, and its checksums into the manifest, which is ordered by top-1.
"""

import argparse
import csv
import hashlib
import json
import shlex
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml
from network_costs import giga_macs
from safetensors.torch import load_file, save

import nommer
from nommer import zoo
from nommer.data.formats.imagenet import read_imagenet
from nommer.engine.evaluation import EvaluationResult
from nommer.files import write_atomically, write_json, write_text
from nommer.heads.networks import build_network, describe_network

TAG = "tiny_imagenet_200"
TERMS = "for non-commercial research and education only, as the images of ImageNet that they were learned from"
KEPT = ("running_mean", "running_var")
"""Statistics of batch norms: small, and with a range that half precision may not have."""

CARD_TEMPLATE = Path(__file__).with_name("zoo_card.md")


def halved(run: Path, folder: Path, data: Path) -> None:
    """Write the run's model into `folder`, in half precision, with the WordNet ids of its classes."""
    folder.mkdir(parents=True)
    weights = load_file(run / "model" / zoo.WEIGHTS)
    half = {
        name: value.half() if value.is_floating_point() and not name.endswith(KEPT) else value
        for name, value in weights.items()
    }
    broken = [name for name, value in half.items() if not value.float().isfinite().all()]
    if broken:
        sys.exit(f"not finite in half precision: {', '.join(broken)}")
    write_atomically(folder / zoo.WEIGHTS, lambda stream: stream.write(save(half)))
    description = json.loads((run / "model" / zoo.DESCRIPTION).read_text())
    names = tuple(description["class_names"])
    found = read_imagenet(data)
    if found.class_names != names:
        sys.exit(f"{data}: has other classes than {run}")
    write_json(folder / zoo.DESCRIPTION, description | {"class_ids": list(found.class_ids)})


def judged(model: Path, data: Path, scratch: Path, told: argparse.Namespace) -> tuple[EvaluationResult, list[str]]:
    """The evaluation on the validation images in float32, and the answer to each."""
    out = scratch / model.name
    result = nommer.evaluate(
        model, data=data, split="val", out=out, precision="32", device=told.device, workers=told.workers, batch_size=256
    )
    with (out / "predictions.csv").open(newline="") as stream:
        return result, [row["predicted"] for row in csv.DictReader(stream)]


def numbers(run: Path, entry: Path, told: argparse.Namespace) -> dict:
    """What the card says of accuracy, and refuses what half precision changed by more than the bound."""
    with tempfile.TemporaryDirectory() as scratch:
        full, full_answers = judged(run / "model", told.data, Path(scratch), told)
        half, half_answers = judged(entry, told.data, Path(scratch), told)
    change = abs(full.report.top1 - half.report.top1)
    if change > told.bound:
        sys.exit(f"half precision changes top-1 by {change:.2%}, more than {told.bound:.2%}: {full.report.top1:.2%} to "
                 f"{half.report.top1:.2%}; nothing is written")  # fmt: skip
    worst = sorted(half.per_class, key=lambda row: row["recall"])[:5]
    return {
        "images": half.report.images,
        "top1": half.report.top1,
        "top5": half.report.top5,
        "full_top1": full.report.top1,
        "full_top5": full.report.top5,
        "same": sum(map(str.__eq__, full_answers, half_answers)) / len(full_answers),
        "calibration": half.report.calibration_error,
        "wrong": 1 - half.report.top1,
        "worst": ", ".join(f"{row['class']} ({row['recall']:.0%})" for row in worst),
    }


def written(run: Path, entry: Path, name: str, found: dict) -> str:
    """The card."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    environment = json.loads((run / "environment.json").read_text())
    metrics = json.loads((entry / zoo.DESCRIPTION).read_text())["metrics"]
    network = nommer.load(entry).network
    with torch.device("meta"):
        macs = giga_macs(build_network(describe_network(network)), config["image_size"])
    optim, augment = config["optim"], config["augment"]
    settings = (
        f"{config['epochs']} epochs of batches of {config['batch_size']}, {config['precision']}, {optim['name']}, "
        f"learning rate {config['lr']}, weight decay {optim['weight_decay']}, label smoothing "
        f"{optim['label_smoothing']}, random crops {augment['scale']}, mixup {augment['mixup']} and cutmix "
        f"{augment['cutmix']} with probability {augment['mixup_prob']}, drop path "
        f"{config['network']['drop_path_rate']}; stem stride {config['network']['patch_size']}, windows of "
        f"{config['network']['window_size']}, DCT blocks of {config['network']['block_sizes']}"
    )
    return CARD_TEMPLATE.read_text().format(
        name=name,
        variant=config["model"],
        size=config["image_size"],
        parameters=sum(parameter.numel() for parameter in network.parameters()) / 1e6,
        macs=macs,
        epoch=metrics["epoch"],
        epochs=config["epochs"],
        command=as_written(environment["command"]),
        settings=settings,
        machine=environment["cuda"] or environment["platform"],
        packages=", ".join(f"{name} {environment['packages'][name]}" for name in ("nommer", "torch", "timm")),
        seed=config["seed"],
        evaluated=f"{datetime.now(UTC):%Y-%m-%d}",
        checksums="\n".join(f"- `{file}` {checksum(entry / file)}" for file in (zoo.WEIGHTS, zoo.DESCRIPTION)),
        **found,
    )


def as_written(command: str) -> str:
    """A run's command without the places of its machine."""
    words = ["nommer", *shlex.split(command)[1:]]
    for option, place in {"--data": "TINY", "--out": "runs/tiny_imagenet"}.items():
        if option in words[:-1]:
            words[words.index(option) + 1] = place
    return shlex.join(words)


def checksum(file: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def register(name: str, entry: Path, top1: float) -> None:
    """Put the entry into the manifest, the best first."""
    manifest = zoo.HOMES[0] / zoo.MANIFEST
    listed = json.loads(manifest.read_text())
    listed[name] = {
        "top1": round(top1, 4),
        "bytes": (entry / zoo.WEIGHTS).stat().st_size,
        "terms": TERMS,
        "sha256": {file: checksum(entry / file) for file in (zoo.WEIGHTS, zoo.DESCRIPTION)},
    }
    ordered = dict(sorted(listed.items(), key=lambda item: -item[1]["top1"]))
    write_text(manifest, f"{json.dumps(ordered, indent=1)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of Tiny ImageNet")
    parser.add_argument("--beside", action="store_true", help="into zoo/ of the repository, for large weights")
    parser.add_argument("--bound", type=float, default=0.002, help="largest change of top-1 by half precision")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    told = parser.parse_args()
    variant = yaml.safe_load((told.run / "config.yaml").read_text())["model"]
    name = f"{variant}.{TAG}"
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / name
        halved(told.run, made, told.data)
        found = numbers(told.run, made, told)
        write_text(made / zoo.CARD, written(told.run, made, name, found))
        target = zoo.HOMES[1 if told.beside else 0] / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    register(name, target, found["top1"])
    print(f"{target}: {(target / zoo.WEIGHTS).stat().st_size / 1e6:.1f} MB, top-1 {found['top1']:.2%} "
          f"(float32 {found['full_top1']:.2%}), same answer in {found['same']:.2%}")  # fmt: skip


if __name__ == "__main__":
    main()
