"""The card of a pretrained network: its teacher, its images, its numbers and its terms."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nommer.models.features import FeatureExtractor
from nommer.settings.network import PEER
from nommer.settings.pretrain import PretrainSettings
from nommer.tasks.features.data import UnlabelledImages
from nommer.zoo import entry_meant_by


def card_of(
    settings: PretrainSettings,
    model: FeatureExtractor,
    data: UnlabelledImages,
    counts: Mapping[str, int],
    facts: Mapping[str, Any],
    numbers: Mapping[str, Any],
) -> str:
    """Return the card as Markdown.

    Args:
        settings: of the run, resolved.
        model: the network.
        data: its images, with the probe.
        counts: images by split.
        facts: the epoch among them.
        numbers: of the report.
    """
    parameters = sum(weight.numel() for weight in model.network.parameters())
    size = settings.image_size
    rows = "\n".join(f"| {name.replace('_', ' ')} | {_shown(v)} |" for name, v in numbers.items())
    places = "\n".join(f"- {place}" for place in settings.places)
    return f"""# {settings.model}, pretrained without labels

{settings.model} without a classifier, {parameters / 1e6:.2f} M parameters, for images of
{size} x {size}. It imitates features of {settings.teacher} and has seen no labels.

## Use

```
nommer train --data LABELLED --model {settings.model} --pretrained RUN
```

## Teacher

{_teacher(settings)}

## Images

{counts.get("train", 0):,} to learn from, {counts.get("val", 0):,} held back:

{places}

{_probe(settings, data)}

## Numbers

Of epoch {facts["epoch"]} of {settings.epochs}, the best, on the images held back.

| | |
|---|---|
{rows}

## Terms

Licence of the images and of the teacher: {settings.licence or "unknown"}.
What may be done with these weights depends on both.

## Recipe

Batches of {settings.images_per_step}, learning rate {settings.learning_rate:g},
seed {settings.seed}, precision {settings.precision}; nommer {version("nommer")},
torch {version("torch")}, timm {version("timm")}. All settings: config.yaml of the run.
"""


def _teacher(settings: PretrainSettings) -> str:
    teacher, options = settings.teacher, settings.distillation
    size = options.image_size or settings.image_size
    shown = f"{teacher}, shown images of {size} x {size}."
    if (entry := entry_meant_by(Path(teacher))) is not None:
        return f"{shown} Its weights are {entry.terms}."
    if not teacher.startswith(PEER):
        return shown
    weights = f"from {options.weights}" if options.weights else "timm's own"
    return f"{shown} Its weights are {weights}."


def _probe(settings: PretrainSettings, data: UnlabelledImages) -> str:
    if data.probe is None:
        return "The best epoch is the one that is most like the teacher on the images held back."
    return (
        f"The best epoch is chosen by a probe, {settings.probe}: of {len(data.asked):,} images of "
        f"{len(data.probe.class_names)} classes, those known by their {settings.neighbours} "
        f"nearest of {len(data.known):,} others (knn)."
    )


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
