"""Masks in the layouts that people have, and masks with mistakes, through the command line."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

import nommer
from nommer.recipes import recipe_path

pytestmark = pytest.mark.usefixtures("sketched")


@pytest.fixture
def ade20k(tmp_path, draw_scene):
    """ADE20K in miniature, as it is unpacked: 0 is for nothing, the classes begin with 1."""
    root = tmp_path / "ADEChallengeData2016"
    for split, count in (("training", 6), ("validation", 3)):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count):
            name = f"ADE_{'train' if split == 'training' else 'val'}_{number + 1:08}"
            image, labels = draw_scene(number, size=(80, 64))
            image.save(root / "images" / split / f"{name}.jpg")
            Image.fromarray(np.where(labels == 255, 0, labels + 1).astype(np.uint8)).save(
                root / "annotations" / split / f"{name}.png"
            )
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    rows += [
        f"{value}\t0.1\t1\t1\t0\t{name}"
        for value, name in enumerate(("wall", "building, edifice", "sky"), start=1)
    ]
    (root / "objectInfo150.txt").write_text("\n".join(rows) + "\n")
    return root


def test_the_ade20k_recipe_trains_on_its_layout(run, ade20k, tmp_path):
    """Those of the other variants differ in `model` and `network.drop_path_rate` alone."""
    recipes = {name: f"ade20k_upernet_160k_nommer_{name}" for name in ("tiny", "small", "base")}
    settings, *others = (
        yaml.safe_load(recipe_path(recipe).read_text()) for recipe in recipes.values()
    )
    for other in others:
        other["network"]["drop_path_rate"] = settings["network"]["drop_path_rate"]
        assert other | {"model": settings["model"]} == settings
    settings["network"]["drop_path_rate"] = 0.1
    settings["segmentation"] |= {
        "decoder_channels": 8,
        "auxiliary_channels": 4,
        "short_side": 48,
        "long_side": 192,
    }
    settings |= {
        "model": "nommer_micro",
        "image_size": 48,
        "epochs": 1,
        "epoch_steps": 3,
        "workers": 0,
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    run(
        "train --data",
        ade20k,
        "--config",
        tmp_path / "small.yaml",
        "--out",
        tmp_path / "run",
        "--device cpu",
    )
    model = nommer.load(tmp_path / "run")
    assert model.class_names[:3] == ("wall", "building", "sky"), "the first of several synonyms"
    assert model.preprocessing.short_side == 48
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["pixels"] == 3 * 78 * 62, "the pixels with value 0 do not count"
    views = "--inference.mode whole --inference.scales [0.5,0.75,1.0,1.25,1.5,1.75]"
    views += " --inference.flip true"
    run("evaluate", tmp_path / "run", "--workers 0 --out", tmp_path / "multi", views)
    assert (
        json.loads((tmp_path / "multi" / "result.json").read_text())["pixels"] == result["pixels"]
    )


def rgb_masks(root):
    """Masks in the classes' colours instead of values."""
    classes = yaml.safe_load((root / "classes.yaml").read_text())
    colours = np.zeros((256, 3), np.uint8)
    for entry in classes["classes"]:
        colours[entry.pop("value")] = entry["color"]
    classes["ignore"] = [[0, 0, 0]]
    (root / "classes.yaml").write_text(yaml.safe_dump(classes))
    for path in (root / "masks").rglob("*.png"):
        Image.fromarray(colours[np.array(Image.open(path))]).save(path)


def palette_masks(root):
    """Masks with a palette, as annotation tools write them."""
    for path in (root / "masks").rglob("*.png"):
        image = Image.open(path).copy()
        image.putpalette([value for index in range(256) for value in (index, 255 - index, 128)])
        image.save(path)


def lists(root):
    """One folder each of images and masks, and lists that split them."""
    for split in ("train", "val"):
        names = []
        for kind in ("images", "masks"):
            for path in sorted((root / kind / split).iterdir()):
                path.rename(root / kind / f"{split}{path.name}")
                names.append(f"{split}{path.stem}")
            (root / kind / split).rmdir()
        (root / f"{split}.txt").write_text("\n".join(dict.fromkeys(names)) + "\n")


def test_the_same_masks_in_another_guise_train_the_same(
    run, write_scenes, segment_options, segmented, tmp_path
):
    root = write_scenes(tmp_path / "data", {"train": 6, "val": 3})
    rgb_masks(root)
    run("train --data", root, "--out", tmp_path / "run", *segment_options)
    found, expected = (
        json.loads((folder / "result.json").read_text()) for folder in (tmp_path / "run", segmented)
    )
    assert found["confusion"] == expected["confusion"]


@pytest.mark.parametrize("change", [palette_masks, lists])
def test_the_same_masks_in_another_guise_are_read_the_same(
    run, write_scenes, scenes, segmented, tmp_path, change
):
    root = write_scenes(tmp_path / "data", {"train": 6, "val": 3})
    change(root)
    for name, data in (("found", root), ("expected", scenes)):
        run("evaluate", segmented, "--data", data, "--split all --workers 0 --out", tmp_path / name)
    found, expected = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("found", "expected")
    )
    assert found["images"] == 9
    assert found["confusion"] == expected["confusion"]


def replace_mask(root, image):
    path = root / "masks" / "train" / "2.png"
    image.save(path)
    return path


@pytest.mark.slow
def test_masks_in_colour_with_a_class_file_elsewhere_go_through_every_verb(
    run, write_scenes, segment_options, tmp_path
):
    root = write_scenes(tmp_path / "data", {"train": 6, "val": 3})
    rgb_masks(root)
    (root / "classes.yaml").rename(tmp_path / "colours.yaml")
    options = ("--classes", tmp_path / "colours.yaml", *segment_options, "--epochs=1")
    run("train --data", root, "--out", tmp_path / "run", *options)
    run("evaluate", tmp_path / "run", "--workers 0 --out", tmp_path / "out")
    run("export", tmp_path / "run", "--format torch_export --out", tmp_path / "exported")
    found, expected = (
        json.loads((folder / "result.json").read_text())
        for folder in (tmp_path / "out", tmp_path / "run")
    )
    assert found["confusion"] == expected["confusion"]


MISTAKES = {
    "an unknown value": (
        lambda root: replace_mask(root, Image.new("L", (48, 40), 9)),
        ("value 9", "1,920 pixels", "expected 0-2"),
    ),
    "another size": (
        lambda root: replace_mask(root, Image.new("L", (40, 48))),
        ("40 x 48", "48 x 40"),
    ),
    "16 bits beyond the classes": (
        lambda root: replace_mask(root, Image.fromarray(np.full((40, 48), 700, np.uint16))),
        ("value 700", "expected 0-2"),
    ),
    "0 and 255 only": (
        lambda root: replace_mask(root, Image.fromarray(np.full((40, 48), 200, np.uint8))),
        ("value 200",),
    ),
    "colour where numbers are": (
        lambda root: replace_mask(root, Image.new("RGB", (48, 40), (1, 2, 3))),
        ("(1, 2, 3)",),
    ),
    "a cut file": (lambda root: cut(root / "masks" / "train" / "2.png"), ("cannot be decoded",)),
    "a missing mask": (lambda root: remove(root / "masks" / "train" / "2.png"), ("mask",)),
    "a JPEG called PNG": (lambda root: jpeg(root / "masks" / "train" / "2.png"), ("JPEG",)),
}


def cut(path):
    path.write_bytes(path.read_bytes()[:60])
    return path


def remove(path):
    path.unlink()
    return path.parents[2] / "images" / "train" / "2.png"


def jpeg(path):
    Image.new("L", (48, 40)).save(path, format="JPEG")
    return path


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_names_the_file_and_nothing_is_written(
    refused, write_scenes, segment_options, tmp_path, case
):
    root = write_scenes(tmp_path / "data", {"train": 6, "val": 2})
    make, expected = MISTAKES[case]
    path = make(root)
    sentence = refused(
        "train --data", root, "--out", tmp_path / "run", *segment_options, "--on-bad-sample error"
    )
    assert str(path) in sentence
    for part in expected:
        assert part in sentence
    assert not (tmp_path / "run").exists()


def test_what_is_left_out_is_listed_and_counted(run, write_scenes, segment_options, tmp_path):
    root = write_scenes(tmp_path / "data", {"train": 8, "val": 2})
    bad = replace_mask(root, Image.new("L", (48, 40), 9))
    empty = root / "masks" / "train" / "3.png"
    Image.new("L", (48, 40), 255).save(empty)
    (root / "masks" / "train" / "extra.png").write_bytes(bad.read_bytes())
    options = [*segment_options, "--epochs=1", "--on-bad-sample skip"]
    printed = run("train --data", root, "--out", tmp_path / "run", *options)
    issues = [
        json.loads(line)
        for line in (tmp_path / "run" / "data_issues.jsonl").read_text().splitlines()
    ]
    left_out = [issue for issue in issues if issue["done"].startswith("left out")]
    assert len(left_out) == 3
    assert "3 files left out" in printed.err
    named = " ".join(issue["file"] + issue["what"] for issue in left_out)
    for name in ("2.png", "3.png", "extra.png"):
        assert name in named
    assert "6 train, 2 val images" in printed.err


def test_binary_masks_are_explained(run, write_scenes, tmp_path):
    root = write_scenes(tmp_path / "data", {"train": 4, "val": 2})
    (root / "classes.yaml").unlink()
    for path in (root / "masks").rglob("*.png"):
        Image.fromarray(np.where(np.array(Image.open(path)) == 1, 255, 0).astype(np.uint8)).save(
            path
        )
    printed = run("train --data", root, "--out", tmp_path / "run", code=2)
    assert "0 and 255" in printed.err
    assert "{name: object, value: 255}" in printed.err
