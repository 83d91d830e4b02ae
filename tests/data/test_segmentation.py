"""Images and masks as batches: the same ones whatever loads them."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from nommer.data.formats.masks import read_mask_folders
from nommer.data.images import ImageError, decode
from nommer.data.joint_transforms import DensePreprocessing
from nommer.data.masks import IGNORE, read_mask
from nommer.data.module import Loading
from nommer.data.segmentation import SegmentationData
from nommer.settings.segmentation import JointAugmentation


def data_module(root, *, workers=0, batch_size=4, epoch_steps=None, **preprocessing):
    data = read_mask_folders(root)
    return SegmentationData(
        data.splits["train"],
        data.splits["val"],
        encoding=data.encoding,
        preprocessing=DensePreprocessing(image_size=32, **preprocessing),
        augmentation=JointAugmentation(),
        loading=Loading(batch_size=batch_size, workers=workers, epoch_steps=epoch_steps),
    )


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_training_batches_are_square_crops_shuffled(masked):
    (batch,) = data_module(masked).train_dataloader()
    assert batch.images.shape == (4, 3, 32, 32)
    assert batch.masks.shape == (4, 32, 32)
    assert (batch.images.dtype, batch.masks.dtype, batch.indices.dtype) == (
        torch.float32,
        torch.int64,
        torch.int64,
    )
    assert set(batch.masks.unique().tolist()) <= {0, 1, 2, IGNORE}
    assert len(set(batch.indices.tolist())) == 4


def test_validation_goes_image_by_image_each_with_its_whole_mask(masked):
    module = data_module(masked, short_side=20)
    batches = list(module.val_dataloader())
    assert [batch.indices.tolist() for batch in batches] == [[0], [1], [2]]
    for batch, sample in zip(batches, module.val.samples, strict=True):
        assert torch.equal(batch.images[0], module.preprocessing(decode(sample.path)))
        assert batch.images.shape == (1, 3, 20, 25)
        assert np.array_equal(batch.masks[0].numpy(), read_mask(sample.mask, module.val.encoding))


def test_images_of_different_sizes_are_evaluated_side_by_side(masked, write_pair, make_labels):
    write_pair(
        masked / "images/val/9.png", masked / "masks/val/9.png", make_labels(1, size=(97, 131))
    )
    assert [batch.masks.shape[1:] for batch in data_module(masked).val_dataloader()] == [
        (32, 40)
    ] * 3 + [(131, 97)]


def test_one_sample_can_be_had_again_by_its_seed(masked):
    module = data_module(masked)
    first = [module.train[key] for key in module.train_sampler()]
    (batch,) = module.train_dataloader()
    for place in range(4):
        assert torch.equal(batch.images[place], first[place].images)
        assert torch.equal(batch.masks[place], first[place].masks)
        assert batch.indices[place] == first[place].indices


@pytest.mark.parametrize("epoch_steps", [None, 4])
def test_batches_are_the_same_whatever_the_number_of_workers(masked, epoch_steps):
    alone = list(data_module(masked, epoch_steps=epoch_steps).train_dataloader())
    helped = list(data_module(masked, epoch_steps=epoch_steps, workers=2).train_dataloader())
    assert len(alone) == (epoch_steps or 1)
    assert all(equal(one, other) for one, other in zip(alone, helped, strict=True))


def test_datasets_travel_to_other_processes(masked):
    module = data_module(masked)
    for dataset in (module.train, module.val):
        received = pickle.loads(pickle.dumps(dataset))
        assert torch.equal(received[(1, 7)].images, dataset[(1, 7)].images)


def test_transparency_gets_the_declared_background(masked):
    path = masked / "images/val/6.png"
    with Image.open(path) as image:
        image.putalpha(0)
        image.save(path)
    module = data_module(masked, background=(255, 0, 0), mean=(0, 0, 0), std=(1, 1, 1))
    assert module.val[0].images.mean((1, 2)).tolist() == [1, 0, 0]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda root: (root / "images/val/7.png").write_text(""),
            "7.png: not an image of a known format",
        ),
        (lambda root: (root / "masks/val/7.png").unlink(), "7.png: file does not exist"),
        (
            lambda root: Image.new("L", (9, 7)).save(root / "masks/val/7.png"),
            "7.png: is 9 x 7 pixels, its image 40 x 32; both must be the same",
        ),
        (
            lambda root: Image.new("L", (40, 32), 99).save(root / "masks/val/7.png"),
            r"7.png: value 99 \(1,280 pixels\)",
        ),
    ],
)
def test_a_pair_that_went_bad_since_the_audit_stops_with_its_name(masked, workers, spoil, message):
    module = data_module(masked, workers=workers)
    spoil(masked)
    good, bad, _ = module.val_dataloader()
    assert module.on_before_batch_transfer(good, 0) is good
    with pytest.raises(ImageError, match=message):
        module.on_before_batch_transfer(bad, 0)
