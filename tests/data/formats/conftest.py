"""Archives and layouts of labelled images, made of class folders."""

import io
import shutil
import tarfile
import zipfile

import pytest

WNIDS = {"n02000001": "red fox, Vulpes vulpes", "n02000002": "crane", "n02000003": "crane, machine"}


def pack(folder, target, *, prefix=""):
    """A folder's content as an archive, the kind by the ending of its name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, prefix + path.relative_to(folder).as_posix())
    else:
        mode = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}[
            target.suffix
        ]
        with tarfile.open(target, mode) as archive:
            for path in files:
                archive.add(path, prefix + path.relative_to(folder).as_posix())
    return target


def write_tar(target, members):
    """A tar of NAME -> bytes, in this order."""
    with tarfile.open(target, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return target


@pytest.fixture(scope="session", name="pack")
def _pack():
    return pack


@pytest.fixture(scope="session", name="write_tar")
def _write_tar():
    return write_tar


@pytest.fixture
def tiny_layout(tmp_path, write_classes):
    """Tiny ImageNet's layout in miniature.

    3 classes x 3 training images, 4 validation images, 2 test images.
    """
    root = tmp_path / "tiny"
    write_classes(root / "made", dict.fromkeys(WNIDS, 3))
    for wnid in WNIDS:
        (root / "train" / wnid).mkdir(parents=True)
        shutil.move(root / "made" / wnid, root / "train" / wnid / "images")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}-0.png\t0\t0\t9\t9\n")
    write_classes(root / "made", {"n02000003": 4}, seed=70)
    (root / "val").mkdir()
    shutil.move(root / "made" / "n02000003", root / "val" / "images")
    rows = [
        f"n02000003-{n}.png\t{wnid}\t0\t0\t9\t9\n" for n, wnid in enumerate([*WNIDS, "n02000001"])
    ]
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    write_classes(root / "test", {"images": 2}, seed=90)
    (root / "made").rmdir()
    (root / "wnids.txt").write_text("\n".join(reversed(WNIDS)) + "\n")
    (root / "words.txt").write_text(
        "n01\tentity\n" + "".join(f"{wnid}\t{words}\n" for wnid, words in WNIDS.items())
    )
    return root
