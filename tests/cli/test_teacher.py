"""A run learns from a teacher: answers and maps, any task, resumed exactly."""

import pytest
import torch
from safetensors import safe_open

import nommer
from nommer.tasks.classification.loss import ClassificationModule
from tests.run_contents import checkpoint

pytestmark = pytest.mark.usefixtures("sketched")


def test_a_student_of_the_same_classes_imitates_answers_and_maps(
    run, coloured, trained, train_options, tmp_path
):
    told = run(
        "train --data", coloured, "--out", tmp_path / "run", *train_options, "--teacher", trained
    )
    assert "its soft answers and feature maps at strides 2, 4, 8, 16 are imitated" in told.err
    state = checkpoint(tmp_path / "run", "last")["state_dict"]
    assert any(name.startswith("distillation.projections.0.") for name in state)
    assert not any("teacher" in name for name in state)
    with safe_open(tmp_path / "run" / "model" / "model.safetensors", "pt") as file:
        assert not any("projection" in name for name in file.keys())  # noqa: SIM118 - no mapping
    assert nommer.load(tmp_path / "run").class_names == nommer.load(trained).class_names


def test_answers_are_asked_of_the_very_same_mixed_images(
    run, coloured, trained, train_options, tmp_path, monkeypatch
):
    seen, step = [], ClassificationModule.training_step

    def note(self, batch, batch_idx):
        teacher = self.distillation.teacher
        hook = teacher.register_forward_pre_hook(
            lambda _, images: seen.append(["teacher", images[0]])
        )
        other = self.model.network.stem.register_forward_pre_hook(
            lambda _, images: seen.append(["student", images[0]])
        )
        try:
            return step(self, batch, batch_idx)
        finally:
            hook.remove()
            other.remove()

    monkeypatch.setattr(ClassificationModule, "training_step", note)
    options = ["--teacher", trained, "--augment.mixup=1", "--augment.cutmix=1"]
    run("train --data", coloured, "--out", tmp_path / "run", *train_options, *options)
    assert [who for who, _ in seen[:2]] == ["student", "teacher"]
    assert all(torch.equal(seen[i][1], seen[i + 1][1]) for i in range(0, len(seen), 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "pixels"])
def test_a_network_of_timm_teaches_its_maps_for_any_classes_and_any_task(
    run, coloured, scenes, train_options, segment_options, of_timm, tmp_path, kind
):
    data, options = (coloured, train_options) if kind == "classes" else (scenes, segment_options)
    printed = run("train --data", data, "--out", tmp_path / "run", *options, *of_timm)
    assert "teacher timm:resnet10t: 4.9 M weights, its feature maps at strides" in printed.err
    why = {
        "classes": "not its answers, for it does not know the 3 classes by name",
        "pixels": "not its answers, which are not asked for in segmentation",
    }
    assert why[kind] in printed.err
    assert "% of a step" in printed.err
    state = checkpoint(tmp_path / "run", "last")["state_dict"]
    assert any(name.startswith("distillation.projections.0.") for name in state)


@pytest.mark.slow
def test_a_run_with_a_teacher_goes_on_exactly(check_goes_on, coloured, trained, train_options):
    random = ["--network.drop-path-rate=0.3", "--augment.mixup=0.5", "--augment.cutmix=0.5"]
    random += ["--ema=0.9", "--precision=bf16"]
    options = ["--data", coloured, *train_options, "--teacher", trained, *random]
    options += ["--checkpoint-minutes=0", "--epochs=3"]
    check_goes_on("train", *options)


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_learn_from_a_teacher_and_evaluate_as_one_does(
    shell, check_best_epoch, coloured, trained, train_options, tmp_path
):
    out = tmp_path / "run"
    options = ["--data", coloured, "--out", out, *train_options, "--teacher", trained]
    options += ["--augment.mixup=1", "--ema=0.9", "--devices=2", "--batch-size=2"]
    found = shell("train", *options)
    assert found.returncode == 0, found.stderr
    assert found.stderr.count("soft answers and feature maps") == 1
    check_best_epoch(out, "top1", "loss")
    state = checkpoint(out, "last")["state_dict"]
    assert any(name.startswith("distillation.projections.0.") for name in state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--distillation.share=0.5"], "--distillation.share: does nothing for a training without"),
        (["--teacher=nothing"], "nothing: does not exist"),
        (
            ["--teacher=timm:resnet10t", "--distillation.imitate=answers"],
            "does not know the 3 classes of the data; imitate its features",
        ),
        (["--teacher=timm:resnet10t", "--compile"], "--compile: does not go with --teacher"),
    ],
)
def test_what_cannot_be_is_refused(
    refused, coloured, train_options, of_timm, tmp_path, options, message
):
    if "--distillation.imitate=answers" in options:
        options = [*options, of_timm[1]]
    given = ["--data", coloured, "--out", tmp_path / "run", *train_options, *options]
    assert message in refused("train", *given)
    assert not (tmp_path / "run").exists()
