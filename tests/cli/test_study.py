"""`nommer explain RUN --data DATA`.

The working pattern of a data set, of every task, through the command line.
"""

import csv
import json
import re
import shlex
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nommer
from nommer.backbone.contexts import CONTEXTS
from nommer.cli import main
from nommer.inference import evaluate
from nommer.models import inference, segmentation
from nommer.models.storage import nommer_of, save_model
from nommer.nominations.faithfulness import sensitivity
from nommer.nominations.intervention import intervene
from nommer.nominations.trace import NominationTrace, nominator_blocks
from nommer.studies import faithfulness, pattern, study
from nommer.studies.partial import region_seen

BLOCKS = ["stage 1 block 1", "stage 2 block 1"]
OPTIONS = "--workers 0 --device cpu"
EVERYWHERE = {
    "blocks",
    "class",
    "gradient",
    "frequency",
    "neighbours",
    "between_blocks",
    "epochs",
    "interventions",
}
EVERYWHERE |= {"tokens"}
KINDS = {"convolution", "window", "global", "mean", "chance", "second", "sampled"}


def table(folder, name):
    """The rows of a table, its numbers as numbers."""
    with (folder / f"{name}.csv").open(newline="") as stream:
        return [
            {key: number(value) for key, value in row.items()} for row in csv.DictReader(stream)
        ]


def number(text):
    try:
        return float(text)
    except ValueError:
        return text or None


def result(folder):
    return json.loads((folder / "result.json").read_text())


class Addresses(HTMLParser):
    """Collects whatever a browser would fetch, and the words."""

    def __init__(self, text):
        super().__init__()
        self.found, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "iframe", "object", "embed", "base")
        self.found += [
            value
            for key, value in attributes
            if key in ("src", "srcset", "href", "data", "action", "poster")
        ]

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def studied(tmp_path_factory, trained, coloured):
    """The study of a classifier on the data of its run, in a folder; to be read only."""
    out = tmp_path_factory.mktemp("studied") / "study"
    nommer.explain(trained, data=coloured, out=out, workers=0, device="cpu")
    return out


@pytest.fixture(scope="module")
def studied_pixels(tmp_path_factory, segmented, scenes):
    out = tmp_path_factory.mktemp("studied") / "pixels"
    nommer.explain(segmented, data=scenes, out=out, workers=0, device="cpu")
    return out


BOXES = {0: (8, 8, 24, 24), 1: (32, 16, 64, 32)}
"""Objects of the made images by class: left, upper, right, lower; whole tokens of both blocks."""


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """Images of 64 x 48 pixels with two objects each, in YOLO format; the third image is empty."""
    root = tmp_path_factory.mktemp("boxed")
    root.joinpath("data.yaml").write_text(
        json.dumps({"train": "images/train", "val": "images/val", "names": ["a", "b"]})
    )
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(3):
            pixels = np.random.default_rng(index).integers(80, 120, (48, 64, 3)).astype(np.uint8)
            lines = []
            for label, (left, upper, right, lower) in BOXES.items() if index < 2 else ():
                pixels[upper:lower, left:right, label] = 220
                values = (
                    (left + right) / 2 / 64,
                    (upper + lower) / 2 / 48,
                    (right - left) / 64,
                    (lower - upper) / 48,
                )
                lines.append(" ".join(map(str, (label, *values))))
            Image.fromarray(pixels).save(root / "images" / split / f"{index}.png")
            (root / "labels" / split / f"{index}.txt").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def detected(tmp_path_factory, boxed):
    """A detector trained for moments, to be read only."""
    out = tmp_path_factory.mktemp("detected") / "run"
    sizes = [
        "--detection.short-side=48",
        "--detection.fpn-channels=8",
        "--detection.box-channels=16",
    ]
    options = [
        "--model=nommer_micro",
        "--epochs=1",
        "--batch-size=3",
        "--workers=0",
        "--device=cpu",
        *sizes,
    ]
    assert main(["train", "--data", str(boxed), "--out", str(out), *options]) == 0
    return out


@pytest.fixture(scope="module")
def studied_objects(tmp_path_factory, detected, boxed):
    out = tmp_path_factory.mktemp("studied") / "objects"
    nommer.explain(detected, data=boxed, out=out, workers=0, device="cpu")
    return out


@pytest.fixture
def _no_report(monkeypatch):
    """Studies write their tables alone, in a third of the time; others test the reports."""
    monkeypatch.setattr(study, "save_report", lambda *_, **__: None)


def only_nominates(model, context):
    """Make every nominator score one context above the others, whatever it sees."""
    for name, module in model.named_modules():
        if name.endswith("nominator"):
            torch.nn.init.zeros_(module.score.weight)
            module.score.bias.data = torch.eye(3)[CONTEXTS.index(context)] * 5
    return model


def test_every_number_is_in_a_table_and_in_the_result(studied):
    found = result(studied)
    assert set(found["tables"]) == EVERYWHERE | {"sensitivity", "curves", "areas"}
    for name, rows in found["tables"].items():
        written = table(studied, name)
        assert len(rows) == len(written)
        for row, line in zip(rows, written, strict=True):
            assert {key: row.get(key) for key in line} == line
    assert {path.name for path in studied.iterdir()} == {
        *(f"{name}.csv" for name in found["tables"]),
        *("report.html", "result.json", "environment.json", "data_issues.jsonl"),
    }
    assert found["images"] == found["images_judged"] == 9
    assert found["measure"] == "top1"


def test_what_cannot_be_had_is_said(studied):
    absent = result(studied)["absent"]
    assert set(absent) == {"part", "distance", "size", "parts"}
    assert all("one class per image" in why for why in absent.values())
    words = " ".join(Addresses((studied / "report.html").read_text()).words)
    assert "What could not be had" in words
    assert "neither boxes nor masks" in words


def test_shares_are_those_that_training_wrote_down(studied, trained):
    """The weights of the best epoch nominate on the validation images what training's own record
    says.
    """
    recorded = table(trained, "nominations")
    assert table(studied, "epochs") == recorded
    best = json.loads((trained / "model" / "model.json").read_text())["metrics"]["epoch"]
    for row in table(studied, "blocks"):
        (same,) = [r for r in recorded if (r["epoch"], r["block"]) == (best, row["block"])]
        assert [row[name] for name in CONTEXTS] == pytest.approx(
            [same[name] for name in CONTEXTS], abs=1e-3
        )
        assert all(row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] for name in CONTEXTS)


def test_the_judgement_is_that_of_evaluate(studied, run, trained, coloured, tmp_path, monkeypatch):
    monkeypatch.setattr(
        evaluate, "fuse", lambda model: model
    )  # in which `evaluate` rounds in another order
    run("evaluate", trained, "--data", coloured, "--out", tmp_path / "e", OPTIONS)
    evaluated = result(tmp_path / "e")
    judgement = result(studied)["judgement"]
    assert {name: evaluated[name] for name in judgement} == judgement
    effects = table(studied, "interventions")
    assert effects[0]["top1"] == evaluated["top1"]
    assert {(row["block"], row["intervention"]) for row in effects[1:]} == {
        (block, kind) for block in (*BLOCKS, "all blocks") for kind in KINDS
    }


@pytest.mark.usefixtures("_no_report")
def test_a_model_that_must_nominate_the_global_context_shows_nothing_else(
    run, trained, coloured, tmp_path
):
    model = only_nominates(nommer.load(trained), "global")
    save_model(tmp_path / "model", model, metrics={}, version="0")
    out = tmp_path / "out"
    printed = run("explain", tmp_path / "model", "--data", coloured, "--out", out, OPTIONS)
    assert "100.0%" in printed.out
    for name in ("blocks", "class", "gradient", "frequency"):
        for row in table(out, name):
            assert [row[context] for context in CONTEXTS] == [0, 0, 1]
            assert [row[f"{context}_low"] for context in CONTEXTS] == [0, 0, 1]
            assert [row[f"{context}_high"] for context in CONTEXTS] == [0, 0, 1]
    for row in (*table(out, "neighbours"), *table(out, "between_blocks")):
        assert (row["agreement"], row["kappa"]) == (1, None)
    forced = [row for row in table(out, "interventions") if row["intervention"] == "global"]
    assert len(forced) == 3
    for row in forced:
        assert (row["change"], row["changed_answers"], row["probability_change"]) == (0, 0, 0), (
            "forcing what is so"
        )
    other = [
        row for row in table(out, "interventions") if row["intervention"] in ("window", "mean")
    ]
    assert all(row["probability_change"] != 0 for row in other)
    assert (
        "no nominations.csv" in result(out)["absent"]["epochs"]
        or "not in a run folder" in result(out)["absent"]["epochs"]
    )


def test_interventions_leave_the_model_as_it_was(studied):
    """The last evaluation is with all blocks changed.

    The curves after it begin at the model's own probabilities.
    """
    curves = [
        row
        for row in table(studied, "curves")
        if row["way"] == "deletion" and row["share_of_cells"] == 0
    ]
    assert len({round(row["probability"], 6) for row in curves}) == 1
    assert {row["order"] for row in curves} == {
        *(
            "nominations that matter",
            "share of the global context",
            "probability of the global context",
        ),
        *("integrated gradients", "gradient", "random order"),
    }
    areas = table(studied, "areas")
    assert all(row["area_low"] <= row["area"] <= row["area_high"] for row in areas)
    assert {row["against_random"] for row in areas if row["order"] == "random order"} == {0}


@pytest.mark.slow
@pytest.mark.usefixtures("_no_report")
def test_the_same_seed_gives_the_same_study(studied, trained, coloured, tmp_path, run):
    run("explain", trained, "--data", coloured, "--out", tmp_path / "again", OPTIONS)
    again, before = result(tmp_path / "again"), result(studied)
    assert again["tables"] == before["tables"]
    assert again["judgement"] == before["judgement"]


@pytest.mark.slow
@pytest.mark.usefixtures("_no_report")
def test_interventions_are_evaluated_on_as_many_images_as_asked_for(
    run, trained, coloured, tmp_path
):
    out = tmp_path / "out"
    printed = run(
        "explain",
        trained,
        "--data",
        coloured,
        "--most-images 4 --seed 5 --split train --out",
        out,
        OPTIONS,
    )
    assert "18 images of" in printed.err
    assert "interventions on 4 of them (--most-images), drawn with seed 5" in printed.err
    found = result(out)
    assert (found["images"], found["images_judged"], found["split"]) == (18, 4, "train")
    assert {row["images"] for row in found["tables"]["blocks"]} == {18}
    assert {row["images"] for row in found["tables"]["areas"]} == {4}
    assert len(found["tables"]["sensitivity"]) == 4 * 64


def test_the_report_needs_no_network_and_says_what_was_done(studied):
    text = (studied / "report.html").read_text()
    page = Addresses(text)
    assert all(address.startswith(("data:", "#")) for address in page.found)
    assert not re.search(r"url\((?!['\"]?data:)", text)
    assert "@import" not in text
    words = " ".join(page.words)
    for heading in (
        "How often each context is nominated",
        "By class",
        "Do neighbours and blocks agree?",
        "Does it matter?",
    ):
        assert heading in words
    assert "95 % intervals" in words
    assert text.count("<img") >= 10
    assert all(row["block"] in words for row in table(studied, "blocks"))
    for colour in ("blue", "green", "red"):  # examples of different folders may have one name
        assert re.search(rf"val/{colour}/\S+\.png", words)
    assert (
        shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "nommer"), *sys.argv[1:]])
        in words
    )


@pytest.mark.parametrize("folder", ["studied", "studied_pixels", "studied_objects"])
def test_tokens_of_some_images_are_shown_with_what_they_see(request, run, folder):
    out = request.getfixturevalue(folder)
    rows, found = table(out, "tokens"), result(out)
    assert len({row["file"] for row in rows}) == 3
    for row in rows:
        if row["block"] in BLOCKS:
            assert row["sees_by"] in CONTEXTS
            assert 0 < row["receptive_field"] <= 1
        else:
            assert (row["sees_by"], row["receptive_field"]) == ("attention", None)
            assert 0 < row["largest_weight"] <= 1
    page = (out / "report.html").read_text()
    assert "What some tokens see" in page
    said = [
        text for text in re.findall(r'alt="([^"]*)"', page) if text.startswith("The token at x ")
    ]
    assert len(said) == 3
    for row in rows:
        assert any(f"x {row['x']:.0f}, y {row['y']:.0f} sees" in text for text in said)
    nominated = {row["sees_by"] for row in rows} - {"attention"}
    shares = {c for c in CONTEXTS if any(row[c] > 0 for row in found["tables"]["blocks"])}
    assert nominated <= shares
    assert len(nominated) >= min(2, len(shares)) or folder != "studied"


def test_regions_of_pixels_are_counted_exactly(studied_pixels, scenes):
    found = result(studied_pixels)
    assert set(found["tables"]) == EVERYWHERE | {"distance", "size"}
    assert "no class is called background" in found["absent"]["part"]
    assert "classifier" in found["absent"]["curves"]
    masks = [
        np.asarray(Image.open(path)) for path in sorted((scenes / "masks" / "val").glob("*.png"))
    ]
    counts = sum(np.bincount(mask[mask != 255], minlength=3) for mask in masks)
    for row in found["tables"]["class"]:
        assert row["pixels"] == counts[["ground", "ball", "sky"].index(row["group"])]
        assert row["images"] == 3
    for name in ("distance", "size"):
        for block in BLOCKS:
            assert (
                sum(row["pixels"] for row in found["tables"][name] if row["block"] == block)
                == counts.sum()
            )
    effects = found["tables"]["interventions"]
    assert effects[0]["miou"] == found["judgement"]["miou"]
    assert effects[0]["miou_low"] <= effects[0]["miou"] <= effects[0]["miou_high"]
    shares = {row["part"]: row["share_of_pixels"] for row in effects if "share_of_pixels" in row}
    assert set(shares) == {"near borders", "away from borders"}
    assert sum(shares.values()) == pytest.approx(counts.sum() / (3 * 48 * 40)), (
        "ignored pixels are in no part"
    )
    assert {row["intervention"] for row in effects if row["part"] == "near borders"} == KINDS
    assert all(0 <= row["changed_pixels"] <= 1 for row in effects[1:])
    assert any(row["changed_pixels"] > 0 for row in effects[1:])


def test_regions_of_objects_are_counted_exactly(studied_objects):
    found = result(studied_objects)
    tables = found["tables"]
    assert set(tables) == EVERYWHERE | {"part", "distance", "size"}
    areas = [2 * 16 * 16, 2 * 32 * 16]
    for block in BLOCKS:
        parts = {row["group"]: row for row in tables["part"] if row["block"] == block}
        assert parts["objects"]["pixels"] == sum(areas)
        assert parts["background"]["pixels"] == 3 * 64 * 48 - sum(areas)
        assert (parts["objects"]["images"], parts["background"]["images"]) == (2, 3)
        classes = {row["group"]: row["pixels"] for row in tables["class"] if row["block"] == block}
        assert classes == {"a": areas[0], "b": areas[1]}
        sizes = {row["group"]: row["pixels"] for row in tables["size"] if row["block"] == block}
        assert sizes == {"small": sum(areas)}
        distances = {
            row["group"]: row["pixels"] for row in tables["distance"] if row["block"] == block
        }
        inside = sum(count for group, count in distances.items() if group.startswith("inside"))
        assert inside == sum(areas)
        assert sum(distances.values()) == 2 * 64 * 48, (
            "the third image has no border to be far from"
        )
        whole, weights = (
            {r["block"]: r for r in tables["blocks"]}[block],
            {n: r["pixels"] for n, r in parts.items()},
        )
        for context in CONTEXTS:
            mean = sum(parts[name][context] * weight for name, weight in weights.items()) / sum(
                weights.values()
            )
            assert whole[context] == pytest.approx(mean), "all tokens are of the same size here"
    effects = tables["interventions"]
    assert effects[0]["box_ap"] == found["judgement"]["box_ap"]
    for part, share in (
        ("objects", sum(areas) / (3 * 64 * 48)),
        ("background", 1 - sum(areas) / (3 * 64 * 48)),
    ):
        rows = [row for row in effects if row["part"] == part]
        assert {(row["block"], row["intervention"]) for row in rows} == {
            ("all blocks", kind) for kind in KINDS
        }
        assert [row["share_of_pixels"] for row in rows] == pytest.approx([share] * len(rows))
    assert "objects or background, only tokens whose centre" in " ".join(
        Addresses((studied_objects / "report.html").read_text()).words
    )


@pytest.mark.parametrize("name", ["detected", "segmented"])
def test_an_intervention_in_a_part_changes_the_tokens_of_that_part_alone(request, noisy, name):
    model = only_nominates(nommer.load(request.getfixturevalue(name)), "window").eval()
    prepared, inside = (
        model.preprocessing(noisy((90, 90, 90), size=(70, 50))),
        np.zeros((50, 70), bool),
    )
    inside[11:31, 17:70] = True
    height, width = prepared.shape[1:]
    rows, columns = ((np.arange(n) + 0.5) * own / n for n, own in ((height, 50), (width, 70)))
    seen = inside[rows.astype(int)][:, columns.astype(int)]
    network = nommer_of(model, "the model")
    region = region_seen(inside, (height, width), network.config.reductions[-1])
    with intervene(model, "global", region=region), NominationTrace(model, keep_maps=True) as trace:
        if name == "detected":
            model.detect(prepared, size=(50, 70))
        else:
            model.label(prepared[None], size=(50, 70))
    for block, stride in zip(BLOCKS, network.config.reductions, strict=False):
        nominated = trace.maps(block)[0].numpy()
        centres = [np.arange(count) * stride + stride // 2 for count in nominated.shape]
        padded = np.zeros([(count + 1) * stride for count in nominated.shape], bool)
        padded[:height, :width] = seen
        expected = np.where(
            padded[np.ix_(*centres)], CONTEXTS.index("global"), CONTEXTS.index("window")
        )
        assert (nominated == expected).all(), "the padding is in no part"
        assert len(np.unique(nominated)) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("_no_report")
def test_pixels_and_objects_of_a_forced_model_show_nothing_else(
    run, segmented, scenes, detected, boxed, tmp_path
):
    for number, (path, data) in enumerate(((segmented, scenes), (detected, boxed))):
        model = only_nominates(nommer.load(path), "window")
        save_model(tmp_path / f"model{number}", model, metrics={}, version="0")
        out = tmp_path / f"out{number}"
        run("explain", tmp_path / f"model{number}", "--data", data, "--out", out, OPTIONS)
        for name in (
            "blocks",
            "class",
            "distance",
            "size",
            "gradient",
            "frequency",
            *(["part"] if number else []),
        ):
            assert {row["window"] for row in table(out, name)} == {1}
        forced = [row for row in table(out, "interventions") if row["intervention"] == "window"]
        assert {row["change"] for row in forced} == {0}
        assert number or {row["changed_pixels"] for row in forced} == {0}


def test_a_large_image_is_seen_whole_and_shrunk(run, segmented, scenes, tmp_path, monkeypatch):

    monkeypatch.setattr(pattern, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(segmentation, "WHOLE_PIXELS", 1000)
    monkeypatch.setattr(inference, "WHOLE_PIXELS", 1000)
    run(
        "explain",
        segmented,
        "--data",
        scenes,
        "--out",
        tmp_path / "out",
        "--most-images 1",
        OPTIONS,
    )
    found = result(tmp_path / "out")
    assert found["shrunk"] == 3
    assert "too large to be seen whole" in found["absent"]["parts"]
    assert {row["part"] for row in found["tables"]["interventions"]} == {"everywhere"}
    stage1 = next(row for row in found["tables"]["blocks"] if row["block"] == BLOCKS[0])
    assert stage1["tokens"] <= 3 * 1000 / found["token"] ** 2 * 1.2
    assert "too large to be seen whole" in (tmp_path / "out" / "report.html").read_text()


def test_one_images_decision_is_shown_where_it_hangs_on_nominations(
    run, refused, trained, segmented, coloured, tmp_path
):
    image, out = coloured / "val" / "red" / "red-0.png", tmp_path / "out"
    run("explain", trained, image, "--sensitivity --device cpu --out", out)
    (found,) = result(out)
    model = nommer.load(trained)
    prepared = model.prepare(image)
    (answer,) = model.predict(image)
    expected = sensitivity(model.eval(), prepared, model.class_names.index(answer.name))
    assert torch.allclose(torch.tensor(found["sensitivity"]), expected, atol=1e-4), (
        "the explained model is fused"
    )
    with Image.open(out / "sensitivity" / "red-0.png") as picture:
        assert min(picture.size) > 100
    told = refused("explain", segmented, image, "--sensitivity --device cpu --out", tmp_path / "no")
    assert "--sensitivity: follows the probability of one answer per image" in told
    assert "only for images" in refused(
        "explain", trained, "--data", coloured, "--sensitivity --out", tmp_path / "no"
    )
    assert not (tmp_path / "no").exists()


def test_what_is_stopped_leaves_nothing_behind(run, trained, coloured, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "measure_effects", stop)
    printed = run(
        "explain", trained, "--data", coloured, "--out", tmp_path / "out", OPTIONS, code=130
    )
    assert "stopped" in printed.err
    assert not (tmp_path / "out").exists()
    model = nommer.load(trained)
    assert sum(len(module._forward_hooks) for module in nominator_blocks(model).values()) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("_no_report")
def test_without_captum_the_other_orders_are_compared(
    run, trained, coloured, tmp_path, monkeypatch
):

    monkeypatch.setattr(faithfulness, "find_spec", lambda name: None)
    printed = run(
        "explain", trained, "--data", coloured, "--most-images 2 --out", tmp_path / "out", OPTIONS
    )
    assert "pip install 'nommer[explain]'" in printed.out
    orders = {row["order"] for row in table(tmp_path / "out", "areas")}
    assert "random order" in orders
    assert "gradient" not in orders


def test_mistakes_are_named(refused, trained, segmented, coloured, scenes, tmp_path):
    out = ("--out", tmp_path / "out")
    image = coloured / "val" / "red" / "red-0.png"
    both = refused("explain", trained, image, "--data", coloured, *out)
    assert "leave out either --data or the images" in both
    assert refused("explain", trained, *out) == (
        "nothing to explain: name images (files, folders, patterns), or a data set with --data"
    )
    for option in (
        "--most-images 3",
        "--split val",
        "--seed 1",
        "--workers 0",
        "--batch-size 2",
        "--precision 32",
    ):
        found = refused("explain", trained, image, *out, option)
        assert (
            found == f"{option.split()[0]}: does nothing for images, only with --data; leave it out"
        )
    data = ("--data", coloured, OPTIONS, *out)
    assert "--most-images must be 1 or more, got 0" in refused(
        "explain", trained, "--most-images 0", *data
    )
    assert "is laid out for classification, but the model does segmentation" in refused(
        "explain", segmented, *data
    )
    assert "has no split 'test'" in refused("explain", trained, "--split test", *data)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_network_that_nominates_nothing_is_refused(
    run, refused, coloured, tmp_path, train_options
):
    for name, option in (
        ("peer", "--model timm:test_resnet"),
        ("one", "--network.contexts [global]"),
    ):
        options = [o for o in train_options if name == "one" or not o.startswith("--model")]
        run("train --data", coloured, "--out", tmp_path / name, *options, option)
        found = refused(
            "explain", tmp_path / name, "--data", coloured, OPTIONS, "--out", tmp_path / "out"
        )
        assert "nominat" in found or "NomMer" in found
    assert not (tmp_path / "out").exists()
