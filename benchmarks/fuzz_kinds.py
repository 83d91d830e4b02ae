"""The kinds of file that `fuzz.py` damages.

Of each it is written how a sound corpus is made and what reads it.
"""

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nommer import NomMer, train
from nommer.backbone.variants import VARIANTS
from nommer.cli.parser import parse
from nommer.data.archives import read_bytes
from nommer.data.audit import read_image
from nommer.data.formats.labelled import read_split
from nommer.data.formats.source import Source
from nommer.data.image_paths import visible_files
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.models.classification import Classifier
from nommer.models.storage import load, save_model
from nommer.runs.checkpoint import open_checkpoint
from nommer.runs.folder import RunFolder
from nommer.tasks.data import Auditing
from nommer.tasks.registry import task_for


@dataclass(frozen=True)
class Kind:
    """A kind of file: how a sound one is made, and what reads it."""

    make: Callable[[Path], None]
    """Write the corpus into an empty folder."""
    read: Callable[[Path, Path], object]
    """Read the folder, of which the second is the damaged file."""
    has_checksums: bool = False
    """Whatever is changed must be refused."""


def picture(seed: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    """Return a small picture."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))


def make_images(folder: Path) -> None:
    """Write every format, and the modes that are more than RGB."""
    for ending in ("jpg", "png", "bmp", "gif", "tif", "webp", "ppm", "jp2", "avif"):
        picture(0).save(folder / f"a.{ending}")
    grey = Image.fromarray(np.arange(1280, dtype=np.uint16).reshape(32, 40))
    for ending in ("png", "tif", "pgm"):
        grey.save(folder / f"wide.{ending}")
    picture(1).convert("RGBA").save(folder / "alpha.png")
    picture(1).convert("P").save(folder / "palette.gif")
    picture(1).save(folder / "packed.tif", compression="tiff_lzw")
    picture(1).convert("CMYK").save(folder / "cmyk.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(2).save(folder / "turned.jpg", exif=exif)


def read_images(folder: Path, damaged: Path) -> None:
    """Read one as the audit does."""
    report = read_image(damaged, whole=True)
    if report.error:
        raise InputError(report.error)


def read_data(folder: Path, damaged: Path) -> None:
    """Read and audit them as training does."""
    source = Source(folder)
    data = task_for(source).data
    data.audit(data.read(source), Auditing(on_bad_sample="skip", training=True))


def make_yolo(folder: Path) -> None:
    """Write boxes, polygons and a description."""
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(2):
            picture(number).save(folder / "images" / split / f"{number}.png")
            lines = "0 0.5 0.5 0.2 0.2\n1 0.25 0.25 0.1 0.1\n"
            (folder / "labels" / split / f"{number}.txt").write_text(lines)
    (folder / "data.yaml").write_text(
        "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n"
    )


def make_coco(folder: Path) -> None:
    """Write boxes, polygons and run lengths."""
    (folder / "annotations").mkdir()
    for split in ("train", "val"):
        (folder / split).mkdir()
        picture(3).save(folder / split / "a.png")
        polygon = [[5, 5, 15, 5, 15, 12]]
        content = {
            "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 32}],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 10, 7], "area": 35,
                 "iscrowd": 0, "segmentation": polygon},
                {"id": 2, "image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 32], "area": 32,
                 "iscrowd": 0, "segmentation": {"size": [32, 40], "counts": [0, 32, 1248]}},
            ],
        }  # fmt: skip
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def make_voc(folder: Path) -> None:
    """Write a file of XML for each image."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    for number in range(4):
        picture(number).save(folder / "JPEGImages" / f"{number}.png")
        box = "<xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>22</ymax>"
        (folder / "Annotations" / f"{number}.xml").write_text(
            "<?xml version='1.0' encoding='utf-8'?><annotation><size><width>40</width><height>32"
            f"</height></size><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
        )
    (folder / "ImageSets/Main/train.txt").write_text("0\n1\n")
    (folder / "ImageSets/Main/val.txt").write_text("2\n3\n")


def make_masks(folder: Path) -> None:
    """Masks with a description of their classes."""
    for number in range(3):
        for kind in ("images", "masks"):
            (folder / kind).mkdir(exist_ok=True)
        picture(number).save(folder / "images" / f"{number}.png")
        mask = (np.arange(1280).reshape(32, 40) % 3).astype(np.uint8)
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    (folder / "classes.yaml").write_text("classes: [ground, ball, sky]\nignore: 255\n")


def make_table(folder: Path) -> None:
    """Write a table of images with classes."""
    rows = ["path,label,split"]
    for number in range(8):
        picture(number).save(folder / f"{number}.png")
        rows.append(
            f"{number}.png,{'cat' if number % 2 else 'dog'},{'val' if number > 5 else 'train'}"
        )
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def read_table(folder: Path, damaged: Path) -> None:
    """Read it as training does."""
    read_data(folder / "labels.csv", damaged)


def make_archives(folder: Path) -> None:
    """Zip and tar, compressed and sparse."""
    stream = io.BytesIO()
    picture(0).save(stream, "png")
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/1.png", "b/2.png"):
            archive.writestr(name, stream.getvalue())
    for ending, mode in (("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz")):
        with tarfile.open(folder / f"a.{ending}", mode) as archive:
            for name in ("a/1.png", "b/2.png"):
                member = tarfile.TarInfo(name)
                member.size = len(stream.getvalue())
                archive.addfile(member, io.BytesIO(stream.getvalue()))


def read_archives(folder: Path, damaged: Path) -> None:
    """Read every member."""
    for path in visible_files(damaged):
        try:
            read_bytes(path)
        except OSError as error:
            raise InputError(str(error)) from error


def make_model(folder: Path) -> None:
    """Save a small classifier, as a run keeps it."""
    torch.manual_seed(0)
    preprocessing = Preprocessing(image_size=64)
    model = Classifier(
        NomMer(replace(VARIANTS["nommer_micro"], num_classes=2)),
        class_names=("cat", "dog"),
        preprocessing=preprocessing,
    )
    save_model(folder, model, metrics={"top1": 0.5}, version="0")


def read_model(folder: Path, damaged: Path) -> None:
    """Load the model, and answer an image."""
    load(folder).predict(np.zeros((40, 40, 3), np.uint8))


_READ_AGAIN = (".ckpt", ".safetensors", ".json", ".jsonl", ".yaml", ".csv")
"""Endings of the files of a run folder that are read again; the others are for people."""


def make_run(folder: Path) -> None:
    """Train for one epoch on a few pictures."""
    with tempfile.TemporaryDirectory() as place:
        for number in range(8):
            path = Path(place, "train" if number < 6 else "val", "ab"[number % 2], f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(number).save(path)
        train(
            data=Path(place),
            model="nommer_micro",
            out=folder / "run",
            epochs=1,
            batch_size=2,
            image_size=32,
            workers=0,
            device="cpu",
        )
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in _READ_AGAIN:
            path.unlink()


def read_run(folder: Path, damaged: Path) -> None:
    """Read all of a run folder that a resumption, an evaluation and a prediction do."""
    run = RunFolder(folder / "run")
    run.check(resume=True, overwrite=False)
    if run.settings() is None:
        raise InputError("no settings")
    run.read_json(run.classes)
    run.read_issues()
    read_split(Path("photos"), run.split)
    for file in (run.last, run.best):
        open_checkpoint(file)
    load(run.path).predict(np.zeros((40, 40, 3), np.uint8))


def make_config(folder: Path) -> None:
    """Settings of a training."""
    (folder / "config.yaml").write_text(
        "data: photos\nmodel: nommer_micro\nepochs: 3\nlr: 0.001\nbatch_size: 8\n"
        "pixels:\n  mean: [0.5, 0.5, 0.5]\n  range: 12bit\naugment:\n  hflip: 0.5\n"
    )


def read_config(folder: Path, damaged: Path) -> None:
    """Read it as the command line does."""
    try:
        parse(["train", "--config", str(damaged), "--out", str(folder / "out")])
    except SystemExit as error:
        raise InputError("refused by the parser") from error


KINDS = {
    "images": Kind(make_images, read_images),
    "yolo": Kind(make_yolo, read_data),
    "coco": Kind(make_coco, read_data),
    "voc": Kind(make_voc, read_data),
    "masks": Kind(make_masks, read_data),
    "tables": Kind(make_table, read_table),
    "archives": Kind(make_archives, read_archives),
    "model": Kind(make_model, read_model, has_checksums=True),
    "config": Kind(make_config, read_config),
    "runs": Kind(make_run, read_run),
}
