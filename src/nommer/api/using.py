"""The verbs that use a model: judge it, let it answer, see what its answers come from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nommer.errors import InputError, refuse_given
from nommer.inference.evaluation import (
    EvaluationResult,
    EvaluationSettings,
    SplitChoice,
    evaluate_model,
)
from nommer.inference.prediction import PredictionResult, PredictionSettings, predict_images
from nommer.settings.choices import Precision
from nommer.settings.inference import Inference
from nommer.studies.explaining import ExplanationResult, ExplanationSettings, explain_files
from nommer.studies.study import StudySettings, study_data


def evaluate(
    model: Path | str,
    *,
    data: Path | str | None = None,
    classes: Path | str | None = None,
    split: SplitChoice = "auto",
    out: Path | str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    compile: bool = False,  # noqa: A002 - the option's name, as elsewhere
    workers: int | None = None,
    on_bad_sample: Literal["error", "skip"] = "error",
    overwrite: bool = False,
    inference: Inference = Inference(),
) -> EvaluationResult:
    """Judge a model on labelled images.

    Accuracy, IoU or average precision, and more, per class and in pictures.

    Args:
        model: run folder, model folder, exported model.onnx, published checkpoint, or name of the
            zoo, such as nommer_nano.
        data: folder of labelled images, laid out as for training; classes are matched by name. By
            default the run's own data.
        classes: for masks, YAML or JSON file with names, values and colours. By default the run's
            own for its own data, else classes.yaml or classes.json in the data folder.
        split: which part to judge; auto takes val where there is one (also one that the run made),
            else everything.
        out: folder for the results. By default a new one in the run folder.
        batch_size: images per step. By default as in the run, or 64.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: number format of the computation; auto is the run's own, and for other models
            bf16 on a GPU that can and 32 elsewhere.
        compile: have torch.compile translate the network first; pays on a GPU and many images.
        workers: processes that decode images. By default one per core but one.
        on_bad_sample: what to do with images that cannot be read: error refuses any (but for those
            that training left out), skip leaves them out and lists them.
        overwrite: delete earlier results in `out`.
        inference: how a segmenter goes over an image: whole or in windows, at which scales,
            mirrored too.

    Returns:
        The numbers, also per class, and the folder with tables and plots.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to
            do.
    """
    return evaluate_model(EvaluationSettings(**locals()))


def predict(
    model: Path | str,
    images: Sequence[str] = (),
    *,
    top: int | None = None,
    out: Path | str | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    pictures: bool = True,
    overwrite: bool = False,
    inference: Inference = Inference(),
    threshold: float | None = None,
    most: int | None = None,
    precision: Precision = "auto",
) -> PredictionResult:
    """Answer images; one that cannot be read is answered by an error, the others all the same.

    Args:
        model: run folder, model folder, exported model.onnx, published checkpoint, or name of the
            zoo, such as nommer_nano; leave it out for the best model of the zoo that is installed.
        images: files, folders (searched deeply) and glob patterns; - reads one per line from
            standard input.
        top: classes to name per image, most probable first, for classification. By default 5.
        out: folder for result.json, predictions.csv, annotated images; of a segmenter also the
            labels of all pixels as PNG, of a detector the objects as COCO and YOLO write them. By
            default a new one in the run folder.
        batch_size: images per step, for classification. By default 32; the others take one at a
            time.
        device: auto, cpu, cuda, cuda:1 or mps.
        pictures: write the annotated images too.
        overwrite: delete earlier results in `out`.
        inference: how a segmenter goes over an image: whole or in windows, at which scales,
            mirrored too.
        threshold: least score of a detector's answers, 0 to 1, by default 0.05; or where an image
            may have several classes, least probability of one that is answered, by default 0.5.
        most: answers of a detector per image. By default 100.
        precision: number format of the computation; auto is the run's own, and for other models
            bf16 on a GPU that can and 32 elsewhere.

    Returns:
        One answer per image, and the folder.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to
            do.
    """
    return predict_images(PredictionSettings(**locals()))


def explain(
    model: Path | str,
    images: Sequence[str] = (),
    *,
    token: Sequence[str] = (),
    sensitivity: bool = False,
    data: Path | str | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    classes: Path | str | None = None,
    split: SplitChoice = "auto",
    most_images: int | None = None,
    batch_size: int | None = None,
    precision: Precision = "auto",
    workers: int | None = None,
    on_bad_sample: Literal["error", "skip"] = "error",
    seed: int = 0,
) -> ExplanationResult:
    """Show which context every token nominates: of images, a picture each.

    Or of a data set, a report.

    The picture has every nominator block's map and shares; of a segmenter also how much of each
    class it predicts nominates which context. The report tells how often, where and how clearly
    each context is nominated on the data set, and what becomes of the model's numbers and answers
    where others are nominated instead.

    Args:
        model: run folder, model folder, published checkpoint, or name of the zoo, such as
            nommer_nano.
        images: files, folders (searched deeply) and glob patterns; - reads one per line from
            standard input.
        token: X,Y of a pixel of the images, several times for several: what the token that it lies
            in sees in every block, with which weights, and which pixels can influence it, as a
            picture in tokens/ and in result.json.
        sensitivity: of a classifier also where in the image the answer hangs on what is nominated,
            as a picture in sensitivity/ and in result.json; 64 more forward passes per image.
        data: instead of images: folder of labelled images, laid out as for training.
        out: folder for the pictures and result.json; of a data set for report.html, result.json and
            a CSV file per table. By default a new one in the run folder.
        device: auto, cpu, cuda, cuda:1 or mps.
        overwrite: delete earlier results in `out`.
        classes: with data of masks, YAML or JSON file with names, values and colours, as of
            evaluate.
        split: with data, which part; auto takes val where there is one (also one that the run
            made), else everything.
        most_images: with data, on how many images, drawn by `seed`, interventions are judged: each
            of them takes about 20 to 40 evaluations. By default 200. What is nominated is observed
            on all.
        batch_size: with data, images per step. By default as in the run, or 64.
        precision: with data, number format of the computation, as of evaluate.
        workers: with data, processes that decode images. By default one per core but one.
        on_bad_sample: with data, what to do with images that cannot be read, as of evaluate.
        seed: with data, of what is drawn: images, contexts by chance, intervals.

    Returns:
        The answer and the shares of each image, without its maps, or the study of the data set; and
        the folder.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to
            do.
    """
    if data is not None:
        if images:
            raise InputError(
                f"--data {data}: is explained instead of images; leave out either --data or the "
                "images"
            )
        refuse_given(
            "a data set, only for images", token=token or None, sensitivity=sensitivity or None
        )
        given = {
            name: value
            for name, value in locals().items()
            if name in StudySettings.__dataclass_fields__
        }
        study = study_data(StudySettings(**given))
        return ExplanationResult([], study.out, study)
    if not images:
        raise InputError(
            "nothing to explain: name images (files, folders, patterns), or a data set with --data"
        )
    refuse_given(
        "images, only with --data",
        classes=classes,
        split=None if split == "auto" else split,
        most_images=most_images,
        batch_size=batch_size,
        precision=None if precision == "auto" else precision,
        workers=workers,
        on_bad_sample=None if on_bad_sample == "error" else on_bad_sample,
        seed=seed or None,
    )
    given = {
        name: value
        for name, value in locals().items()
        if name in ExplanationSettings.__dataclass_fields__
    }
    return explain_files(ExplanationSettings(**given))
