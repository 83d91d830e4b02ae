"""A whole file: an exported network with the graphs before and after it, in one ONNX file.

The answers of the file to images, decoded and not prepared, are compared with the model's, and
where the images are labelled both are evaluated.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nommer.data.images import ImageError, decode
from nommer.errors import InputError
from nommer.exporting.candidate import candidate_in
from nommer.exporting.metadata import description_in, write_described
from nommer.exporting.parity import evenly
from nommer.files import write_json
from nommer.inference.evaluation import Opened
from nommer.models.exported_networks import INPUT
from nommer.models.onnx_files import WHOLE
from nommer.models.recogniser import Recogniser
from nommer.models.whole import WholeFile
from nommer.predictions import Failure
from nommer.predictions.failure import NOT_FINITE
from nommer.progress import notice
from nommer.tasks.image_size import ImageSize
from nommer.tasks.registry import task_of
from nommer.tasks.whole import WholeExport, WholeParts

MOST_EVALUATED = 1000
"""Labelled images on which both are evaluated."""


@dataclass(frozen=True)
class WholeReport:
    """Differences between the answers of a whole file and of the model, from image files on."""

    images: int
    answers: int
    """Answers compared: of images, of pixels, or of objects."""
    same: int
    """Of these: the same class, of objects at the same place."""
    share: float
    needed: float
    """Least share with which a file is delivered."""
    largest_difference: float
    """Of a probability, of answers that are the same; 0 of pixels, whose answers are classes."""
    same_refusals: float | None
    """Share of the images that both refuse, as none of the classes, or both answer; `needed` of a
    file in float32, of another one as much as `max_drop` allows. None of a model that refuses
    nothing."""
    metric: str | None
    """On labelled images: top1, miou, box_ap or mask_ap; None where nothing is labelled."""
    pillow: float | None
    """The metric of the model, on images resized by Pillow."""
    graph: float | None
    """The metric of the file, on the same images."""
    judged_images: int
    drop: float | None
    max_drop: float
    """Largest loss of the metric with which a file is delivered."""
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def write_whole(model: Recogniser, size: ImageSize, source: Path, target: Path) -> None:
    """Write the exported network at `source` with all that is before and after it to `target`.

    Args:
        model: that was exported.
        size: that it was exported for.
        source: an ONNX file of `export_model`, traced for a whole file.
        target: an ONNX file.

    Raises:
        InputError: a task or a model for which there are no such graphs.
    """
    import onnx  # noqa: PLC0415 - slow to import

    whole, network = whole_of(model), onnx.load(str(source))
    parts = whole.parts(model, size)
    told = description(model, whole, parts, description_in(network))
    write_described(join(network, parts), told, target)


def whole_of(model: Recogniser) -> WholeExport:
    """Return how models of this task become whole files.

    Raises:
        InputError: they do not.
    """
    whole = task_of(model).exporting.whole
    if whole is None:
        raise InputError(f"--whole: is not there for {model.task}; export without it")
    return whole


def join(network: Any, parts: WholeParts) -> Any:
    """Return one ONNX model of a network and the graphs around it."""
    from onnx import compose, parser, utils  # noqa: PLC0415 - slow to import

    taken = utils.Extractor(network).extract_model([INPUT], list(parts.network))
    opset = next(entry.version for entry in network.opset_import if not entry.domain)
    head = f'<ir_version: {network.ir_version}, opset_import: ["" : {opset}]>'
    before, after = (parser.parse_model(head + text) for text in (parts.prepare, parts.finish))
    sizes = ["p_image", "p_seen", *(["p_seen_pixels"] if parts.prepared else [])]
    joined = compose.merge_models(
        before,
        taken,
        io_map=[("prepared", INPUT)],
        prefix2="net/",
        outputs=[*sizes, *(f"net/{name}" for name in parts.network)],
    )
    handed = [(f"net/{name}", f"f_{name}") for name in parts.network]
    handed += [(name, name.replace("p_", "f_")) for name in sizes]
    return compose.merge_models(joined, after, io_map=handed, outputs=list(parts.outputs))


def description(
    model: Recogniser, whole: WholeExport, parts: WholeParts, told: dict[str, Any]
) -> dict[str, Any]:
    """Return all that whoever runs the file must know."""
    reading = model.preprocessing.reading
    kept = ("format", "task", "class_names", "class_ids", "colours", "category_ids", "threshold")
    return {
        **{name: told[name] for name in kept if name in told},
        WHOLE: True,
        **whole.describe(model),
        "outputs": parts.outputs,
        "background": reading.background,
        "range": reading.range,
        "left_out": ("decoding images, as `background` and `range` say", *whole.left_out(model)),
        **({"decisions": told["decisions"]} if "decisions" in told else {}),
        "precision": told["precision"],
        "nommer_version": told["nommer_version"],
    }


def compare_whole(
    model: Recogniser,
    file: WholeFile,
    paths: Sequence[Path],
    opened: Opened | None,
    max_drop: float,
) -> WholeReport:
    """Compare the answers of both to image files, and evaluate both where there are labels.

    Raises:
        InputError: none of the images can be read.
    """
    whole = whole_of(model)
    chosen = [paths[index] for index in evenly(len(paths), whole.images)]
    agreements = [whole.compare(expected, found) for expected, found in _both(model, file, chosen)]
    answers, same = (sum(getattr(one, name) for one in agreements) for name in ("answers", "same"))
    if not answers:
        raise InputError(
            "nothing is answered in any of the images looked at; give --data with images that show "
            "what the model knows"
        )
    metric, before, after, evaluated = _evaluate(whole, model, file, opened)
    drop = None if before is None or after is None else before - after
    needed = _needed(whole, file, max_drop, labelled=drop is not None)
    refusals = [one.refusal for one in agreements if one.refusal is not None]
    agreed = sum(refusals) / len(refusals) if refusals else None
    return WholeReport(
        images=len(agreements),
        answers=answers,
        same=same,
        share=same / answers,
        needed=needed,
        largest_difference=max(one.difference for one in agreements),
        same_refusals=agreed,
        metric=metric,
        pillow=before,
        graph=after,
        judged_images=evaluated,
        drop=drop,
        max_drop=max_drop,
        passed=same >= needed * answers
        and (drop is None or drop <= max_drop)
        and (agreed is None or agreed >= min(whole.needed, 1 - max_drop)),
    )


def _needed(whole: WholeExport, file: WholeFile, max_drop: float, *, labelled: bool) -> float:
    """Return the share of the answers that must be the same.

    Rounded numbers give other answers where the model is unsure; there labels tell what that costs.
    """
    if file.description.precision == "float32":
        return whole.needed
    return 0.0 if labelled else min(whole.needed, 1 - max_drop)


def _evaluate(
    whole: WholeExport, model: Recogniser, file: WholeFile, opened: Opened | None
) -> tuple[str | None, float | None, float | None, int]:
    """Return what both reach on labelled images, by which number, and on how many."""
    if opened is None:
        return None, None, None, 0
    samples = opened.data.samples()
    samples = tuple(samples[index] for index in evenly(len(samples), MOST_EVALUATED))
    notice(f"evaluating both on {len(samples)} labelled images")
    both = list(_both(model, file, [sample.path for sample in samples], scored=True))
    if len(both) < len(samples):
        return None, None, None, 0
    (metric, before), (_, after) = (
        whole.score(opened.data, samples, answers) for answers in zip(*both, strict=True)
    )
    return metric, before, after, len(samples)


def _both(
    model: Any, file: WholeFile, paths: Sequence[Path], *, scored: bool = False
) -> Iterator[tuple[Any, Any]]:
    """Yield the answers of both to every image that can be read, or what is `scored` of them.

    Raises:
        InputError: scores of the file that are NaN or infinite where the model's are not.
    """
    whole = whole_of(model)
    for path in paths:
        with suppress(ImageError):
            image = decode(path, model.preprocessing.reading)
            expected = (whole.scored if scored else whole.expected)(model, image)
            (found,) = file.answer([("image", image)], least=whole.all_scores if scored else None)
            if isinstance(expected, Failure):
                continue
            if not isinstance(found, Failure):
                yield expected, found
            elif found.error == NOT_FINITE:
                raise InputError(
                    f"{path}: {found.error}, in the whole file in "
                    f"{file.description.precision} and not in the model; no model was delivered; "
                    "export it with --precision float32"
                )


def make_whole(
    model: Recogniser,
    size: ImageSize,
    paths: Sequence[Path],
    folder: Path,
    *,
    opened: Opened | None,
    max_drop: float,
) -> WholeReport:
    """Replace `folder/model.onnx` by a whole file, and write `folder/whole.json`.

    Raises:
        InputError: the file answers otherwise than the model; then the report stays, but no model.
    """
    with candidate_in(folder) as (file, candidate):
        write_whole(model, size, file, candidate)
        opened_file = WholeFile.open(candidate)
        report = compare_whole(model, opened_file, paths, opened, max_drop)
        write_json(folder / "whole.json", report.to_dict())
        if not report.passed:
            file.unlink()
            raise _refusal(report, opened_file, folder / "whole.json")
    return report


def _refusal(report: WholeReport, file: WholeFile, told: Path) -> InputError:
    refusals = (
        ""
        if report.same_refusals is None
        else f", refuses the same images (none of these) in {report.same_refusals:.2%}"
    )
    return InputError(
        f"{told}: the whole file gives the same answer in {report.share:.2%} (needed "
        f"{report.needed:.0%}){refusals} and loses {report.drop or 0:.4f} of "
        f"{report.metric or 'nothing that is labelled'} (allowed {report.max_drop:g}); no model "
        f"was delivered; {_way_out(file)}"
    )


def _way_out(file: WholeFile) -> str:
    if file.description.precision == "float32":
        return "export without --whole"
    return "allow more with --max-drop, or export it with --precision float32"
