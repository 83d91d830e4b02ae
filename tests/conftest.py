"""Fixtures that several folders of tests share."""

import hashlib
import importlib
import importlib.util
import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from nommer import Classifier, NomMer
from nommer.data.transforms import Preprocessing
from nommer.settings.network import NetworkOptions
from nommer.tasks.networks import network_config
from tests.sketches import drawn, saved_by, sketch

settings.register_profile("nommer", deadline=None)  # machines that run tests are busy
settings.load_profile("nommer")

SHARED = Path(__file__).resolve().parents[2] / "shared"

COLOURS = {
    "blue": (30, 40, 200),
    "green": (40, 190, 50),
    "red": (200, 40, 30),
    "yellow": (200, 190, 40),
}
"""Classes of the synthetic images, and the colour that tells each."""


@pytest.fixture(scope="session")
def parity():
    """The published implementation's numbers and the functions that make their inputs.

    Skips where they are absent.
    """
    folder = SHARED / "parity"
    if not folder.is_dir() and os.environ.get("NOMMER_NEEDS_REFERENCE"):
        pytest.fail(
            "the parity files (../shared/parity) are not beside this checkout, and this run needs "
            "them"
        )
    if not folder.is_dir():
        pytest.skip("the parity files (../shared/parity) are not beside this checkout")
    spec = importlib.util.spec_from_file_location("parity", folder / "parity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    numbers = {
        "folder": folder,
        "eval": np.load(folder / "nommer_tiny_eval.npz"),
        "train": np.load(folder / "nommer_tiny_train.npz"),
    }
    return SimpleNamespace(**vars(module) | numbers)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data sets beside this checkout; skips where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the real data sets (../shared/data) are not beside this checkout")
    return SHARED / "data"


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Networks this small gain nothing from more, and tests that run side by side lose much."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk():
    """A run flushes some fifty files, and a disk takes milliseconds for each; no test cuts the
    power.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True)
def _globals_stay():
    """Fail a test that, or whose fixtures, changed something for everybody."""

    def look():
        return {
            "default type": torch.get_default_dtype(),
            "threads": torch.get_num_threads(),
            "gradients": torch.is_grad_enabled(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "shapes unchecked": jaxtyping.config.jaxtyping_disable,
            "working folder": Path.cwd(),
            "Ctrl-C": signal.getsignal(signal.SIGINT),
        }

    before = look()
    yield
    assert look() == before


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """Tests press Ctrl-C, which a shell lets its background jobs, and their processes, ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def noisy(colour, *, size=(48, 40), seed=0):
    """An RGB image (size is width, height) of one colour with noise."""
    noise = np.random.default_rng(seed).integers(-40, 41, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session", name="noisy")
def _noisy():
    return noisy


@pytest.fixture(scope="session")
def write_classes():
    """Write `folder/CLASS/CLASS-NUMBER.png` for each class (a name of `COLOURS`, or any other) and
    number of images.
    """

    def write(folder, counts, *, seed=0):
        for index, (name, count) in enumerate(counts.items()):
            target = folder / name
            target.mkdir(parents=True, exist_ok=True)
            colour = COLOURS.get(name, tuple(COLOURS.values())[index % len(COLOURS)])
            for number in range(count):
                noisy(colour, seed=seed + 1000 * index + number).save(
                    target / f"{name}-{number}.png"
                )
        return folder

    return write


@pytest.fixture(scope="session")
def coloured(tmp_path_factory, write_classes):
    """Class folders with train/ (3 classes x 6 images) and val/ (3 x 3), to be read only."""
    root = tmp_path_factory.mktemp("coloured")
    write_classes(root / "train", {"blue": 6, "green": 6, "red": 6})
    write_classes(root / "val", {"blue": 3, "green": 3, "red": 3}, seed=50)
    return root


SCENE_CLASSES = {"ground": (90, 90, 90), "ball": (200, 40, 30), "sky": (40, 60, 200)}
"""Classes of the synthetic scenes, and the colour that tells each, in images and in pictures of
masks.
"""


@pytest.fixture(scope="session")
def draw_scene():
    """A scene as (image, labels (height, width) uint8): sky over ground and a ball.

    The outermost pixels are 255.
    """

    def draw(seed, *, size=(48, 40)):
        random = np.random.default_rng(seed)
        rows, columns = np.mgrid[: size[1], : size[0]]
        labels = np.where(rows < random.integers(8, size[1] // 2), 2, 0)
        centre, radius = random.integers(12, min(size) - 8, 2), random.integers(6, 11)
        labels[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2] = 1
        pixels = np.array(list(SCENE_CLASSES.values()))[labels] + random.integers(
            -30, 31, (*labels.shape, 3)
        )
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        labels[[0, -1]], labels[:, [0, -1]] = 255, 255
        return image, labels.astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def write_scenes(draw_scene):
    """Write `root/images/SPLIT/N.png` and `root/masks/SPLIT/N.png` for each split and number, and
    `classes.yaml`.
    """

    def write(root, counts, *, size=(48, 40), seed=0):
        for split, count in counts.items():
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                image, labels = draw_scene(seed + 1000 * len(split) + number, size=size)
                image.save(root / "images" / split / f"{number}.png")
                Image.fromarray(labels).save(root / "masks" / split / f"{number}.png")
        classes = [
            {"name": name, "value": value, "color": list(colour)}
            for value, (name, colour) in enumerate(SCENE_CLASSES.items())
        ]
        (root / "classes.yaml").write_text(json.dumps({"classes": classes, "ignore": 255}))
        return root

    return write


@pytest.fixture(scope="session")
def scenes(tmp_path_factory, write_scenes):
    """Scenes with masks, 6 in train and 3 in val, to be read only."""
    return write_scenes(tmp_path_factory.mktemp("scenes"), {"train": 6, "val": 3})


@pytest.fixture(scope="session")
def segment_options():
    """The fewest and smallest of everything, as options of `nommer train` on scenes."""
    sizes = [
        "--image-size=32",
        "--segmentation.decoder-channels=8",
        "--segmentation.auxiliary-channels=4",
    ]
    return [
        "--model=nommer_micro",
        "--epochs=2",
        "--batch-size=3",
        *sizes,
        "--workers=0",
        "--device=cpu",
    ]


@pytest.fixture(scope="session")
def segmented(tmp_path_factory, scenes, segment_options):
    """A run folder of a micro segmenter on `scenes`, trained through the command line.

    To be read only.
    """
    from nommer.cli import main  # noqa: PLC0415 - Lightning takes seconds, which not every test needs

    out = tmp_path_factory.mktemp("segmented") / "run"
    with drawn():
        assert main(["train", "--data", str(scenes), "--out", str(out), *segment_options]) == 0
    return out


@pytest.fixture(scope="session")
def digest():
    """Every file below a folder with the hash of its content, to show that nothing was changed."""

    def digest(folder):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    return digest


@pytest.fixture(scope="session")
def train_options():
    """The fewest and smallest of everything, as options of `nommer train`."""
    return [
        "--model=nommer_micro",
        "--epochs=2",
        "--batch-size=6",
        "--image-size=32",
        "--workers=0",
        "--device=cpu",
    ]


@pytest.fixture(scope="session")
def trained(tmp_path_factory, coloured, train_options):
    """A run folder of a micro network on `coloured`, trained through the command line.

    To be read only.
    """
    from nommer.cli import main  # noqa: PLC0415 - Lightning takes seconds, which not every test needs

    out = tmp_path_factory.mktemp("trained") / "run"
    with drawn():
        assert main(["train", "--data", str(coloured), "--out", str(out), *train_options]) == 0
    return out


@pytest.fixture(scope="module")
def sketched():
    """In modules that use it, pictures of runs are sketches (`tests/sketches.py`), also those that
    its other fixtures leave, but for `trained` and `segmented`.
    """
    with saved_by(sketch):
        yield


@pytest.fixture(scope="session")
def tiny_classifier():
    """A fresh micro classifier with given class names, in evaluation mode."""

    def build(names=("blue", "green", "red"), *, seed=0, **options):
        torch.manual_seed(seed)
        network = NetworkOptions(**options).for_image_size(32)
        config = network_config(network, "nommer_micro", num_classes=len(names), image_size=32)
        return Classifier(
            NomMer(config), class_names=names, preprocessing=Preprocessing(image_size=32)
        ).eval()

    return build


@pytest.fixture(scope="session")
def tiny_segmenter(enliven_norms):
    """A fresh micro segmenter with given class names, or another backbone, in evaluation mode with
    lively outputs.
    """
    from nommer.data.joint_transforms import DensePreprocessing  # noqa: PLC0415
    from nommer.models.segmentation import Segmenter  # noqa: PLC0415
    from nommer.models.upernet import UPerNet  # noqa: PLC0415

    def build(
        names=("ground", "ball", "sky"), *, seed=0, image_size=32, backbone=None, **preprocessing
    ):
        torch.manual_seed(seed)
        network = NetworkOptions().for_image_size(image_size)
        config = network_config(network, "nommer_micro", num_classes=0, image_size=image_size)
        network = UPerNet(
            backbone or NomMer(config),
            num_classes=len(names),
            decoder_channels=8,
            auxiliary_channels=4,
        )
        torch.nn.init.normal_(network.classifier[-1].weight)
        colours = [(40 * i % 256, 255 - 60 * i % 256, 90 * i % 256) for i in range(len(names))]
        prepared = DensePreprocessing(image_size=image_size, **preprocessing)
        return Segmenter(
            enliven_norms(network), class_names=names, colours=colours, preprocessing=prepared
        ).eval()

    return build


@pytest.fixture(scope="session")
def enliven_norms():
    """Give batch norms statistics and scales as after training, so that each of them matters to the
    output.
    """

    def enliven(network, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor, low, high in (
                    (module.running_mean, -0.5, 0.5),
                    (module.running_var, 0.5, 2.0),
                    (module.weight.data, 0.5, 1.5),
                    (module.bias.data, -0.5, 0.5),
                ):
                    tensor.uniform_(low, high, generator=generator)
        return network

    return enliven


@pytest.fixture(scope="session")
def unchecked_shapes():
    """A context in which shapes and types in signatures are not checked.

    Compilers cannot look through the checks, and sides that are still open have no value to check.
    """

    @contextmanager
    def context():
        before = jaxtyping.config.jaxtyping_disable
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            yield
        finally:
            jaxtyping.config.update("jaxtyping_disable", before)

    return context


@pytest.fixture
def unchecked(unchecked_shapes):
    """Without the checks of shapes and types."""
    with unchecked_shapes():
        yield


@pytest.fixture(scope="session")
def script():
    """A script of the benchmarks by its name, as a module that finds its neighbours as when it is
    run.
    """
    folder = Path(__file__).resolve().parents[1] / "benchmarks"
    sys.path.insert(0, str(folder))
    yield importlib.import_module
    sys.path.remove(str(folder))


STRONGEST = """<ir_version: 8, opset_import: ["" : 18]>
whole (uint8[batch, height, width, 3] images)
    => (float[batch, 3] probabilities, int64[batch] class_ids)
{
    axes = Constant<value = int64[2] {1, 2}>()
    pixels = Cast<to=1>(images)
    means = ReduceMean<keepdims=0>(pixels, axes)
    probabilities = Softmax<axis=-1>(means)
    class_ids = ArgMax<axis=-1, keepdims=0>(means)
}
"""
"""The graph of a whole file that answers with the strongest colour."""


@pytest.fixture
def strongest(tmp_path):
    """A whole file that answers with the strongest colour, made by hand."""
    import onnx  # noqa: PLC0415 - slow to import
    from onnx import parser  # noqa: PLC0415

    from nommer.checksums import BLANK, stamped  # noqa: PLC0415
    from nommer.models.onnx_files import CHECKSUM, METADATA  # noqa: PLC0415

    model = parser.parse_model(STRONGEST)
    told = {
        "format": 1,
        "whole": True,
        "task": "classification",
        "class_names": ["red", "green", "blue"],
        "outputs": ["probabilities", "class_ids"],
    }
    props = {METADATA: json.dumps(told), CHECKSUM: BLANK.decode()}
    onnx.helper.set_model_props(model, props)
    (tmp_path / "strongest.onnx").write_bytes(stamped(model.SerializeToString()))
    return tmp_path / "strongest.onnx"
