"""`nommer predict` and `nommer explain`: every image that is named gets its answer or its error."""

import csv
import io
import json
import shutil
import sys
import weakref

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

import nommer
from nommer.backbone.checkpoint import to_published
from nommer.backbone.contexts import CONTEXTS
from nommer.backbone.variants import VARIANTS
from nommer.models.storage import save_model
from nommer.nominations.images import explain_images
from nommer.nominations.render import CONTEXT_COLOURS
from nommer.studies import explaining


@pytest.fixture
def images(tmp_path, noisy):
    """A folder with good images of several kinds, one cut file, and files that are no images."""
    folder = tmp_path / "my images ü"
    (folder / "deep").mkdir(parents=True)
    noisy((30, 40, 200), size=(300, 200)).save(folder / "a [1].png")
    noisy((40, 190, 50), size=(20, 90)).save(folder / "b.jpg")
    noisy((200, 40, 30)).convert("CMYK").save(folder / "deep" / "c.tif")
    whole = (folder / "a [1].png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no image")
    return folder


def answers(out):
    return json.loads((out / "result.json").read_text(encoding="utf-8"))


def test_a_folder_with_a_broken_file_among_good_ones(run, trained, images, tmp_path, digest):
    before = digest(images)
    printed = run("predict", trained, images, "--out", tmp_path / "out", code=1)
    assert digest(images) == before
    found = {answer["image"]: answer for answer in answers(tmp_path / "out")}
    names = ["a [1].png", "b.jpg", "cut.png", "deep/c.tif"]
    assert list(found) == [str(images / name) for name in names]
    assert found[str(images / "cut.png")].keys() == {"image", "error"}
    assert "truncated" in found[str(images / "cut.png")]["error"]
    model = nommer.load(trained)
    for name in ("a [1].png", "b.jpg", "deep/c.tif"):
        (expected,) = model.predict(images / name)
        top = found[str(images / name)]["top"]
        assert [entry["class"] for entry in top] == [label for label, _ in expected.top(5)]
        assert sum(entry["probability"] for entry in top) == pytest.approx(1, abs=1e-5)
        assert top[0]["probability"] == pytest.approx(expected.probability, abs=1e-5)
        line = next(line for line in printed.out.splitlines() if name in line)
        assert f"{expected.name}" in line
        assert f"{expected.probability:.1%}" in line
    assert "error" in next(line for line in printed.out.splitlines() if "cut.png" in line)
    pictures = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert pictures == ["a [1].jpg", "b.jpg", "c.jpg"]
    with Image.open(tmp_path / "out" / "images" / "a [1].jpg") as picture:
        blue = np.asarray(picture)[:200, :300].mean((0, 1))
        assert blue[2] > 150 > blue[0]
        assert picture.height > 200
    with (tmp_path / "out" / "predictions.csv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == 3 * 3 + 1
    assert sum(bool(row["error"]) for row in table) == 1


def test_top_limits_the_classes_and_pictures_can_be_left_out(run, trained, images, tmp_path):
    run("predict", trained, images / "b.jpg", "--top 1 --pictures false --out", tmp_path / "out")
    assert [len(answer["top"]) for answer in answers(tmp_path / "out")] == [1]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "result.json",
        "predictions.csv",
        "environment.json",
    }


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_files_folders_patterns_and_lists(run, trained, images, tmp_path, monkeypatch, verb):
    monkeypatch.setattr(
        sys, "stdin", io.StringIO(f"{images / 'a [1].png'}\n\n{images / 'b.jpg'}\r\n")
    )
    pattern = tmp_path / "*" / "*.jpg"
    run(
        verb,
        trained,
        images / "deep",
        pattern,
        "-",
        images / "a [1].png",
        "--out",
        tmp_path / "out",
    )
    assert [answer["image"] for answer in answers(tmp_path / "out")] == [
        str(images / name) for name in ("deep/c.tif", "b.jpg", "a [1].png")
    ]


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_a_file_that_does_not_exist_is_that_files_error(run, trained, images, tmp_path, verb):
    run(
        verb, trained, tmp_path / "nowhere.png", images / "b.jpg", "--out", tmp_path / "out", code=1
    )
    first, second = answers(tmp_path / "out")
    assert first == {"image": str(tmp_path / "nowhere.png"), "error": "file does not exist"}
    assert second["top"]


def test_batches_do_not_matter(run, trained, coloured, tmp_path):
    for size in (1, 4, 32):
        run(
            "predict",
            trained,
            coloured / "val",
            "--batch-size",
            str(size),
            "--out",
            tmp_path / str(size),
        )
    first, *others = (answers(tmp_path / str(size)) for size in (1, 4, 32))
    for other in others:
        for one, two in zip(first, other, strict=True):
            assert one["image"] == two["image"]
            assert {e["class"]: pytest.approx(e["probability"], abs=1e-5) for e in one["top"]} == {
                e["class"]: e["probability"] for e in two["top"]
            }


def test_results_go_into_the_run_folder_or_the_current_one(
    run, trained, tmp_path, monkeypatch, coloured
):
    image = coloured / "val" / "red" / "red-0.png"
    own = tmp_path / "run"
    shutil.copytree(trained, own)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    for verb in ("predict", "explain"):
        run(verb, own, image)
        assert (own / verb / "result.json").exists()
    assert list((tmp_path / "cwd").iterdir()) == []
    torch.manual_seed(0)
    torch.save(
        to_published(nommer.NomMer(VARIANTS["nommer_micro"]).state_dict()),
        tmp_path / "published.pth",
    )
    run("predict", tmp_path / "published.pth", image)
    (answer,) = answers(tmp_path / "cwd" / "predict")
    assert len(answer["top"]) == 5
    assert answer["top"][0]["class"].startswith("class ")


def test_explain_writes_the_shares_that_the_trace_counts(run, trained, images, tmp_path):
    printed = run("explain", trained, images, "--out", tmp_path / "out", code=1)
    model, found = (
        nommer.load(trained),
        {answer["image"]: answer for answer in answers(tmp_path / "out")},
    )
    assert "truncated" in found[str(images / "cut.png")]["error"]
    shares = {block: [] for block in ("stage 1 block 1", "stage 2 block 1")}
    for name in ("a [1].png", "b.jpg", "deep/c.tif"):
        answer = found[str(images / name)]
        with nommer.NominationTrace(model) as trace:
            (predicted,) = model.predict(images / name)
        assert answer["top"] == [
            {"class": predicted.name, "probability": pytest.approx(predicted.probability, abs=1e-5)}
        ]
        assert answer["shares"].keys() == shares.keys()
        for block, contexts in answer["shares"].items():
            assert sum(contexts.values()) == pytest.approx(1)
            assert contexts == pytest.approx(trace.shares()[block], abs=1e-2)
            shares[block].append(contexts)
    for block, seen in shares.items():
        line = next(line for line in printed.out.splitlines() if block in line)
        for context in CONTEXTS:
            assert f"{sum(one[context] for one in seen) / 3:.1%}" in line
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a [1].png", "b.png", "c.png", "result.json", "environment.json",
    }  # fmt: skip
    for name in ("a [1].png", "b.png", "c.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert min(picture.size) > 300


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_picture_shows_the_contexts_that_are_nominated(run, tiny_classifier, tmp_path, context):
    model = tiny_classifier()
    for name, module in model.named_modules():
        if name.endswith("nominator.score"):
            torch.nn.init.zeros_(module.weight)
            module.bias.data = torch.tensor([50.0 * (name == context) for name in CONTEXTS])
    save_model(tmp_path / "model", model, metrics={}, version="0")
    Image.new("RGB", (64, 64), (128, 128, 128)).save(tmp_path / "grey.png")
    run("explain", tmp_path / "model", tmp_path / "grey.png", "--out", tmp_path / "out")
    (answer,) = answers(tmp_path / "out")
    for shares in answer["shares"].values():
        assert shares == {name: float(name == context) for name in CONTEXTS}
    with Image.open(tmp_path / "out" / "grey.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    area = {}
    for name in CONTEXTS:
        tint = 0.4 * 128 + 0.6 * 255 * np.array(to_rgb(CONTEXT_COLOURS[name]))
        area[name] = (np.abs(pixels - tint).max(-1) <= 3).mean()
    assert area[context] > 0.1
    assert max(share for name, share in area.items() if name != context) < 0.01


def test_names_are_shown_as_they_are(run, tiny_classifier, tmp_path, noisy):
    save_model(
        tmp_path / "model", tiny_classifier(("[b]", ":cat:", "x [/y]")), metrics={}, version="0"
    )
    folder = tmp_path / "a["
    folder.mkdir()
    noisy((1, 2, 3)).save(folder / "red] :dog:.png")
    (folder / "bold].png").write_text("no image")
    for verb in ("predict", "explain"):
        printed = run(
            verb, tmp_path / "model", folder, "--out", tmp_path / "out [i]", "--overwrite", code=1
        )
        shown = " ".join(printed.out.split())
        assert "bold].png" in shown
        assert "out [i]" in shown
    run("predict", tmp_path / "model", folder, "--out", tmp_path / "out [i]", "--overwrite", code=1)
    names = [entry["class"] for entry in answers(tmp_path / "out [i]")[1]["top"]]
    assert sorted(names) == [":cat:", "[b]", "x [/y]"]
    printed = run("predict", tmp_path / "model", folder, "--out", tmp_path / "again", code=1).out
    assert names[0] in printed
    assert "red] :dog:.png" in printed


def test_the_maps_of_one_image_at_a_time_are_held(trained, noisy, tmp_path, monkeypatch):
    pictures, alive = [], []

    def watched(*given, **options):
        for item in explain_images(*given, **options):
            pictures.append(weakref.ref(item.image))
            alive.append(sum(picture() is not None for picture in pictures))
            yield item

    monkeypatch.setattr(explaining, "explain_images", watched)
    (tmp_path / "images").mkdir()
    for index in range(5):
        noisy((40, 190, 50), size=(40, 40)).save(tmp_path / "images" / f"{index}.png")
    found = nommer.explain(
        trained, [str(tmp_path / "images")], out=tmp_path / "e", device="cpu"
    ).explanations
    assert len(alive) == 5
    assert max(alive) <= 2, "one, and the next"
    for written, kept in zip(answers(tmp_path / "e"), found, strict=True):
        assert written["shares"] == kept.shares
        assert written["mean_probabilities"] == kept.mean_probabilities


@pytest.mark.slow
def test_a_list_through_a_real_pipe(shell, trained, images, tmp_path):
    listed = f"{images / 'a [1].png'}\n{images / 'cut.png'}\n"
    done = shell("predict", trained, "- --out", tmp_path / "out", input=listed)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    good, bad = answers(tmp_path / "out")
    assert good["top"]
    assert "truncated" in bad["error"]


def test_from_python_with_text_for_paths(trained, images, tmp_path):
    predicted = nommer.predict(str(trained), [str(images / "b.jpg")], out=str(tmp_path / "p"))
    explained = nommer.explain(str(trained), str(images / "b.jpg"), out=str(tmp_path / "e"))
    assert predicted.predictions[0].name == explained.explanations[0].prediction.name
    assert (tmp_path / "p" / "images" / "b.jpg").exists()
    assert (tmp_path / "e" / "b.png").exists()
    with pytest.raises(nommer.InputError, match="no images given; name files, folders or patterns"):
        nommer.predict(trained, [])


def test_the_precision_is_chosen_and_told(trained, run, refused, coloured, tmp_path):
    image = next(coloured.rglob("*.png"))
    command = ("predict", trained, image, "--pictures false")
    assert "precision 32, PyTorch, fused, on cpu" in run(*command, "--out", tmp_path / "32").err
    assert (
        "precision bf16, PyTorch" in run(*command, "--precision bf16 --out", tmp_path / "bf16").err
    )
    assert json.loads((tmp_path / "bf16" / "environment.json").read_text())["precision"] == "bf16"
    one, other = (
        json.loads((tmp_path / name / "result.json").read_text())[0]["top"]
        for name in ("32", "bf16")
    )
    assert [entry["class"] for entry in one] == [entry["class"] for entry in other]
    assert 0 < abs(one[0]["probability"] - other[0]["probability"]) < 0.02
    assert "--precision 16: is for GPUs" in refused(
        *command, "--precision 16 --out", tmp_path / "16"
    )


def test_python_takes_images_in_memory_and_streams_them(trained, images, tmp_path):
    """Each is asked for when its turn comes, and the same answers come as from files."""
    files = [images / "b.jpg", images / "a [1].png"]
    pictures = [Image.open(path).convert("RGB") for path in files]
    tensor = torch.from_numpy(np.array(pictures[1])).permute(2, 0, 1)
    with files[0].open("rb") as stream:
        given = iter([stream, np.asarray(pictures[0]), pictures[1], tensor, files[1].read_bytes()])
        result = nommer.predict(trained, given, out=tmp_path / "out", batch_size=2)
    expected = nommer.predict(trained, files, out=tmp_path / "files").predictions
    found = [answer.name for answer in result.predictions]
    assert found == [expected[0].name] * 2 + [expected[1].name] * 3
    assert [answer.source for answer in result.predictions] == [str(files[0])] + ["image"] * 4
    pictures = {path.name for path in (tmp_path / "out" / "images").iterdir()}
    assert pictures == {"b.jpg", "image.jpg", "image-2.jpg", "image-3.jpg", "image-4.jpg"}
    assert repr(result) == f"<5 answers in {tmp_path / 'out'}>"
    assert result._repr_html_().count("<figure>") == 5
    assert len(result.to_pandas()) == 5 * 3


def test_blue_first_and_what_is_no_image(trained, images, tmp_path):
    pixels = np.asarray(Image.open(images / "b.jpg").convert("RGB"))
    (plain,) = nommer.predict(trained, pixels, out=tmp_path / "rgb").predictions
    turned = nommer.predict(trained, pixels[..., ::-1], out=tmp_path / "bgr", channels="bgr")
    assert turned.predictions[0] == plain
    with pytest.raises(nommer.InputError, match=r"images to answer must be paths.* got dict$"):
        nommer.predict(trained, {"image": pixels}, out=tmp_path / "none")


def test_addresses_are_refused_where_nobody_asked_for_the_web(refused, trained, tmp_path):
    told = refused("predict", trained, "https://example.org/a.png", "--out", tmp_path / "out")
    assert told.startswith("https://example.org/a.png: is an address; allow_urls=True")
    assert not (tmp_path / "out").exists()
