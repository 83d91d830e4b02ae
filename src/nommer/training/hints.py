"""Hints at settings that fit, and could be better."""

from nommer.progress import notice
from nommer.settings.network import PEER, TINY_IMAGE
from nommer.settings.pixels import SMALL_IMAGE
from nommer.settings.train import TrainSettings

SMALL_STRIDE = 2
"""Of the stem on small images."""


def tell_cheaper_stem(settings: TrainSettings, *, crops: bool) -> None:
    """Tell of what costs a third on small images and is as good, from scratch (results.md)."""
    size, options = settings.image_size or 0, settings.network
    usual = options.patch_size == SMALL_STRIDE and options.stem in (None, "patch")
    if not crops or settings.pretrained is not None or settings.model.startswith(PEER):
        return
    if usual and not settings.resume and TINY_IMAGE <= size < SMALL_IMAGE:
        notice(
            f"images of {size} x {size} from scratch: the stem's stride is {SMALL_STRIDE}; with "
            "--network.patch-size 4 an epoch takes a third of the time and was as good, so that "
            "three times the epochs are the better choice (docs/results.md); nommer_mini64 is made "
            "for such images"
        )


def tell_long_warmup(settings: TrainSettings) -> None:
    """Tell of a learning rate that never gets as high as it was asked to."""
    warmup = settings.optim.warmup_epochs
    if warmup is not None and warmup >= settings.epochs:
        notice(
            f"--optim.warmup-epochs {warmup:g}: the warm-up is as long as the run of "
            f"{settings.epochs} epochs or longer, so the learning rate never stays at --lr "
            f"{settings.learning_rate:g}; give fewer"
        )
