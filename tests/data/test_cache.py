"""Decoded images are kept for the next epochs without changing a number, and without a copy for
every process.
"""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from nommer.data import cache as cache_module
from nommer.data.box_transforms import BoxPreprocessing
from nommer.data.cache import CacheFile, DecodedCache
from nommer.data.classification import ClassificationData
from nommer.data.detection import DetectionData
from nommer.data.formats.detection import read_detection
from nommer.data.formats.folders import read_class_folders
from nommer.data.formats.masks import read_mask_folders
from nommer.data.images import ImageError
from nommer.data.joint_transforms import DensePreprocessing
from nommer.data.module import Loading
from nommer.data.segmentation import SegmentationData
from nommer.data.transforms import Preprocessing
from nommer.errors import InputError
from nommer.settings.augmentation import Augmentation
from nommer.settings.detection import BoxAugmentation
from nommer.settings.segmentation import JointAugmentation
from tests.run_contents import same

LOADING = Loading(batch_size=4, workers=0, seed=1)


def classification(root, **loading):
    splits = read_class_folders(root).splits
    options = {"preprocessing": Preprocessing(image_size=32), "augmentation": Augmentation()}
    return ClassificationData(
        splits["train"], splits["val"], loading=replace(LOADING, **loading), **options
    )


def segmentation(root, **loading):
    data = read_mask_folders(root)
    return SegmentationData(
        data.splits["train"],
        data.splits["val"],
        encoding=data.encoding,
        preprocessing=DensePreprocessing(image_size=32),
        augmentation=JointAugmentation(),
        loading=replace(LOADING, **loading),
    )


def detection(root, **loading):
    data = read_detection(root)
    return DetectionData(
        data.splits["train"],
        data.splits["val"],
        masks=True,
        preprocessing=BoxPreprocessing(short_side=48, long_side=96),
        augmentation=BoxAugmentation(),
        loading=replace(LOADING, **loading),
    )


@pytest.fixture
def tasks(tmp_path, coloured, masked, herd, write_herd):
    """Data of every task, copied where they may be damaged, and what makes batches of them."""
    objects = write_herd(tmp_path / "herd", {"train": herd["train"], "val": herd["val"]}, "coco")
    copied = tmp_path / "coloured"
    for path in coloured.rglob("*.png"):
        (copied / path.relative_to(coloured)).parent.mkdir(parents=True, exist_ok=True)
        (copied / path.relative_to(coloured)).write_bytes(path.read_bytes())
    return [(classification, copied), (segmentation, masked), (detection, objects)]


def batches(data):
    return [*data.train_dataloader(), *data.val_dataloader()]


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_batches_are_the_same_with_a_cache_and_come_from_it(tmp_path, tasks, kind):
    for make, root in tasks:
        expected = batches(make(root))
        data = make(root, cache=kind, cache_folder=tmp_path, workers=2 * (make is classification))
        data.prepare_data()
        data.setup("fit")
        for path in root.rglob("*.png"):
            path.write_bytes(b"gone")  # whatever reads it now is not the cache
        assert same(batches(data), expected)
        assert (tmp_path / "cache-0.bin").exists() == (kind == "disk")
        data.teardown("fit")
        assert not (tmp_path / "cache-0.bin").exists()


def test_a_cache_is_given_up_when_training_fails(tmp_path, coloured):
    data = classification(coloured, cache="disk", cache_folder=tmp_path)
    data.prepare_data()
    data.on_exception(RuntimeError())
    assert not list(tmp_path.glob("cache*"))


def test_an_image_that_cannot_be_decoded_stays_an_error(tmp_path, write_classes):
    root = tmp_path
    for split in ("train", "val"):
        write_classes(root / split, {"blue": 2, "red": 2})
    data = classification(root, cache="ram")
    broken = data.train.samples[1].path
    broken.write_bytes(broken.read_bytes()[:40])
    data.prepare_data()
    data.setup("fit")
    with pytest.raises(ImageError, match=broken.name):
        data.train[1]
    assert data.train[0].labels == 0


def fill(folder, images, *, kind="ram"):
    file = CacheFile(kind, folder, "cache.bin")
    file.fill(lambda index: (images[index],), len(images))
    return file


def test_images_of_any_size_come_back_as_they_were(tmp_path):
    images = [Image.effect_noise((width, 50), 90).convert("RGB") for width in range(1, 40)]
    file = fill(tmp_path, images)
    cache = DecodedCache(file.path, first=5)
    assert all(cache.get(index)[0].tobytes() == images[index + 5].tobytes() for index in range(30))
    file.close()
    assert cache.get(0)[0].size == images[5].size, "whoever has it open keeps it"


def own_memory():
    """Return the memory of this process that is no part of a file, in kB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def read_everything(cache):
    before = own_memory()
    total = sum(cache.get(index)[0].getpixel((0, 0))[0] for index in range(64))
    return total, own_memory() - before


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="asks Linux what memory is shared"
)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_the_pixels(tmp_path, method):
    picture = Image.new("RGB", (512, 512), (3, 4, 5))
    file = fill(tmp_path, [picture] * 64)
    cache = DecodedCache(file.path)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        total, grown = pool.submit(
            read_everything, cache
        ).result()  # at once, should the process die
    assert total == 64 * 3
    assert grown < 64 * 512 * 512 * 3 / 1024 / 4, "50 MB are mapped, not copied"
    assert len(pickle.dumps(cache)) < 200


@pytest.mark.parametrize(
    ("kind", "hint"), [("ram", "use --cache disk"), ("disk", "use another --out")]
)
def test_what_does_not_fit_is_refused_before_it_is_decoded(tmp_path, monkeypatch, kind, hint):
    monkeypatch.setattr(cache_module.CacheFile, "room", lambda self: 2_000_000)
    with pytest.raises(
        InputError, match=rf"--cache {kind}: 9 decoded images take about 2\.2 MB.*2\.0 MB.*{hint}"
    ):
        fill(tmp_path, [Image.new("RGB", (300, 269))] * 9, kind=kind)


def test_a_cache_that_outgrows_its_estimate_is_refused_too(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module.CacheFile, "room", lambda self: 1_000_000)
    sizes = [(700, 700) if index == 1 else (8, 8) for index in range(200)]
    with pytest.raises(InputError, match=r"1\.0 MB of memory are free"):
        fill(tmp_path, [Image.new("RGB", size) for size in sizes])


def test_the_machine_tells_what_memory_is_free():
    free = cache_module.available_memory()
    assert free is None or 1e6 < free < 1e14
