"""Everything that `nommer explain` is told."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from nommer.errors import InputError, check_minimum, refuse_given
from nommer.settings.choices import Precision, SplitChoice
from nommer.settings.evaluate import EvaluateSettings
from nommer.settings.labels import LabelOptions
from nommer.settings.schema import Settings, Takes, given, required


@dataclass(frozen=True)
class ExplainSettings(Settings):
    """Settings of an explanation, of images or of a data set.

    Raises:
        InputError: a value of another type, or options of both; the message names it.
    """

    model: Takes[Path, str] = required()
    """Run folder, model folder, published checkpoint, or name of the zoo, such as nommer_nano."""
    images: Takes[tuple[str, ...], str | Path | Sequence[str | Path]] = given(())
    """Files, folders (searched deeply) and glob patterns. - reads one per line from standard
    input."""
    _: KW_ONLY
    token: Takes[tuple[str, ...], str | Sequence[str]] = given(())
    """X,Y of a pixel of the images, several times for several.
    The token that it lies in is followed through every block: the tokens it draws on, with which
    weights, and the pixels that can influence it, as a picture in tokens/ and in result.json."""
    sensitivity: bool = False
    """Of a classifier also where in the image the answer hangs on what is nominated.
    As a picture in sensitivity/ and in result.json; 64 more forward passes per image."""
    page: bool = False
    """Also page.html, the explorer of `nommer serve` with these images in it: one file to share.
    About 0.3 MB and 20 forward passes per image; at most 50 images."""
    data: Takes[Path | None, str] = given(None)
    """Instead of images: folder of labelled images, laid out as for training."""
    out: Takes[Path | None, str] = given(None)
    """Folder for the pictures and result.json. Of a data set for report.html, result.json and a CSV
    file per table. By default a new one in the run folder."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    overwrite: bool = False
    """Delete earlier results in --out."""
    classes: Takes[Path | None, str] = given(None)
    """With data of masks, YAML or JSON file with names, values and colours, as of evaluate."""
    split: SplitChoice = "auto"
    """With data, the part. auto takes val where there is one (also one that the run made), else
    everything."""
    most_images: int | None = None
    """With data, images on which interventions are evaluated, drawn by --seed.
    Each of them takes about 20 to 40 evaluations. Nominations are observed on all images. By
    default 200."""
    batch_size: int | None = None
    """With data, images per step. By default as in the run, or 64."""
    precision: Precision = "auto"
    """With data, number format of the computation, as of evaluate."""
    workers: int | None = None
    """With data, processes that decode images. By default one per core but one."""
    on_bad_sample: Literal["error", "skip"] = "error"
    """With data, treatment of images that cannot be read, as of evaluate."""
    seed: int = 0
    """With data, seed of what is drawn: images, contexts by chance, intervals."""
    labels: Takes[LabelOptions, Mapping[str, Any]] = given(LabelOptions())
    """With data, labels where data leave them open, as of evaluate."""

    def check(self) -> None:
        """Refuse options of images with a data set, and the other way round."""
        if self.data is None:
            self._refuse_options_of_data()
        elif self.images:
            raise InputError(
                f"--data {self.data}: is explained instead of images; leave out either --data or "
                "the images"
            )
        else:
            refuse_given(
                "a data set, only for images",
                token=self.token or None,
                sensitivity=self.sensitivity or None,
                page=self.page or None,
            )
            check_minimum("batch-size", self.batch_size, 1)
            check_minimum("workers", self.workers, 0)
            check_minimum("most-images", self.most_images, 1)
            check_minimum("seed", self.seed, 0)

    def _refuse_options_of_data(self) -> None:
        if not self.images:
            raise InputError(
                "nothing to explain: name images (files, folders, patterns), or a data set with "
                "--data"
            )
        refuse_given(
            "images, only with --data",
            classes=self.classes,
            split=None if self.split == "auto" else self.split,
            most_images=self.most_images,
            batch_size=self.batch_size,
            precision=None if self.precision == "auto" else self.precision,
            workers=self.workers,
            on_bad_sample=None if self.on_bad_sample == "error" else self.on_bad_sample,
            seed=self.seed or None,
            labels=None if self.labels == LabelOptions() else self.labels,
        )

    def evaluation(self) -> EvaluateSettings:
        """Return the settings of the evaluation of the model on `data`."""
        shared = {one.name for one in fields(EvaluateSettings)}
        return EvaluateSettings(
            **{name: value for name, value in vars(self).items() if name in shared}
        )
