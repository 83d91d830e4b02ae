"""Labelled images as batches: the same ones whatever loads them."""

import pytest
import torch

from nommer.data.classification import ClassificationData, ClassificationDataset, Loading
from nommer.data.formats.folders import read_class_folders
from nommer.data.images import ImageError, decode
from nommer.data.transforms import Preprocessing
from nommer.settings.augmentation import Augmentation
from nommer.settings.pixel_range import Reading


def data_module(root, *, workers=0, batch_size=4, augmentation=None, seed=0):
    splits = read_class_folders(root).splits
    return ClassificationData(
        splits["train"],
        splits["val"],
        preprocessing=Preprocessing(image_size=32),
        augmentation=augmentation or Augmentation(),
        loading=Loading(batch_size=batch_size, workers=workers, seed=seed),
    )


def test_a_validation_batch_is_the_preprocessed_files_in_order(coloured):
    module = data_module(coloured)
    batches = list(module.val_dataloader())
    assert [len(batch.images) for batch in batches] == [4, 4, 1]
    samples = read_class_folders(coloured).splits["val"]
    images = torch.cat([batch.images for batch in batches])
    assert torch.equal(
        images, torch.stack([module.preprocessing(decode(sample.path)) for sample in samples])
    )
    assert torch.cat([batch.labels for batch in batches]).tolist() == [
        sample.label for sample in samples
    ]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(9))


def test_a_training_epoch_is_shuffled_augmented_and_without_the_incomplete_batch(coloured):
    module = data_module(coloured)
    batches = list(module.train_dataloader())
    assert [len(batch.images) for batch in batches] == [4, 4, 4, 4]
    order = torch.cat([batch.indices for batch in batches]).tolist()
    assert len(set(order)) == 16
    assert order != sorted(order)
    labels = [module.train.samples[index].label for index in order]
    assert torch.cat([batch.labels for batch in batches]).tolist() == labels


def test_batches_are_the_same_whatever_the_number_of_workers(coloured):
    strong = Augmentation(auto_augment="rand-m9-mstd0.5-inc1", random_erasing=0.5)
    alone = list(data_module(coloured, augmentation=strong).train_dataloader())
    helped = list(data_module(coloured, augmentation=strong, workers=2).train_dataloader())
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_transparency_gets_the_declared_background(tmp_path, write_classes):
    write_classes(tmp_path, {"blue": 2, "red": 2})
    with_alpha = decode(tmp_path / "blue" / "blue-0.png").convert("RGBA")
    with_alpha.putalpha(0)
    with_alpha.save(tmp_path / "blue" / "blue-0.png")
    samples = read_class_folders(tmp_path).splits["train"]
    preprocessing = Preprocessing(image_size=32, mean=(0, 0, 0), std=(1, 1, 1))
    dataset = ClassificationDataset(samples, preprocessing, reading=Reading((255, 0, 0)))
    assert dataset[0].images.mean((1, 2)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_went_bad_since_the_audit_stops_with_its_name(
    tmp_path, write_classes, workers
):
    write_classes(tmp_path / "train", {"blue": 2, "red": 2})
    write_classes(tmp_path / "val", {"blue": 2, "red": 2})
    module = data_module(tmp_path, workers=workers)
    bad = tmp_path / "val" / "red" / "red-1.png"
    bad.write_bytes(bad.read_bytes()[:200])
    (batch,) = module.val_dataloader()
    with pytest.raises(ImageError, match=r"red-1.png: cannot be decoded: .*truncated"):
        module.on_before_batch_transfer(batch, 0)
    with pytest.raises(ImageError, match=r"red-1.png"):
        module.val[3]
