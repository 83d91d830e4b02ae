"""Decisions of an entry of the model zoo: thresholds, calibration, and what is none of its classes.

    python benchmarks/calibrate_zoo_entry.py nommer_nano64.tiny_imagenet_200 --data TINY
    python benchmarks/calibrate_zoo_entry.py nommer_nano.bccd --data BCCD
    python benchmarks/calibrate_zoo_entry.py nommer_nano.dsb2018 --data DSB2018

They are found on the images that chose its weights (`nommer evaluate NAME --data DATA --split val
--calibrate`) and put into its `model.json`, whose checksum in the manifest and on the card changes
with it; the weights stay. `make_zoo_entry.py` does so for an entry that it makes.
"""

import argparse
import json
import tempfile
from pathlib import Path

import nommer
from nommer import zoo
from nommer.checksums import checksum
from nommer.files import write_text


def calibrate(entry: Path, *, data: Path, device: str = "auto", workers: int | None = None) -> None:
    """Find the decisions of the model in a folder and put them into its description."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "evaluation"
        nommer.evaluate(
            entry,
            data=data,
            split="val",
            out=out,
            precision="32",
            device=device,
            workers=workers,
            calibrate=True,
        )
        take_over(entry, out / "model")


def take_over(entry: Path, calibrated: Path) -> None:
    """Put the description of a calibrated copy in the place of the entry's own."""
    if checksum(calibrated / zoo.WEIGHTS) != checksum(entry / zoo.WEIGHTS):
        raise ValueError(f"{calibrated}: has other weights than {entry}")
    text = (calibrated / zoo.DESCRIPTION).read_text(encoding="utf-8")
    write_text(entry / zoo.DESCRIPTION, text)


def record(name: str, entry: Path, before: str) -> None:
    """Put the new checksum into the manifest and onto the card."""
    now, manifest = checksum(entry / zoo.DESCRIPTION), zoo.HOMES[0] / zoo.MANIFEST
    listed = json.loads(manifest.read_text(encoding="utf-8"))
    listed[name]["sha256"][zoo.DESCRIPTION] = now
    write_text(manifest, f"{json.dumps(listed, indent=1)}\n")
    card = (entry / zoo.CARD).read_text(encoding="utf-8")
    write_text(entry / zoo.CARD, card.replace(before, now))


def main() -> None:
    """Calibrate an entry that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--calibrated", type=Path, help="model/ of such an evaluation, done before")
    told = parser.parse_args()
    found = zoo.find_entry(told.name)
    if found is None or found.folder is None:
        parser.error(f"{told.name}: is no entry that is here")
    if found.knows_no_classes:
        parser.error(f"{told.name}: knows no classes, so it has no decisions to calibrate")
    entry, before = found.folder, checksum(found.folder / zoo.DESCRIPTION)
    if told.calibrated is None:
        calibrate(entry, data=told.data, device=told.device, workers=told.workers)
    else:
        take_over(entry, told.calibrated)
    record(told.name, entry, before)


if __name__ == "__main__":
    main()
