"""Records beside the training."""

import csv
import io

import pytest
import torch

from nommer.errors import InputError
from nommer.files import as_csv
from nommer.runs.folder import RunFolder
from nommer.training.records import History


def save_progress(path, *, epochs, batches):
    """A checkpoint that holds nothing but how far the run was."""
    loops = {
        "epoch_progress": {"current": {"started": epochs + (batches > 0), "processed": epochs}},
        "epoch_loop.batch_progress": {"current": {"processed": batches}},
    }
    torch.save({"state_dict": {}, "loops": {"fit_loop": loops}, "epoch": epochs}, path)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"train_loss": float("nan"), "val_loss": 1.0}, "training loss became nan"),
        ({"train_loss": 1.0, "val_loss": float("inf")}, "validation loss became inf"),
    ],
)
def test_a_loss_that_is_no_number_stops_and_names_the_last_good_checkpoint(tmp_path, values, what):
    history = History(RunFolder(tmp_path))
    history.check_losses({"train_loss": 1.0, "val_loss": 2.0}, 3)
    for epoch in (1, 3):
        with pytest.raises(
            InputError, match=f"the {what} in epoch {epoch}; there is no checkpoint yet; lower --lr"
        ):
            history.check_losses(values, epoch)
    history.run.checkpoints.mkdir()
    for epoch, batches, where in (
        (3, 0, "the end of epoch 2"),
        (1, 5, "epoch 1, after its step 5"),
    ):
        save_progress(history.run.last, epochs=epoch - 1, batches=batches)
        with pytest.raises(InputError) as caught:
            history.check_losses(values, epoch)
        assert str(caught.value).startswith(
            f"the {what} in epoch {epoch}; {history.run.last} is from {where}; lower"
        )


def test_a_table_has_a_column_for_every_key_of_any_row():
    text = as_csv([{"a": 1, "b": "x,y"}, {"a": 2, "c": None}])
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"a": "1", "b": "x,y", "c": ""},
        {"a": "2", "b": "", "c": ""},
    ]
