"""Semantic segmentation as a user runs it: train, resume, evaluate, predict, explain, export."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import nommer
from tests.run_contents import rows, same

pytestmark = pytest.mark.usefixtures("sketched")

RUN_FOLDER = {
    ".lock",
    "calibration.png",
    "risk_coverage.png",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "classes.json",
    "config.yaml",
    "confusion_matrix.png",
    "curves.png",
    "data_issues.jsonl",
    "environment.json",
    "iou.png",
    "metrics.csv",
    "model/model.json",
    "model/model.safetensors",
    "nominations.csv",
    "nominations.png",
    "per_class.csv",
    "predictions.csv",
    "result.json",
    "split.csv",
    "train_batch.jpg",
    "val_predictions.jpg",
}
NUMBERS = ("images", "pixels", "loss", "miou", "mean_accuracy", "pixel_accuracy", "confusion")
RESULTS = {
    "calibration.png",
    "risk_coverage.png",
    "confusion_matrix.png",
    "data_issues.jsonl",
    "environment.json",
    "iou.png",
    "per_class.csv",
} | {
    "predictions.csv",
    "result.json",
    "val_predictions.jpg",
}


def result(folder):
    found = json.loads((folder / "result.json").read_text())
    return {name: found[name] for name in NUMBERS}


def weights(run):
    return nommer.load(run).state_dict()


class TestTrain:
    def test_the_run_folder_holds_what_is_promised(self, segmented):
        found = {
            path.relative_to(segmented).as_posix()
            for path in segmented.rglob("*")
            if path.is_file()
        }
        assert {name for name in found if not name.startswith("tensorboard/")} == RUN_FOLDER
        for name in RUN_FOLDER:
            if name.endswith((".png", ".jpg")):
                with Image.open(segmented / name) as picture:
                    assert min(picture.size) > 150, name

    def test_the_tables_of_a_run_agree(self, segmented):
        metrics, found = rows(segmented / "metrics.csv"), result(segmented)
        assert [row["epoch"] for row in metrics] == ["1", "2"]
        best = max(metrics, key=lambda row: float(row["val_miou"]))
        for name in ("loss", "miou", "mean_accuracy", "pixel_accuracy"):
            assert found[name] == pytest.approx(float(best[f"val_{name}"]), abs=1e-6), name
        described = json.loads((segmented / "model" / "model.json").read_text())
        assert described["task"] == "segmentation"
        assert described["class_names"] == ["ground", "ball", "sky"]
        assert described["metrics"]["miou"] == found["miou"]
        assert (
            sum(int(row["pixels"]) for row in rows(segmented / "predictions.csv"))
            == found["pixels"]
        )
        assert [row["class"] for row in rows(segmented / "per_class.csv")] == [
            "ground",
            "ball",
            "sky",
        ]
        assert sum(map(sum, found["confusion"])) == found["pixels"] == 3 * 46 * 38

    def test_the_model_loads_and_segments_at_the_images_own_size(self, segmented, draw_scene):
        model = nommer.load(segmented)
        (answer,) = model.predict(draw_scene(5, size=(61, 47))[0])
        assert answer.labels.shape == (47, 61)
        assert sum(answer.shares.values()) == pytest.approx(1)

    def test_the_same_command_gives_the_same_weights_and_touches_no_files_of_the_user(
        self, run, segmented, scenes, segment_options, digest, tmp_path
    ):
        before = digest(scenes)
        run("train --data", scenes, "--out", tmp_path / "again", *segment_options)
        assert same(weights(tmp_path / "again"), weights(segmented))
        assert digest(scenes) == before

    @pytest.mark.slow
    def test_learns_scenes_in_seconds(self, run, write_scenes, tmp_path):
        data = write_scenes(tmp_path / "data", {"train": 16, "val": 6})
        options = "--model nommer_micro --image-size 32 --batch-size 4 --epochs 3 --epoch-steps 40"
        options += " --lr 3e-3 --workers 0"
        run(
            "train --data",
            data,
            "--out",
            tmp_path / "run",
            options,
            "--segmentation.decoder-channels 16",
        )
        assert result(tmp_path / "run")["miou"] > 0.7

    def test_data_without_a_split_is_split_the_same_way_again(
        self, run, write_scenes, segment_options, tmp_path
    ):
        write_scenes(tmp_path / "source", {"train": 10})
        for kind in ("images", "masks"):
            shutil.copytree(tmp_path / "source" / kind / "train", tmp_path / "data" / kind)
        shutil.copy(tmp_path / "source" / "classes.yaml", tmp_path / "data")
        run(
            "train --data",
            tmp_path / "data",
            "--out",
            tmp_path / "run",
            *segment_options,
            "--epochs=1",
        )
        split = rows(tmp_path / "run" / "split.csv")
        assert sorted(row["split"] for row in split) == ["train"] * 8 + ["val"] * 2
        run("evaluate", tmp_path / "run", "--out", tmp_path / "out", "--workers 0")
        assert result(tmp_path / "out") == result(tmp_path / "run")

    @pytest.mark.parametrize(
        ("options", "steps"),
        [
            (
                "--segmentation.class-weights median --segmentation.short-side 36 "
                "--segmentation.long-side 44",
                "2",
            ),
            (
                "--batch-size 1 --segmentation.augment.photometric false "
                "--segmentation.augment.scale [1.0,1.0]",
                "6",
            ),
            ("--segmentation.auxiliary-weight 0 --epoch-steps 5", "5"),
        ],
    )
    def test_options_are_obeyed_and_evaluation_agrees(
        self, run, scenes, segment_options, tmp_path, options, steps
    ):
        run(
            "train --data",
            scenes,
            "--out",
            tmp_path / "run",
            *segment_options,
            "--epochs=1",
            options,
        )
        assert [row["step"] for row in rows(tmp_path / "run" / "metrics.csv")] == [steps]
        run("evaluate", tmp_path / "run", "--out", tmp_path / "out", "--workers 0")
        assert result(tmp_path / "out") == result(tmp_path / "run")

    def test_a_network_of_timm_is_trained_and_evaluated_and_nominates_nothing(
        self, run, refused, scenes, segment_options, tmp_path
    ):
        out = tmp_path / "run"
        run(
            "train --data",
            scenes,
            "--out",
            out,
            *segment_options,
            "--epochs=1 --model timm:test_resnet",
        )
        run("evaluate", out, "--out", tmp_path / "out", "--workers 0")
        assert result(tmp_path / "out") == result(out)
        assert "nominates nothing" in refused("explain", out, "--data", scenes)
        run("explain", out, scenes / "images" / "val", "--out", tmp_path / "drawn")
        assert list((tmp_path / "drawn").glob("*.png"))

    def test_the_backbone_of_a_classifier_is_taken_over(
        self, run, trained, scenes, segment_options, tmp_path
    ):
        printed = run(
            "train --data",
            scenes,
            "--out",
            tmp_path / "run",
            *segment_options,
            "--pretrained",
            trained,
        )
        assert f"weights of the backbone taken from {trained}: stem (" in printed.err
        for part in ("stages.0 (", "stages.3 (", "left there: norm (2), head (2)"):
            assert part in printed.err
        assert "the heads are new" in printed.err


class TestResume:
    """test_resume_steps.py has that it goes on bit for bit after it was killed."""

    def test_epochs_are_added(self, run, scenes, segmented, segment_options, tmp_path):
        out = shutil.copytree(segmented, tmp_path / "run")
        printed = run("train --data", scenes, "--out", out, *segment_options, "--epochs=3 --resume")
        assert "going on from the end of epoch 2 (of 3 epochs)" in printed.err
        assert [row["epoch"] for row in rows(out / "metrics.csv")] == ["1", "2", "3"]

    @pytest.fixture
    def moved(self, segmented, scenes, tmp_path):
        """Copies of a run and of its data, to change."""
        data, out = (
            shutil.copytree(scenes, tmp_path / "data"),
            shutil.copytree(segmented, tmp_path / "run"),
        )
        config = (out / "config.yaml").read_text()
        (out / "config.yaml").write_text(config.replace(str(scenes), str(data)))
        return data, out

    def test_changed_masks_lists_are_refused(self, refused, moved, segment_options):
        data, out = moved
        (data / "images" / "train" / "5.png").unlink()
        (data / "masks" / "train" / "5.png").unlink()
        sentence = refused(
            "train --data", data, "--out", out, *segment_options, "--epochs=3", "--resume"
        )
        assert "images/train/5.png" in sentence
        assert "is gone" in sentence

    def test_a_changed_class_file_is_refused(self, refused, moved, segment_options):
        data, out = moved
        before = json.loads((data / "classes.yaml").read_text())
        first, *others = before["classes"]
        for change, said in (
            (
                {"classes": before["classes"][::-1]},
                "data has changed: images/train/0.png is another file than it was",
            ),
            ({"ignore": [255, 77]}, "values of the data have changed: the run has "),
            (
                {"classes": [first | {"color": [1, 2, 3]}, *others]},
                "classes of the data have changed: the run has ",
            ),
        ):
            (data / "classes.yaml").write_text(json.dumps(before | change))
            sentence = refused(
                "train --data", data, "--out", out, *segment_options, "--epochs=3", "--resume"
            )
            assert f"cannot resume, the {said}" in sentence


class TestEvaluate:
    def test_gives_the_numbers_that_training_ended_with(self, run, segmented, tmp_path):
        printed = run("evaluate", segmented, "--out", tmp_path / "out", "--workers 0")
        assert result(tmp_path / "out") == result(segmented)
        assert {path.name for path in (tmp_path / "out").iterdir()} == RESULTS
        assert f"│ miou           │ {result(segmented)['miou']:.4f}" in printed.out

    @pytest.mark.parametrize("options", ["--batch-size 1", "--batch-size 5", "--workers 1"])
    def test_batches_and_workers_do_not_matter(self, run, segmented, tmp_path, options):
        run("evaluate", segmented, "--out", tmp_path / "out", "--workers 0", options)
        assert result(tmp_path / "out") == result(segmented)

    def test_is_what_predict_says(self, run, segmented, scenes, tmp_path):
        run("evaluate", segmented, "--out", tmp_path / "out", "--workers 0")
        run("predict", segmented, scenes / "images" / "val", "--out", tmp_path / "predicted")
        confusion = np.zeros((3, 3), int)
        for path in sorted((tmp_path / "predicted" / "index").iterdir()):
            truth = np.array(Image.open(scenes / "masks" / "val" / path.name))
            found = np.array(Image.open(path))[truth != 255]
            np.add.at(confusion, (truth[truth != 255], found), 1)
        assert confusion.tolist() == result(tmp_path / "out")["confusion"]

    @pytest.mark.parametrize(
        "options",
        [
            "--inference.mode slide --inference.window 32",
            "--inference.scales [0.5,1.0,1.5] --inference.flip true",
            "--inference.mode slide --inference.flip true --inference.overlap 0.5",
        ],
    )
    def test_other_ways_over_an_image_give_other_numbers(self, run, segmented, tmp_path, options):
        run("evaluate", segmented, "--out", tmp_path / "out", "--workers 0", options)
        found, expected = result(tmp_path / "out"), result(segmented)
        assert found["pixels"] == expected["pixels"]
        assert found["loss"] != expected["loss"]

    def test_classes_are_matched_by_name(self, run, segmented, scenes, tmp_path):
        shutil.copytree(scenes, tmp_path / "data")
        classes = json.loads((tmp_path / "data" / "classes.yaml").read_text())
        classes["classes"].reverse()
        (tmp_path / "data" / "classes.yaml").write_text(json.dumps(classes))
        run(
            "evaluate",
            segmented,
            "--data",
            tmp_path / "data",
            "--out",
            tmp_path / "out",
            "--workers 0",
        )
        assert result(tmp_path / "out") == result(segmented)

    def test_classes_that_the_model_lacks_are_refused(self, refused, segmented, scenes, tmp_path):
        shutil.copytree(scenes, tmp_path / "data")
        text = (tmp_path / "data" / "classes.yaml").read_text()
        (tmp_path / "data" / "classes.yaml").write_text(text.replace('"sky"', '"heaven"'))
        sentence = refused("evaluate", segmented, "--data", tmp_path / "data", "--workers 0")
        assert "heaven" in sentence
        assert "ground, ball, sky" in sentence

    def test_data_of_another_task_is_refused(self, refused, segmented, trained, scenes, coloured):
        assert "is laid out for classification, but the model does segmentation" in refused(
            "evaluate", segmented, "--data", coloured
        )
        assert "is laid out for segmentation, but the model does classification" in refused(
            "evaluate", trained, "--data", scenes
        )

    def test_a_bad_mask_is_refused_or_left_out_and_listed(
        self, run, refused, segmented, scenes, tmp_path
    ):
        shutil.copytree(scenes, tmp_path / "data")
        bad = tmp_path / "data" / "masks" / "val" / "1.png"
        Image.new("L", (48, 40), 7).save(bad)
        sentence = refused("evaluate", segmented, "--data", tmp_path / "data", "--workers 0")
        assert str(bad) in sentence
        assert "7" in sentence
        skip = "--workers 0 --on-bad-sample skip"
        run("evaluate", segmented, "--data", tmp_path / "data", "--out", tmp_path / "out", skip)
        issues = [
            json.loads(line)
            for line in (tmp_path / "out" / "data_issues.jsonl").read_text().splitlines()
        ]
        assert any(issue["done"] == "left out" for issue in issues)
        assert result(tmp_path / "out")["images"] == 2


class TestPredict:
    def test_writes_masks_overlays_and_shares(self, run, segmented, scenes, tmp_path):
        (tmp_path / "broken.png").write_bytes(b"no image")
        images = [scenes / "images" / "val" / "0.png", tmp_path / "broken.png"]
        printed = run("predict", segmented, *images, "--out", tmp_path / "out", code=1)
        index = np.array(Image.open(tmp_path / "out" / "index" / "0.png"))
        palette = Image.open(tmp_path / "out" / "palette" / "0.png")
        assert index.shape == (40, 48)
        assert palette.mode == "P"
        assert (np.array(palette) == index).all()
        with Image.open(tmp_path / "out" / "overlays" / "0.png") as overlay:
            assert min(overlay.size) >= 200
        legend = json.loads((tmp_path / "out" / "classes.json").read_text())
        assert [(entry["label"], entry["name"]) for entry in legend] == [
            (0, "ground"),
            (1, "ball"),
            (2, "sky"),
        ]
        good, bad = json.loads((tmp_path / "out" / "result.json").read_text())
        assert sum(good["shares"].values()) == pytest.approx(1)
        assert "not an image" in bad["error"]
        assert "not an image" in printed.out

    def test_pictures_can_be_left_out(self, run, segmented, scenes, tmp_path):
        run(
            "predict",
            segmented,
            scenes / "images" / "val",
            "--out",
            tmp_path / "out",
            "--pictures false",
        )
        assert not (tmp_path / "out" / "overlays").exists()
        assert len(list((tmp_path / "out" / "index").iterdir())) == 3


def test_explain_shows_contexts_per_class(run, segmented, scenes, tmp_path):
    printed = run(
        "explain", segmented, scenes / "images" / "val" / "0.png", "--out", tmp_path / "out"
    )
    (found,) = json.loads((tmp_path / "out" / "result.json").read_text())
    assert "stage 1 block 1" in printed.out
    for classes in found["shares_per_class"].values():
        for shares in classes.values():
            assert sum(shares.values()) == pytest.approx(1)
    with Image.open(tmp_path / "out" / "0.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.slow
@pytest.mark.long
def test_an_exported_segmenter_answers_the_same(run, segmented, scenes, tmp_path):
    run("export", segmented, "--out", tmp_path / "onnx")
    assert json.loads((tmp_path / "onnx" / "parity.json").read_text())["passed"]
    run(
        "predict",
        tmp_path / "onnx" / "model.onnx",
        scenes / "images" / "val",
        "--out",
        tmp_path / "out",
    )
    slide = "--inference.mode slide"
    run("predict", segmented, scenes / "images" / "val", "--out", tmp_path / "expected", slide)
    for path in sorted((tmp_path / "out" / "index").iterdir()):
        expected = np.array(Image.open(tmp_path / "expected" / "index" / path.name))
        assert (np.array(Image.open(path)) == expected).mean() > 0.999


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ("--augment.hflip 0.1", "--augment.hflip: does nothing for segmentation"),
            ("--pixels.crop-pct 0.5", "--pixels.crop-pct: is not for segmentation"),
            (
                "--segmentation.dropout 1",
                "segmentation.dropout must be at least 0 and below 1, got 1",
            ),
            (
                "--segmentation.augment.scale [2,1]",
                "augment.scale must be two numbers with 0 < low <= high",
            ),
            ("--model timm:resnet_of_nobody", "timm has no network called 'resnet_of_nobody'"),
            (
                "--model timm:resnet18 --network.window-size 7",
                "--network.window-size: does nothing for a network of timm",
            ),
        ],
    )
    def test_options_that_do_not_fit(
        self, refused, scenes, segment_options, tmp_path, options, expected
    ):
        sentence = refused(
            "train --data", scenes, "--out", tmp_path / "run", *segment_options, options
        )
        assert expected in sentence
        assert not (tmp_path / "run").exists()

    def test_options_of_segmentation_do_nothing_for_classes(
        self, refused, coloured, trained, train_options, tmp_path
    ):
        options = [*train_options, "--segmentation.dropout=0.2"]
        assert "--segmentation.dropout: does nothing for classification" in refused(
            "train --data", coloured, "--out", tmp_path / "run", *options
        )
        for verb in (["evaluate", trained], ["predict", trained, coloured]):
            assert "--inference.flip: does nothing for classification" in refused(
                *verb, "--inference.flip true"
            )

    def test_what_fits_no_task_is_told_what_would(self, run, tmp_path):
        (tmp_path / "data").mkdir()
        printed = run("train --data", tmp_path / "data", code=2).err
        assert "accepted layouts for classification" in printed
        assert "accepted layouts for semantic segmentation" in printed

    def test_options_of_classification_do_nothing_for_pixels(self, refused, segmented, scenes):
        for options in ("--top 3", "--batch-size 4"):
            name = options.partition(" ")[0]
            assert f"{name}: does nothing for segmentation" in refused(
                "predict", segmented, scenes / "images", options
            )
