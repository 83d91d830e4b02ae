"""Waiting for images is told from computing on them."""

import time

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from nommer.training.input_wait import BOTTLENECK, InputWait


class Slow(Dataset):
    """Twelve numbers, each loaded in so many seconds."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __len__(self):
        return 12

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return torch.zeros(1)


class Busy(L.LightningModule):
    """Computes for so many seconds a step."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.layer = seconds, torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        time.sleep(self.seconds)
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings(
    "ignore:.*many workers.*", "ignore:.*isinstance.*LeafSpec.*", "ignore:.*logging interval.*"
)
@pytest.mark.parametrize(("loading", "computing"), [(0.03, 0.002), (0.0, 0.03)])
def test_the_share_of_the_time_without_a_batch(tmp_path, loading, computing):
    waiting = InputWait()
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[waiting],
        default_root_dir=tmp_path,
    )
    trainer.fit(Busy(computing), DataLoader(Slow(loading)))
    if loading > computing:
        assert waiting.share > 0.6
        assert (
            "of the time waiting for images: more --workers or --cache would help"
            in waiting.describe()
        )
    else:
        assert waiting.share < BOTTLENECK
        assert waiting.describe() == ""
