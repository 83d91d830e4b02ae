"""Write twenty fixed classes of Tiny ImageNet as class folders.

500 training and 50 validation images each, 64 x 64.

    python benchmarks/tiny_imagenet_subset.py ../shared/data/tiny_imagenet_200 data/tiny_imagenet_20

The classes are every tenth of the 200 in the order of their WordNet ids; a folder is called by the
first of the class's names. SOURCE is the folder with train.tar.gz, val.tar.gz, wnids.txt and
words.txt. The images must not be passed on (ImageNet's terms).
"""

import argparse
import tarfile
from pathlib import Path

EVERY = 10


def class_names(source: Path) -> dict[str, str]:
    """Return the first name of each of the chosen WordNet ids."""
    chosen = sorted((source / "wnids.txt").read_text().split())[::EVERY]
    words = dict(line.split("\t", 1) for line in (source / "words.txt").read_text().splitlines())
    return {wnid: words[wnid].split(",")[0].strip() for wnid in chosen}


def unpack(source: Path, out: Path) -> None:
    """Write the chosen images to `out`/train/NAME and `out`/val/NAME."""
    names = class_names(source)
    for split in ("train", "val"):
        for name in names.values():
            (out / split / name).mkdir(parents=True)
    with tarfile.open(source / "train.tar.gz") as archive:
        for member in archive:
            path = Path(member.name)
            if path.suffix == ".JPEG" and path.parts[-3] in names:
                (out / "train" / names[path.parts[-3]] / path.name).write_bytes(
                    archive.extractfile(member).read()
                )
    with tarfile.open(source / "val.tar.gz") as archive:
        rows = (
            archive.extractfile("tiny-imagenet-200/val/val_annotations.txt")
            .read()
            .decode()
            .splitlines()
        )
        for file, wnid, *_ in (row.split("\t") for row in rows):
            if wnid in names:
                image = archive.extractfile(f"tiny-imagenet-200/val/images/{file}").read()
                (out / "val" / names[wnid] / file).write_bytes(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"{arguments.out} exists already; choose another folder")
    unpack(arguments.source, arguments.out)
    print(
        f"{len(list(arguments.out.rglob('*.JPEG')))} images of "
        f"{len(class_names(arguments.source))} classes"
    )


if __name__ == "__main__":
    main()
