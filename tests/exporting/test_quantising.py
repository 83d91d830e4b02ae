"""On which images an export in integers is calibrated, and on which its answers are compared."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nommer.errors import InputError
from nommer.exporting import int8, quantising
from nommer.tasks.classification.exporting import ClassificationExport


@pytest.fixture
def report(tiny_classifier, tmp_path, monkeypatch):
    """Return a function to the report of an export without labels, of so many images."""
    model, calibrated = tiny_classifier(), []
    model.network.precision = "int8"  # as an exported one has it
    monkeypatch.setattr(model, "prepare", lambda path: torch.full((3, 32, 32), float(path.stem)))
    few = replace(ClassificationExport.quantising, calibration_images=4, agreement_images=6)
    monkeypatch.setattr(ClassificationExport, "quantising", few)
    monkeypatch.setattr(quantising, "load_exported", lambda _path: model)

    def quantise(source, target, images):
        calibrated.extend(int(image[0, 0, 0]) for image in images)
        target.write_bytes(source.read_bytes())

    def run(count):
        monkeypatch.setattr(int8, "quantise", quantise)
        (tmp_path / "model.onnx").write_bytes(b"")
        paths = [Path(f"{number}.png") for number in range(count)]
        quantising.quantise_export(model, None, paths, tmp_path, precision="int8", max_drop=0.01)
        return json.loads((tmp_path / "quantisation.json").read_text()), calibrated

    return run


@pytest.mark.parametrize(
    ("count", "images", "seen"), [(16, 6, 0), (9, 5, 0), (8, 4, 0), (7, 6, 4), (3, 3, 3)]
)
def test_without_labels_answers_are_compared_on_other_images_where_there_are_as_many(
    report, count, images, seen
):
    told, calibrated = report(count)
    assert (told["calibration_images"], told["images"], told["seen_images"]) == (
        min(4, count),
        images,
        seen,
    )
    assert calibrated == [number * count // min(4, count) for number in range(min(4, count))]


def test_images_without_labels_are_said_so_without_the_layouts(monkeypatch, capsys):
    def refuse(_settings):
        raise InputError("photos: found no folders of images; accepted layouts are\n  DATA/CLASS")

    monkeypatch.setattr(quantising, "open_model_and_data", refuse)
    assert quantising.open_labelled(Path("run"), Path("photos")) is None
    told = "on (photos: found no folders of images): only answers are compared\n"
    assert capsys.readouterr().err.endswith(told)


@pytest.mark.parametrize(("vnni", "bits"), [(True, 8), (False, 7)])
def test_the_bits_of_weights_are_the_processors_and_are_told(report, monkeypatch, vnni, bits):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: vnni)
    assert report(8)[0]["weight_bits"] == bits
