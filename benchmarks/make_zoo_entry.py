"""Make an entry of the model zoo from a run.

    python benchmarks/make_zoo_entry.py runs/tiny_imagenet_64 --origin tiny_imagenet_200 --data TINY
    python benchmarks/make_zoo_entry.py runs/bccd --origin bccd --data BCCD
    python benchmarks/make_zoo_entry.py runs/dsb2018 --origin dsb2018 --data DSB2018
    python benchmarks/make_zoo_entry.py runs/start --origin label_free --data TINY

RUN is one of `nommer train`, or of `small_networks.py`; for label_free one of `nommer pretrain`,
whose network knows no classes: it is judged by the nearest neighbours of its features, and nothing
of it is calibrated. Its model is evaluated as it was trained and in half precision, both computed
in float32; the entry is written only if its main number differs by --bound at most. It goes into
the package (`src/nommer/zoo/`), with --beside into `zoo/` of the repository, for large weights, and
its checksums into the manifest. Its thresholds and its calibration are found on the "val" part of
the data, as `calibrate_zoo_entry.py` does. An entry is made once, so this is a script and no verb.
"""

import argparse
import csv
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml
from calibrate_zoo_entry import calibrate
from safetensors.torch import load_file, save
from zoo_card import check_label_free, of_script, written
from zoo_probe import NEIGHBOURS, Probe, probe

import nommer
from nommer import zoo
from nommer.checksums import checksum, with_checksums
from nommer.data.formats.imagenet import read_imagenet
from nommer.files import write_atomically, write_json, write_text


@dataclass(frozen=True)
class Origin:
    """Data that a model was trained on; the text of its card is `zoo_cards/ORIGIN.md`."""

    terms: str
    """On what terms the weights may be used, as it goes on after "the weights of X are"."""
    split: str
    """Part that the numbers are of."""
    measure: str
    """Main number of `result.json`."""
    called: str
    """Name that people call it by."""
    task: str = "classification"
    """Task of the model, as `model.json` has it."""


ORIGINS = {
    "tiny_imagenet_200": Origin(
        "for non-commercial research and education only, as the images of ImageNet that they were "
        "learned from",
        "val",
        "top1",
        "top-1",
    ),
    "bccd": Origin(
        "under the Apache License 2.0, learned from images under the MIT licence",
        "test",
        "box_ap",
        "box AP",
        "detection",
    ),
    "dsb2018": Origin(
        "under the Apache License 2.0, learned from images in the public domain (CC0)",
        "val",
        "mask_ap",
        "mask AP",
        "detection",
    ),
    "label_free": Origin(
        "for non-commercial research and education only, as the images of ImageNet that they were "
        "learned from",
        "val",
        "knn",
        "kNN top-1",
        "features",
    ),
}
KEPT = ("running_mean", "running_var")
"""Statistics of batch norms: small, and with a range that half precision may not have."""


def halved(run: Path, folder: Path, told: argparse.Namespace) -> None:
    """Write the run's model into `folder`, in half precision.

    Of ImageNet with the WordNet ids of its classes.
    """
    description = json.loads((run / "model" / zoo.DESCRIPTION).read_text())
    if (task := description["task"]) != (expected := ORIGINS[told.origin].task):
        sys.exit(f"{run}: its model is for {task}; --origin {told.origin} takes one for {expected}")
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
    if told.origin == "tiny_imagenet_200":
        found = read_imagenet(told.data)
        if found.class_names != tuple(description["class_names"]):
            sys.exit(f"{told.data}: has other classes than {run}")
        description["class_ids"] = list(found.class_ids)
    files = {zoo.WEIGHTS: checksum(folder / zoo.WEIGHTS)}
    write_json(folder / zoo.DESCRIPTION, with_checksums(description, zoo.DESCRIPTION, files))


def evaluated(model: Path, scratch: Path, told: argparse.Namespace) -> dict:
    """Return the numbers on images that were not trained on, in float32.

    Of a classifier also each answer and the classes.
    """
    out, split = scratch / model.name, ORIGINS[told.origin].split
    nommer.evaluate(
        model,
        data=told.data,
        split=split,
        out=out,
        precision="32",
        device=told.device,
        workers=told.workers,
    )
    found = json.loads((out / "result.json").read_text())
    for kept in ("predictions", "per_class"):
        with (out / f"{kept}.csv").open(newline="") as stream:
            found[kept] = list(csv.DictReader(stream))
    return found


def numbers(run: Path, entry: Path, told: argparse.Namespace) -> dict:
    """Return the numbers of the card; refuse those that half precision changed too much."""
    origin, models = ORIGINS[told.origin], (run / "model", entry)
    found: Probe | None = None
    if told.origin == "label_free":
        options = {"device": told.device, "workers": told.workers}
        found = probe(models, told.data, per_class=told.per_class, **options)
        full, half = ({"knn": share} for share in found.knn)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            full, half = (evaluated(model, Path(scratch), told) for model in models)
    before, after = full[origin.measure], half[origin.measure]
    if abs(before - after) > told.bound:
        sys.exit(f"half precision changes {origin.called} by {abs(before - after):.2%}, "
                 f"more than {told.bound:.2%}: "
                 f"{before:.2%} to {after:.2%}; nothing is written")  # fmt: skip
    shown = {"full": full, "half": half}
    if found is not None:
        return shown | {"probe": found, "neighbours": NEIGHBOURS, "voting": voting(found)}
    return shown | (classified(full, half) if "top1" in half else {})


def voting(found: Probe) -> str:
    """Return of which training images the neighbours are."""
    part = "" if found.per_class is None else f", the first {found.per_class} of each class"
    return f"{found.known:,} training images{part}"


def classified(full: dict, half: dict) -> dict:
    """Return what the card of a classifier says besides its numbers."""
    pairs = zip(full["predictions"], half["predictions"], strict=True)
    worst = sorted(half["per_class"], key=lambda row: float(row["recall"]))[:5]
    return {
        "same": sum(one["predicted"] == other["predicted"] for one, other in pairs)
        / len(half["predictions"]),
        "wrong": 1 - half["top1"],
        "worst": ", ".join(f"{row['class']} ({float(row['recall']):.0%})" for row in worst),
    }


def register(name: str, entry: Path, origin: Origin, score: float) -> None:
    """Put the entry into the manifest: classifiers first, networks without classes last, of each
    task the best first.
    """
    manifest = zoo.HOMES[0] / zoo.MANIFEST
    listed = json.loads(manifest.read_text())
    listed[name] = {
        "task": json.loads((entry / zoo.DESCRIPTION).read_text())["task"],
        "measure": origin.called,
        "score": round(score, 4),
        "bytes": (entry / zoo.WEIGHTS).stat().st_size,
        "terms": origin.terms,
        "sha256": {file: checksum(entry / file) for file in (zoo.WEIGHTS, zoo.DESCRIPTION)},
    }
    ordered = dict(sorted(listed.items(), key=lambda item: _place(item[1])))
    write_text(manifest, f"{json.dumps(ordered, indent=1)}\n")


def _place(said: dict) -> tuple[bool, str, float]:
    return said["task"] == "features", said["task"], -said["score"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--origin", choices=list(ORIGINS), required=True, help="what it was trained on"
    )
    parser.add_argument("--data", type=Path, required=True, help="its folder")
    parser.add_argument("--tag", help="end of the name, where it is not that of the data")
    parser.add_argument(
        "--beside", action="store_true", help="into zoo/ of the repository, for large weights"
    )
    parser.add_argument(
        "--bound", type=float, default=0.002, help="largest change of the main number"
    )
    parser.add_argument(
        "--note", default="", help="what else is to be said of how a network was trained in memory"
    )
    parser.add_argument(
        "--per-class",
        type=int,
        help="training images of every class whose features are neighbours, for label_free; by "
        "default all",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    told = parser.parse_args()
    if told.per_class is not None and (told.origin != "label_free" or told.per_class < 1):
        parser.error("--per-class: expected 1 or more, with --origin label_free")
    if told.origin == "label_free":
        check_label_free(told.run)
    described = told.run / ("settings.json" if of_script(told.run) else "config.yaml")
    variant = yaml.safe_load(described.read_text())["model"]  # JSON is YAML too
    name, origin = f"{variant}.{told.tag or told.origin}", ORIGINS[told.origin]
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / name
        halved(told.run, made, told)
        if told.origin != "label_free":
            calibrate(made, data=told.data, device=told.device, workers=told.workers)
        found = numbers(told.run, made, told)
        full, half = (found[which][origin.measure] for which in ("full", "half"))
        write_text(made / zoo.CARD, written(told.run, made, name, told, found))
        target = zoo.HOMES[1 if told.beside else 0] / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    register(name, target, origin, half)
    size = (target / zoo.WEIGHTS).stat().st_size / 1e6
    print(f"{target}: {size:.1f} MB, {origin.called} {half:.2%} (float32 {full:.2%})")


if __name__ == "__main__":
    main()
