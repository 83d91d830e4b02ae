"""The network, the optimiser, the learning rate and the noise of a training that names none."""

from dataclasses import replace
from pathlib import Path

from nommer.progress import notice
from nommer.runs.folder import RunFolder, run_of
from nommer.settings.network import AUTO, OWN, TINY_IMAGE, USUAL, NetworkOptions
from nommer.settings.pixels import SMALL_IMAGE
from nommer.settings.train import TrainSettings
from nommer.settings.train_defaults import USUAL_LR
from nommer.zoo import entry_meant_by

OF_SMALL_IMAGES = ("nommer_mini64", "nommer_nano64", "nommer_pico64")
"""Made for images of 64 x 64 pixels (docs/results.md); the first is the default for such."""
SMALL_LR, SMALL_OPTIMISER = 2e-3, "muon"
"""Their learning rate from scratch, in batches of 64, and the optimiser that it is for."""
LESS_NOISE, LIGHT_BALANCE = (0.3, 0.3), 0.1
"""With these our own variants use all three contexts from scratch (docs/working-pattern.md)."""


def with_network(settings: TrainSettings, *, image_size: int, crops: bool) -> TrainSettings:
    """Settings with a network, how it nominates, an optimiser and a learning rate.

    On resuming they are as the run has them.

    Args:
        settings: of the run.
        image_size: side of its images in pixels, as far as that is known.
        crops: the task resizes and crops every image, as classification does.
    """
    settings = as_started(settings)
    scratch = settings.pretrained is None and settings.task is None and not settings.resume
    small = crops and scratch and TINY_IMAGE <= image_size < SMALL_IMAGE
    model = settings.model
    if model == AUTO and settings.pretrained is not None:
        model = _network_of(settings.pretrained)
    elif model == AUTO:  # coefficients that are given are of the published blocks
        model = OF_SMALL_IMAGES[0] if small and not settings.network.kept_coefficients else USUAL
    fits = small and model in OF_SMALL_IMAGES
    optim, lr = settings.optim, settings.lr
    filled = replace(
        settings,
        model=model,
        lr=lr or (SMALL_LR if fits else USUAL_LR),
        optim=replace(optim, name=optim.name or (SMALL_OPTIMISER if fits else optim.algorithm)),
        network=_nominating(settings) if scratch and model in OWN else settings.network,
    )
    if fits:
        _tell(settings, filled, image_size)
    return filled


def as_started(settings: TrainSettings) -> TrainSettings:
    """Settings in which what is not given is, on resuming, as the run was started with it."""
    started = RunFolder(settings.out).settings() if settings.resume else None
    if started is None:
        return settings
    model = started.model if settings.model == AUTO else settings.model
    optim = replace(settings.optim, name=settings.optim.name or started.optim.name)
    network = settings.network
    for name in ("noise", "balance"):
        if getattr(network, name) is None:
            network = replace(network, **{name: getattr(started.network, name)})
    return replace(
        settings, model=model, lr=settings.lr or started.lr, optim=optim, network=network
    )


def _nominating(settings: TrainSettings) -> NetworkOptions:
    """Return options with which all three contexts are used, unless others are given."""
    network = settings.network
    if not network.nominates_all or network.choose_from is not None:
        return network
    balance = network.balance
    if balance is None and settings.compile:
        notice("--compile: does not go with the loss that keeps contexts in balance, left out")
        balance = 0.0
    balance = LIGHT_BALANCE if balance is None else balance
    return replace(network, noise=network.noise or LESS_NOISE, balance=balance)


def _network_of(weights: Path) -> str:
    """Return the network of an entry of the zoo or of a run; of other weights the usual one."""
    entry, started = entry_meant_by(weights), run_of(weights).settings()
    model = entry.variant if entry else started.model if started else USUAL
    if model in (AUTO, USUAL):  # of all folds it is not written
        return USUAL
    notice(f"no --model is given, so it is that of --pretrained {weights}: {model}")
    return model


def _tell(given: TrainSettings, filled: TrainSettings, size: int) -> None:
    """Say what was chosen for small images, and what gives the usual."""
    chosen, usual = [], []
    if given.model == AUTO:
        chosen, usual = [filled.model], [f"--model {USUAL}"]
    if given.optim.name is None:
        chosen.append(f"the optimiser {filled.optim.name}")
        usual.append(f"--optim.name {given.optim.algorithm}")
    if given.lr is None:
        chosen.append(f"a learning rate of {filled.lr:g}")
        usual.append(f"--lr {USUAL_LR:g}")
    if chosen:
        notice(
            f"images of {size} x {size} pixels from scratch: {', '.join(chosen)}, made for small "
            f"images (docs/results.md); larger ones get {' '.join(usual)}"
        )
