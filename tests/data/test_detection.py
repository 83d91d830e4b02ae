"""Batches of images with objects.

Training images augmented, evaluation image by image, nothing stacked.
"""

import json
import pickle

import numpy as np
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from PIL import Image

from nommer.data.box_transforms import BoxPreprocessing
from nommer.data.detection import DetectionBatch, DetectionData, collate
from nommer.data.formats.detection import read_detection
from nommer.data.images import ImageError, decode
from nommer.data.module import Loading
from nommer.settings.detection import BoxAugmentation


@pytest.fixture
def root(tmp_path, herd, write_herd):
    return write_herd(tmp_path, {"train": herd["train"], "val": herd["val"]}, "coco")


def data_module(
    root, *, masks=True, workers=0, epoch_steps=None, augmentation=None, **preprocessing
):
    data = read_detection(root)
    return DetectionData(
        data.splits["train"],
        data.splits["val"],
        masks=masks,
        preprocessing=BoxPreprocessing(**{"short_side": 48, "long_side": 96} | preprocessing),
        augmentation=augmentation or BoxAugmentation(),
        loading=Loading(batch_size=4, workers=workers, seed=3, epoch_steps=epoch_steps),
    )


def equal(one, other):
    return all(map(torch.equal, one.images, other.images)) and all(
        a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        for a, b in zip(one.targets, other.targets, strict=True)
    )


def test_training_batches_hold_images_and_targets_as_torchvision_takes_them(root):
    (batch,) = data_module(root).train_dataloader()
    assert isinstance(batch, DetectionBatch)
    assert len(batch.images) == len(batch.targets) == len(batch.indices) == len(batch.sizes) == 4
    assert batch.indices.dtype == torch.int64
    assert len(set(batch.indices.tolist())) == 4
    assert batch.sizes == ((32, 40),) * 4
    for image, target in zip(batch.images, batch.targets, strict=True):
        count = len(target["boxes"])
        assert (image.dtype, image.shape) == (torch.float32, (3, 48, 60))
        assert (target["boxes"].dtype, target["boxes"].shape) == (torch.float32, (count, 4))
        assert (target["labels"].dtype, target["labels"].shape) == (torch.int64, (count,))
        assert set(target["labels"].tolist()) <= {1, 2}
        assert (target["masks"].dtype, target["masks"].shape) == (torch.uint8, (count, 48, 60))
        assert type(target["boxes"]) is type(target["masks"]) is type(image) is torch.Tensor


def test_boxes_alone_need_no_masks(root):
    (batch,) = data_module(root, masks=False).train_dataloader()
    assert all(set(target) == {"boxes", "labels", "image_id"} for target in batch.targets)


def test_images_without_objects_train(root):
    (batch,) = data_module(root, epoch_steps=1).train_dataloader()
    module = data_module(root)
    empty = next(n for n, sample in enumerate(module.train.samples) if not len(sample.objects))
    target = module.train[(empty, 5)].targets[0]
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, 48, 60)
    assert equal(batch, batch)


def test_crowds_take_no_part_in_training(root):
    path = root / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = int(annotation["category_id"] == 7)
    path.write_text(json.dumps(content))
    module = data_module(root)
    for index, sample in enumerate(module.train.samples):
        target = module.train[(index, 0)].targets[0]
        assert len(target["boxes"]) == len(target["masks"]) == (~sample.objects.crowd).sum()
        assert set(target["labels"].tolist()) <= {1}


def test_validation_goes_image_by_image_with_boxes_as_in_the_file(root):
    module = data_module(root)
    batches = list(module.val_dataloader())
    assert [batch.indices.tolist() for batch in batches] == [[0], [1], [2]]
    for batch, sample in zip(batches, module.val.samples, strict=True):
        assert torch.equal(batch.images[0], module.preprocessing(decode(sample.path)))
        assert np.array_equal(batch.targets[0]["boxes"].numpy(), sample.objects.boxes)
        assert batch.targets[0]["image_id"] == sample.image_id
        assert "masks" not in batch.targets[0]
        assert batch.sizes == ((32, 40),)


@pytest.mark.parametrize("epoch_steps", [None, 3])
def test_batches_are_the_same_whatever_the_number_of_workers(root, epoch_steps):
    augmentation = BoxAugmentation(scale_jitter=(0.5, 2.0), photometric=True)
    alone = list(
        data_module(root, epoch_steps=epoch_steps, augmentation=augmentation).train_dataloader()
    )
    helped = list(
        data_module(
            root, epoch_steps=epoch_steps, augmentation=augmentation, workers=2
        ).train_dataloader()
    )
    assert len(alone) == (epoch_steps or 1)
    assert all(equal(one, other) for one, other in zip(alone, helped, strict=True))


def test_datasets_travel_to_other_processes(root):
    module = data_module(root, augmentation=BoxAugmentation(resize_or_crop=True, photometric=True))
    for dataset in (module.train, module.val):
        assert equal(pickle.loads(pickle.dumps(dataset))[(1, 7)], dataset[(1, 7)])
    assert pickle.loads(pickle.dumps(module.collate)) is collate


def test_batches_travel_to_devices(root):
    (batch,) = data_module(root).train_dataloader()
    moved = move_data_to_device(batch, torch.device("meta"))
    assert isinstance(moved, DetectionBatch)
    assert all(image.is_meta for image in moved.images)
    assert all(value.is_meta for target in moved.targets for value in target.values())
    assert moved.sizes == batch.sizes


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text(""), "val1.png: not an image of a known format"),
        (lambda path: path.unlink(), "val1.png: file does not exist"),
        (
            lambda path: Image.new("L", (9, 7)).save(path),
            "val1.png: has 9 x 7 pixels, but its objects are of an image of 40",
        ),
    ],
)
def test_an_image_that_went_bad_since_the_audit_stops_with_its_name(root, workers, spoil, message):
    module = data_module(root, workers=workers)
    spoil(root / "val2017/val1.png")
    good, bad, _ = module.val_dataloader()
    assert module.on_before_batch_transfer(good, 0) is good
    with pytest.raises(ImageError, match=message):
        module.on_before_batch_transfer(bad, 0)
