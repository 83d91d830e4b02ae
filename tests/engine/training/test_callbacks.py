"""What happens beside the training."""

import csv
import io

import pytest

from nommer.engine.run import RunFolder
from nommer.engine.training.callbacks import History
from nommer.errors import InputError
from nommer.files import as_csv


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
    with pytest.raises(InputError) as caught:
        history.check_losses(values, 3)
    assert str(caught.value).startswith(
        f"the {what} in epoch 3; {tmp_path / 'checkpoints/last.ckpt'} is from epoch 2; "
    )
    with pytest.raises(InputError, match="there is no checkpoint yet"):
        history.check_losses(values, 1)


def test_a_table_has_a_column_for_every_key_of_any_row():
    text = as_csv([{"a": 1, "b": "x,y"}, {"a": 2, "c": None}])
    assert list(csv.DictReader(io.StringIO(text))) == [{"a": "1", "b": "x,y", "c": ""}, {"a": "2", "b": "", "c": ""}]
