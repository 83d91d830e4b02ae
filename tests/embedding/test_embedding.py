"""Vectors: what they are of, who is near whom, and what is written."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import nommer
from nommer.embedding.files import save_vectors
from nommer.embedding.neighbours import knn_accuracy, near_duplicates, nearest, on_a_map
from nommer.embedding.vectors import Embedder, Place, Vectors
from nommer.models.storage import save_model
from nommer.predictions import Failure


@pytest.fixture(scope="module")
def photos(tmp_path_factory, noisy):
    """Class folders in two splits; one image of val is nearly one of train, another is cut."""
    root = tmp_path_factory.mktemp("photos <b>")
    colours = {"red & <i>": (200, 40, 30), "blue": (30, 40, 200)}
    for split, count in (("train", 3), ("val", 2)):
        for name, colour in colours.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                seed = 10 * number + (split == "val")
                picture = noisy(colour, size=(48, 40), seed=seed)
                picture.save(root / split / name / f"{number} <script>.png")
    whole = Image.open(root / "train" / "blue" / "0 <script>.png")
    whole.save(root / "val" / "blue" / "again.jpg", quality=90)
    return root


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_classifier):
    root = tmp_path_factory.mktemp("embedded")
    save_model(root / "model", tiny_classifier(), metrics={}, version="0")
    return root


def vectors(values, labels=(), splits=()):
    places = [
        Place(str(index), *pair)
        for index, pair in enumerate(
            zip(labels or [""] * len(values), splits or [""] * len(values), strict=True)
        )
    ]
    return Vectors(np.array(values, np.float32), tuple(places))


def test_neighbours_are_those_of_the_largest_cosine():
    known = vectors(np.random.default_rng(0).normal(size=(20, 5)))
    found = nearest(known, None, 3)
    unit = known.values / np.linalg.norm(known.values, axis=1, keepdims=True)
    cosines = unit @ unit.T - 2 * np.eye(20)
    assert np.array_equal(found.indices, np.argsort(-cosines, 1)[:, :3])
    assert np.allclose(found.cosines, -np.sort(-cosines, 1)[:, :3], atol=1e-5)
    asked = nearest(known, vectors(known.values[4:5] * 7), 1)
    assert asked.indices.tolist() == [[4]]
    assert nearest(vectors([[1, 0]]), None, 3).indices.shape == (1, 0)


def test_accuracy_of_neighbours():
    values = [[1, 0.1], [1, 0], [0, 1], [0.1, 1], [1, 0.05]]
    labels = ["a", "a", "b", "b", "b"]
    of_each = knn_accuracy(vectors(values, labels), 1)
    assert of_each == {"knn_accuracy": pytest.approx(0.4), "knn_vectors": 5, "knn_k": 1}
    splits = ["train", "train", "train", "val", "val"]
    assert knn_accuracy(vectors(values, labels, splits), 1)["knn_accuracy"] == 0.5
    assert knn_accuracy(vectors(values), 1) is None


def test_near_duplicates_are_pairs_once():
    found = near_duplicates(vectors([[1, 0], [1, 0.001], [0, 1]]), 0.99)
    assert [(pair.first, pair.second) for pair in found] == [(0, 1)]
    assert near_duplicates(vectors([[1, 0]]), 0.99) == []


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_maps_have_a_place_for_every_vector(method):
    assert on_a_map(vectors(np.random.default_rng(0).normal(size=(9, 5))), method).shape == (9, 2)
    assert on_a_map(vectors([[1, 0]]), method).shape == (1, 2)


def test_vectors_are_the_means_of_maps_and_the_class_token(tiny_classifier, noisy):
    model, image = tiny_classifier(), noisy((90, 10, 40))
    prepared = model.prepare(image)[None]
    with torch.no_grad():
        tokens = model.network.forward_features(prepared)[0]
        maps = model.network.forward_intermediates(prepared, intermediates_only=True)
    for options, expected in (
        ({}, tokens[1:].mean(0)),
        ({"pool": "token"}, tokens[0]),
        ({"stage": 2}, maps[1][0].mean((1, 2))),
    ):
        ((_, vector),) = Embedder(model.train(), **options).of_images([image])
        assert np.allclose(vector, expected.numpy(), atol=1e-5), options
        assert model.training


def test_boxes_and_regions(tiny_classifier, tiny_detector, tiny_segmenter, noisy, tmp_path):
    picture = noisy((200, 40, 30), size=(60, 40))
    picture.paste(noisy((30, 40, 200), size=(30, 40)), (0, 0))
    boxes = np.array([[0.0, 0, 30, 40], [30, 0, 60, 40], [59.6, 39.5, 60, 40]])
    for model in (tiny_classifier(), tiny_detector()):
        found = Embedder(model, stage=2).of_boxes(picture, boxes)
        assert found.shape[0] == 3
        assert np.isfinite(found).all()
        assert not np.allclose(found[0], found[1], atol=1e-3)
    segmenter = tiny_segmenter()
    found, names = Embedder(segmenter).of_regions(picture)
    assert names == list(segmenter.predict(picture)[0].shares)
    assert len(found) == len(names)
    assert np.isfinite(found).all()
    assert isinstance(Embedder(segmenter).of_regions(tmp_path / "nowhere.png"), Failure)


def test_a_data_set_with_labels_neighbours_and_a_page(saved, photos):
    out = saved / "out"
    result = nommer.embed(saved / "model", data=photos, out=out, neighbours=2, batch_size=4)
    assert result.numbers["vectors"] == 11
    stored = np.load(out / "vectors.npz")
    assert np.array_equal(stored["vectors"], result.vectors.values)
    assert stored["files"].tolist() == [place.source for place in result.vectors.places]
    assert set(stored["labels"]) == {"red & <i>", "blue"}
    assert np.isnan(stored["boxes"]).all()
    with (out / "neighbours.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 11
    again = next(row for row in rows if row["file"].endswith("again.jpg"))
    assert again["neighbour"].endswith("train/blue/0 <script>.png")
    facts = json.loads((out / "result.json").read_text())
    assert 0 <= facts["knn_accuracy"] <= 1
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;.png" in page
    assert "<script" not in page
    assert "default-src 'none'" in page, "it loads nothing"
    assert 'src="http' not in page


def test_a_query_and_parquet(saved, photos):
    parquet = pytest.importorskip("pyarrow.parquet")
    asked = photos / "val" / "blue" / "again.jpg"
    result = nommer.embed(
        saved / "model", photos / "train", query=asked, out=saved / "asked", form="parquet"
    )
    assert result.rows[0]["neighbour"].endswith("train/blue/0 <script>.png")
    assert len(result.rows) == 5
    table = parquet.read_table(saved / "asked" / "vectors.parquet")
    assert table.column_names[:3] == ["file", "label", "split"]
    assert np.array_equal(np.stack(table["vector"].to_numpy()), result.vectors.values)


def test_images_that_are_cut_are_told_and_left_out(saved, photos, tmp_path):
    shutil.copytree(photos / "val", tmp_path / "val")
    (tmp_path / "val" / "cut.png").write_bytes(b"no image")
    result = nommer.embed(saved / "model", tmp_path / "val", out=tmp_path / "out")
    (failure,) = result.vectors.failures
    assert failure.source == str(tmp_path / "val" / "cut.png")
    assert len(result.vectors.places) == 5


def test_mistakes_are_told(saved, photos):
    with pytest.raises(nommer.InputError, match=r"needs images or --data, got neither"):
        nommer.embed(saved / "model")
    with pytest.raises(nommer.InputError, match=r"--pool token: the class token is of stage 4"):
        nommer.embed(saved / "model", data=photos, pool="token", stage=2)
    with pytest.raises(nommer.InputError, match=r"--of regions: is for segmenters"):
        nommer.embed(saved / "model", data=photos, of="regions")
    with pytest.raises(nommer.InputError, match=r"--of objects: the images have no boxes"):
        nommer.embed(saved / "model", photos, of="objects", out=saved / "objects")


def test_check_tells_near_duplicates_by_a_model(saved, photos):
    plain = nommer.check(photos, out=saved / "plain")
    assert not [finding for finding in plain.findings if "nearly the same" in finding.what]
    known = nommer.embed(saved / "model", photos, out=saved / "all", neighbours=1)
    again = next(row for row in known.rows if row["file"].endswith("again.jpg"))
    near = float(again["cosine"]) - 1e-4
    found = nommer.check(photos, model=saved / "model", near=near, out=saved / "near")
    told = [finding for finding in found.findings if "nearly the same" in finding.what]
    assert any(
        finding.file.endswith("again.jpg")
        and "train/blue/0 <script>.png" in finding.what
        and "which is in train and this in val" in finding.what
        and finding.severity == "problem"
        for finding in told
    )
    assert found.code == 1


def test_images_that_the_model_cannot_take_are_told(saved, photos, monkeypatch):
    def refuse(_, paths):
        return ((path, Failure(str(path), "integers from 16256 to 18176")) for path in paths)

    monkeypatch.setattr(Embedder, "of_images", refuse)
    found = nommer.check(photos, model=saved / "model", out=saved / "refused")
    told = [finding for finding in found.findings if "cannot be compared by" in finding.what]
    assert [finding.severity for finding in told] == ["problem"]
    assert "16256 to 18176" in told[0].what
    assert found.code == 1


def test_names_that_are_no_utf8_are_written_as_escapes(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    known = Vectors(np.ones((1, 2), np.float32), (Place("caf\udce9.png", "cat", "val"),))
    table = parquet.read_table(save_vectors(known, tmp_path, "parquet"))
    assert table.column("file").to_pylist() == ["caf\\udce9.png"]
    assert np.load(save_vectors(known, tmp_path, "npz"))["files"].tolist() == ["caf\udce9.png"]
