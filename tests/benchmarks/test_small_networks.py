"""Small networks trained in memory: what is cut and mixed together, what is learned, and exact
resuming.
"""

import json

import numpy as np
import pytest
import torch

import nommer
from nommer.backbone.nominator import Nomination

OPTIONS = {
    "model": "nommer_micro",
    "network": {"window_size": 4, "block_sizes": [4, 2], "global_pool": "avg"},
    "every": 1, "epochs": 2, "minutes": 0.0, "batch": 8, "lr": 1e-3, "weight_decay": 0.05,
    "warmup": 0.1, "smoothing": 0.1, "teacher": "both", "temperature": 2.0, "share": 0.8,
    "feature_weight": 1.0, "ema": 0.9, "seed": 0, "small_until": 0.5, "small_size": 48,
}  # fmt: skip


@pytest.fixture
def cache(image_cache):
    """Twenty images of five classes, with maps and answers of a teacher."""
    draw = np.random.default_rng(1)
    for part in ("train", "val"):
        for name, shape in {
            "middle": (8, 8, 112),
            "last": (4, 4, 320),
            "answers": (4, 4, 5),
        }.items():
            values = draw.normal(size=(20, *shape)).astype(np.float16)
            np.save(image_cache / part / f"{name}.npy", values)
    names = list("abcde")
    (image_cache / "classes.json").write_text(json.dumps({"names": names, "ids": names}))
    return image_cache


def trained(small, cache, out, **changes):
    settings = small.Settings(**OPTIONS | changes)
    out.mkdir(exist_ok=True)
    training = small.Training(settings, cache, out)
    training.run(1)
    return training


def test_a_training_that_is_resumed_ends_as_one_that_was_not(script, cache, tmp_path, monkeypatch):
    small = script("small_networks")
    whole = trained(small, cache, tmp_path / "whole")
    progress = small.Training.progress
    monkeypatch.setattr(
        small.Training, "progress", lambda self, step=0: 1.0 if self.done else progress(self, step)
    )
    trained(small, cache, tmp_path / "halves")
    monkeypatch.undo()
    halves = trained(small, cache, tmp_path / "halves")
    assert halves.done == whole.done == 2
    for name, value in whole.ema.module.state_dict().items():
        assert torch.equal(value, halves.ema.module.state_dict()[name]), name


def test_the_model_is_one_that_nommer_loads(script, cache, tmp_path):
    training = trained(
        script("small_networks"), cache, tmp_path / "run", every=2, epochs=1, teacher="none"
    )
    model = nommer.load(tmp_path / "run" / "model")
    assert model.class_names == ("a", "c", "e")
    for name, value in training.ema.module.state_dict().items():
        assert torch.equal(value, model.network.state_dict()[name]), name


def test_a_crop_of_the_image_and_of_the_maps_is_the_same_part(script):
    batches = script("small_batches")
    torch.manual_seed(0)
    crops = batches.random_crops(16, batches.Augmentation())
    fine = torch.linspace(-1, 1, 64).repeat(16, 1, 64, 1)
    coarse = torch.nn.functional.adaptive_avg_pool2d(fine, 8)
    cut = torch.nn.functional.adaptive_avg_pool2d(batches.cut(fine, crops, 64), 4)
    assert (cut - batches.cut(coarse, crops, 4)).abs().max() < 0.1


def test_mixing_keeps_targets_a_distribution(script):
    batches = script("small_batches")
    torch.manual_seed(0)
    for _ in range(10):
        targets = torch.eye(4)
        images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 64, 64)
        batch = batches.Batch(images, targets, maps={"last": images[:, :, :4, :4]})
        batches.mix(batch, batches.Augmentation())
        assert torch.allclose(batch.targets.sum(1), torch.ones(4))
        wanted = (batch.targets * torch.arange(4.0)).sum(1)
        assert torch.allclose(batch.images.mean((1, 2, 3)), wanted, atol=1e-4)
        assert torch.allclose(batch.maps["last"].mean((1, 2, 3)), wanted, atol=1e-4)


def test_balanced_contexts_are_told_with_what_forcing_one_costs(script, cache, tmp_path):
    small = script("small_networks")
    aids = {"balance": 0.1, "decided": 0.1, "equal_contexts": True, "noise": (2.0, 0.0)}
    training = trained(small, cache, tmp_path / "balanced", **aids)
    found = json.loads((tmp_path / "balanced" / "result.json").read_text())
    assert all(sum(shares.values()) == pytest.approx(1) for shares in found["shares"].values())
    assert {"top1_convolution", "top1_window", "top1_global"} <= set(found)
    nominations = [m for m in training.student.modules() if isinstance(m, Nomination)]
    assert all(0 <= nomination.noise_scale < 1 for nomination in nominations)
    start = {"init": str(tmp_path / "balanced"), "fresh_nominators": True, "balance": 0.1}
    again = trained(small, cache, tmp_path / "again", **start)
    assert again.done == 2
    later = trained(small, cache, tmp_path / "later", balance=1.0, choose_from=0.5)
    assert later.choosing_from == 1
