"""Loading as all tasks share it.

Epochs of a given number of batches, and every process its share.
"""

from types import SimpleNamespace

import pytest
import torch

from nommer.data.formats.masks import read_mask_folders
from nommer.data.joint_transforms import DensePreprocessing
from nommer.data.loader import _explain, check_loading_workers, dead_workers_told
from nommer.data.module import Loading
from nommer.data.segmentation import SegmentationData
from nommer.errors import InputError
from nommer.settings.segmentation import JointAugmentation


def module(root, *, rank=0, world=1, batch_size=4, device="cpu", **loading):
    data = read_mask_folders(root)
    built = SegmentationData(
        data.splits["train"],
        data.splits["val"],
        encoding=data.encoding,
        preprocessing=DensePreprocessing(image_size=32),
        augmentation=JointAugmentation(),
        loading=Loading(batch_size=batch_size, workers=0, **loading),
    )
    strategy = SimpleNamespace(root_device=torch.device(device))
    built.trainer = SimpleNamespace(global_rank=rank, world_size=world, strategy=strategy)
    return built


def indices(loader, epoch=0):
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(epoch)
    return [batch.indices.tolist() for batch in loader]


def test_an_epoch_of_given_steps_has_so_many_full_batches(masked):
    epochs = [
        indices(module(masked, epoch_steps=3).train_dataloader(), epoch) for epoch in range(2)
    ]
    assert [[len(batch) for batch in epoch] for epoch in epochs] == [[4, 4, 4]] * 2
    stream = [index for epoch in epochs for batch in epoch for index in batch]
    for start in range(0, 24, 6):
        assert sorted(stream[start : start + 6]) == list(range(6)), (
            "every sample once per pass, across the epochs"
        )


def test_a_batch_may_be_larger_than_the_data_where_epochs_have_given_steps(masked):
    (batch,) = indices(module(masked, epoch_steps=1, batch_size=16).train_dataloader())
    assert [batch.count(index) >= 2 for index in range(6)] == [True] * 6
    assert indices(module(masked, batch_size=16).train_dataloader()) == []


def test_processes_share_the_stream_and_the_validation(masked):
    loaders = [module(masked, rank=rank, world=3, batch_size=2, epoch_steps=2) for rank in range(3)]
    trained = [indices(loader.train_dataloader()) for loader in loaders]
    assert [[len(batch) for batch in share] for share in trained] == [[2, 2]] * 3
    assert sorted(index for share in trained for batch in share for index in batch) == sorted(
        [*range(6)] * 2
    )
    evaluated = [indices(loader.val_dataloader()) for loader in loaders]
    assert evaluated == [[[0]], [[1]], [[2]]]


def test_one_process_sees_the_crops_that_several_see(masked):
    alone = {}
    for key in module(masked, batch_size=4, epoch_steps=2).train_sampler():
        alone[key] = module(masked).train[key].images
    for rank in range(2):
        shared = module(masked, rank=rank, world=2, batch_size=2, epoch_steps=2)
        for key in shared.train_sampler():
            assert torch.equal(shared.train[key].images, alone.pop(key))
    assert not alone


def test_batches_for_a_gpu_come_from_pinned_memory(masked):
    for device in ("cpu", "cuda"):
        data = module(masked, device=device)
        assert {data.train_dataloader().pin_memory, data.val_dataloader().pin_memory} == {
            device == "cuda"
        }


def test_too_few_open_files_for_workers_are_told_before_they_hang(monkeypatch):
    monkeypatch.setattr("nommer.data.loader.resource.getrlimit", lambda _: (50, 50))
    check_loading_workers(0)
    with pytest.raises(InputError, match=r"50 files open here, and 1 workers .*ulimit -n 56"):
        check_loading_workers(1)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "no room in shared memory"),
        (OSError(30, "Read-only file system"), "no room in shared memory"),
        (OSError(24, "Too many open files"), "too many files open"),
        (OSError(28, "No space left on device", "run/x.png"), None),
        (ValueError("x"), None),
    ],
)
def test_what_ails_workers_is_told(error, reason):
    told = _explain(error)
    assert (told is None) if reason is None else reason in told


def test_a_killed_worker_is_told_wherever_its_error_comes_out():
    """PyTorch raises it from the handler of a signal, in whatever line runs just then."""
    told = "a worker that loads images was ended by the system, most likely for want of memory"
    with pytest.raises(InputError, match=told), dead_workers_told():
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    with pytest.raises(RuntimeError, match="another"), dead_workers_told():
        raise RuntimeError("another")
