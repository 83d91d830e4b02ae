"""The verbs: one typed function each, which the command line and the YAML recipes call with the same names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nommer.data.cache import CacheKind
from nommer.data.transforms import Augmentation, PixelOptions
from nommer.engine.benchmark.benchmark import BenchmarkResult, run_benchmark
from nommer.engine.benchmark.settings import BenchmarkSettings
from nommer.engine.checking.check import CheckResult, check_data
from nommer.engine.evaluation import (
    EvaluationResult,
    EvaluationSettings,
    SplitChoice,
    evaluate_model,
)
from nommer.engine.explaining import ExplanationResult, ExplanationSettings, explain_files
from nommer.engine.exporting import ExportPrecision, ExportResult, ExportSettings, FormatName, export_to_file
from nommer.engine.network_options import NetworkOptions
from nommer.engine.prediction import PredictionResult, PredictionSettings, predict_images
from nommer.engine.processes import SyncNorms
from nommer.engine.run import RunFolder
from nommer.engine.settings import (
    DetectionOptions,
    SegmentationOptions,
    TrainSettings,
)
from nommer.engine.study.study import StudySettings, study_data
from nommer.engine.trainer import Precision
from nommer.engine.training.aids import Aids, ClassificationOptions
from nommer.engine.training.loggers import LoggerName
from nommer.engine.training.optim import Optim
from nommer.engine.training.replay import ReplayResult, replay_step
from nommer.engine.training.train import TrainingResult, train_model
from nommer.errors import InputError, refuse_given
from nommer.heads.inference import Inference


def check(
    data: Path | str,
    *,
    classes: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> CheckResult:
    """Look at labelled images before anything is learned from them; every file is read whole, none is changed.

    Exit code: 0 where nothing is amiss but for notes; 1 for problems: something is left out, dropped or clipped, or the
    same image has two labels or is in two splits; 2 where training would refuse the data.

    Args:
        data: labelled images in any format that `train` takes.
        classes: for masks, YAML or JSON file with the names, values and colours of the classes and what to ignore.
        out: folder for report.html, data_issues.jsonl, images.csv and result.json. By default a new one, runs/check.
        overwrite: delete earlier results in `out`.

    Returns:
        What was found, the gravest first, and the folder.

    Raises:
        InputError: nothing there that fits a layout, or anything given that does not fit.
    """
    root, file, folder = (None if path is None else Path(path) for path in (data, classes, out))
    return check_data(root or Path(), classes=file, out=folder, overwrite=overwrite)


def train(
    data: Path | str,
    *,
    model: str = "nommer_nano",
    out: Path | str = Path("runs/train"),
    classes: Path | str | None = None,
    epochs: int = 100,
    epoch_steps: int | None = None,
    batch_size: int | Literal["auto"] | None = None,
    image_size: int | None = None,
    lr: float = 1e-3,
    device: str = "auto",
    devices: int = 1,
    precision: Precision = "auto",
    compile: bool = False,  # noqa: A002 - the option's name, as elsewhere
    seed: int = 0,
    nodes: int = 1,
    sync_norms: SyncNorms = "auto",
    workers: int | None = None,
    cache: CacheKind = "none",
    accumulate: int = 1,
    checkpoint_minutes: float = 30.0,
    time_limit: str | None = None,
    loggers: tuple[LoggerName, ...] = (),
    val_fraction: float = 0.2,
    on_bad_sample: Literal["auto", "error", "skip"] = "auto",
    pretrained: Path | str | None = None,
    reinit_head: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    network: NetworkOptions = NetworkOptions(),
    optim: Optim = Optim(),
    augment: Augmentation = Augmentation(),
    pixels: PixelOptions = PixelOptions(),
    aids: Aids = Aids(),
    classification: ClassificationOptions = ClassificationOptions(),
    segmentation: SegmentationOptions = SegmentationOptions(),
    detection: DetectionOptions = DetectionOptions(),
) -> TrainingResult:
    """Train on labelled images; what they are labelled with is what is learned: classes of images, or of pixels.

    Args:
        data: for classification a folder with train/CLASS/ and val/CLASS/ (val may be called valid, validation or
            test), or with CLASS/ alone, which is then split; an archive of these, a table of paths and labels, lists,
            ImageNet's own layouts, WebDataset shards or a Hugging Face dataset on disk. For segmentation images and
            masks, as images/train and masks/train, train/images and train/masks, images/ and masks/ with lists or
            alone, or as ADE20K, CamVid or VOC have them.
        model: variant of the network: nommer_tiny, nommer_small, nommer_base, nommer_nano, nommer_pico or
            nommer_micro; or timm:NAME, a network of timm without pretrained weights, to compare with.
        out: run folder, made by this command.
        classes: for masks, YAML or JSON file with the names, values and colours of the classes and what to ignore. By
            default classes.yaml or classes.json in the data folder.
        epochs: times that the training images are gone through.
        epoch_steps: steps that count as one epoch. By default as many as the training images fill.
        batch_size: images per step and process; auto is the largest that fits into 90 % of a GPU's free memory or half
            of a CPU's, at most a tenth of the training images. By default 64 for classification and 8 for segmentation,
            or all there are if fewer.
        image_size: side of the square input in pixels, 32 or more. By default 224, for smaller images their own size;
            for segmentation the side of the crops, by default 512, for smaller images theirs.
        lr: learning rate at its highest.
        device: auto, cpu, cuda, mps, or chosen ones as in cuda:0,1.
        devices: number of devices of each machine, one process each; of torchrun its own processes.
        nodes: number of machines, each running this command, as torchrun and SLURM start it.
        sync_norms: whether batch norms see the batches of all GPUs together; auto does for segmentation and detection.
        precision: number format of the computation; auto is bf16 on a GPU that can and 32 elsewhere.
        compile: have torch.compile translate the training step, which takes a minute or so at the start.
        seed: of weights, split, order, augmentation and noise: the same seed gives the same result on the same machine.
        workers: processes that decode images; 0 decodes in the training process. By default one per core but one.
        cache: where decoded images are kept for all epochs and processes, with the same results: ram, disk (in the run
            folder), or none; it says how much they take, and refuses what does not fit.
        accumulate: steps whose gradients are added up before the weights change.
        checkpoint_minutes: how old checkpoints/last.ckpt may become within an epoch; 0 saves after every step.
        time_limit: duration such as 90s, 30m, 8h or 1d12h after which training is saved and stopped, so early that the
            best model so far can still be judged; --resume goes on with a limit of its own.
        loggers: wandb, mlflow or both, besides metrics.csv and TensorBoard; they are set up by their own environment
            variables, such as WANDB_MODE and MLFLOW_TRACKING_URI.
        val_fraction: share of each class that is held back where the data has no val folder.
        on_bad_sample: what to do with images that cannot be read: error refuses any, skip leaves them out and lists
            them, auto leaves out and lists at most 1 %.
        pretrained: run folder, model folder or published checkpoint whose weights to start from.
        reinit_head: start with a new classifier, as other classes than those of `pretrained` need; heads for pixels and
            objects are new in any case.
        resume: go on with the run in `out` from its last checkpoint, exactly; with more epochs if they are asked for.
        overwrite: delete the run in `out` first.
        network: changes to the network.
        optim: optimiser and schedule.
        augment: random changes of the training images, for classification.
        pixels: how pixels are prepared.
        aids: averaged weights, early stopping, frozen layers.
        classification: what is done about classes of different size, for classification.
        segmentation: head, loss and random changes of images and masks, for segmentation.
        detection: heads, sizes and random changes of images and objects, for detection and instance segmentation.

    Returns:
        The run folder, the judgement of the best epoch, and its model.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to do.
    """
    return train_model(TrainSettings(**locals()))


def replay(run: Path | str, *, device: str = "auto") -> ReplayResult:
    """Do the step again at which a run was stopped because its loss or gradient was no number, layer by layer.

    The same weights, the same images with the same random changes, the same noise; nothing is trained. A table of every
    layer's output and gradient is written to nonfinite/layers.csv in the run folder.

    Args:
        run: run folder of the training that was stopped.
        device: auto, cpu, cuda, cuda:1 or mps.

    Returns:
        What was seen of every tensor, and the first of them with a value that is no finite number.

    Raises:
        InputError: the run was not stopped so, or its data are others now.
    """
    return replay_step(RunFolder(Path(run)), device=device)


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
    """Judge a model on labelled images: accuracy or IoU, confusion, and more, per class and in pictures.

    Args:
        model: run folder, model folder, exported model.onnx or model.pt2, or published checkpoint.
        data: folder of labelled images, laid out as for training; classes are matched by name. By default the run's
            own data.
        classes: for masks, YAML or JSON file with names, values and colours. By default the run's own for its own
            data, else classes.yaml or classes.json in the data folder.
        split: which part to judge; auto takes val where there is one (also one that the run made), else everything.
        out: folder for the results. By default a new one in the run folder.
        batch_size: images per step. By default as in the run, or 64.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: number format of the computation; auto is the run's own, and for other models bf16 on a GPU that can
            and 32 elsewhere.
        compile: have torch.compile translate the network first; pays on a GPU and many images.
        workers: processes that decode images. By default one per core but one.
        on_bad_sample: what to do with images that cannot be read: error refuses any (but for those that training left
            out), skip leaves them out and lists them.
        overwrite: delete earlier results in `out`.
        inference: how a segmenter goes over an image: whole or in windows, at which scales, mirrored too.

    Returns:
        The numbers, also per class, and the folder with tables and plots.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to do.
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
) -> PredictionResult:
    """Answer images; one that cannot be read is answered by an error, the others all the same.

    Args:
        model: run folder, model folder, exported model.onnx or model.pt2, published checkpoint, or name of the zoo,
            such as nommer_nano; leave it out for the best model of the zoo that is installed.
        images: files, folders (searched deeply) and glob patterns; - reads one per line from standard input.
        top: classes to name per image, most probable first, for classification. By default 5.
        out: folder for result.json, predictions.csv, annotated images; of a segmenter also the labels of all pixels as
            PNG, of a detector the objects as COCO and YOLO write them. By default a new one in the run folder.
        batch_size: images per step, for classification. By default 32; the others take one at a time.
        device: auto, cpu, cuda, cuda:1 or mps.
        pictures: write the annotated images too.
        overwrite: delete earlier results in `out`.
        inference: how a segmenter goes over an image: whole or in windows, at which scales, mirrored too.
        threshold: least score of a detector's answers, 0 to 1, by default 0.05; or where an image may have several
            classes, least probability of one that is answered, by default 0.5.
        most: answers of a detector per image. By default 100.

    Returns:
        One answer per image, and the folder.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to do.
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
    """Show which context every token nominates: of images, a picture each; or of a data set, a report.

    The picture has every nominator block's map and shares; of a segmenter also how much of each class it predicts
    nominates which context. The report tells how often, where and how clearly each context is nominated on the data
    set, and what becomes of the model's numbers and answers where others are nominated instead.

    Args:
        model: run folder, model folder or published checkpoint.
        images: files, folders (searched deeply) and glob patterns; - reads one per line from standard input.
        token: X,Y of a pixel of the images, several times for several: what the token that it lies in sees in every
            block, with which weights, and which pixels can influence it, as a picture in tokens/ and in result.json.
        sensitivity: of a classifier also where in the image the answer hangs on what is nominated, as a picture in
            sensitivity/ and in result.json; 64 more forward passes per image.
        data: instead of images: folder of labelled images, laid out as for training.
        out: folder for the pictures and result.json; of a data set for report.html, result.json and a CSV file per
            table. By default a new one in the run folder.
        device: auto, cpu, cuda, cuda:1 or mps.
        overwrite: delete earlier results in `out`.
        classes: with data of masks, YAML or JSON file with names, values and colours, as of evaluate.
        split: with data, which part; auto takes val where there is one (also one that the run made), else everything.
        most_images: with data, on how many images, drawn by `seed`, interventions are judged: each of them takes about
            20 to 40 evaluations. By default 200. What is nominated is observed on all.
        batch_size: with data, images per step. By default as in the run, or 64.
        precision: with data, number format of the computation, as of evaluate.
        workers: with data, processes that decode images. By default one per core but one.
        on_bad_sample: with data, what to do with images that cannot be read, as of evaluate.
        seed: with data, of what is drawn: images, contexts by chance, intervals.

    Returns:
        The answer and the shares of each image, without its maps, or the study of the data set; and the folder.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to do.
    """
    if data is not None:
        if images:
            raise InputError(f"--data {data}: is explained instead of images; leave out either --data or the images")
        refuse_given("a data set, only for images", token=token or None, sensitivity=sensitivity or None)
        given = {name: value for name, value in locals().items() if name in StudySettings.__dataclass_fields__}
        study = study_data(StudySettings(**given))
        return ExplanationResult([], study.out, study)
    if not images:
        raise InputError("nothing to explain: name images (files, folders, patterns), or a data set with --data")
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
    given = {name: value for name, value in locals().items() if name in ExplanationSettings.__dataclass_fields__}
    return explain_files(ExplanationSettings(**given))


def export(
    model: Path | str,
    *,
    format: FormatName = "onnx",  # noqa: A002 - the option's name, as elsewhere
    dynamic_size: bool = False,
    precision: ExportPrecision = "float32",
    max_drop: float = 0.01,
    data: Path | str | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Export a model for other runtimes; nothing is delivered unless it computes the same on real images.

    Args:
        model: run folder, model folder or published checkpoint.
        format: onnx, or torch_export (a pt2 file); one file that holds class names and preprocessing in its metadata
            and takes any batch size.
        dynamic_size: let the file take images of any height and width from a smallest one; without, it takes those of
            the model's own size, of a segmenter windows of the size of the training crops.
        precision: float32, or int8 (onnx only): 8-bit integers, calibrated on `data`; what accuracy that costs is
            measured.
        max_drop: largest loss, 0 to 1, with which a model in int8 is delivered: of top-1 accuracy or mean IoU where the
            data is labelled, else the share of images with another answer.
        data: folder with images (searched deeply) on which both are compared. By default the run's own data.
        out: folder for model.onnx or model.pt2, parity.json, and of int8 quantisation.json. By default a new one in the
            run folder.
        overwrite: delete an earlier export in `out`.

    Returns:
        The parity report, and the folder.

    Raises:
        InputError: anything given that does not fit, or an export that computes something else.
    """
    return export_to_file(ExportSettings(**{**locals(), "model": Path(model)}))


def benchmark(
    *,
    models: str | Sequence[str] = "nommer_tiny",
    peers: str | Sequence[str] = "swin_tiny_patch4_window7_224",
    sizes: str | Sequence[int] = "224",
    batches: str | Sequence[int] = "1,4",
    precisions: str | Sequence[str] = "32",
    backends: str | Sequence[str] = "eager,fused",
    mode: Literal["inference", "training", "both"] = "inference",
    device: str = "auto",
    threads: int | None = None,
    rounds: int = 20,
    seconds: float = 2.0,
    minutes: float = 10.0,
    out: Path | str | None = None,
    overwrite: bool = False,
) -> BenchmarkResult:
    """Measure how fast networks are and what memory they need, against networks of timm, in turns in one process.

    Lists are written with commas. What cannot be run, too large for the memory for example, is a row that says so.

    Args:
        models: names in timm's registry, ours and others.
        peers: networks to compare with; ratios are against the first.
        sizes: sides of the square images in pixels; with several, time per image is drawn against them.
        batches: images per call; 1 for the time that one image takes.
        precisions: 32, bf16, 16 as train and evaluate compute (autocast); bf16-true, 16-true for weights in them too,
            inference only.
        backends: eager, compiled; for inference also fused, fused-compiled, and onnxruntime (in 32, on the CPU).
        mode: inference, training (forward, backward and AdamW) or both.
        device: auto, cpu, cuda, cuda:1 or mps.
        threads: of the CPU. By default as many as torch takes.
        rounds: times that each is measured at most.
        seconds: time that each may take, warming up apart; 3 rounds are always measured where there are as many.
        minutes: after so many, what is left is left out, and said to be.
        out: folder for report.md, result.json and time_by_pixels.png. By default a new one, runs/benchmark.
        overwrite: delete earlier results in `out`.

    Returns:
        All measurements, and the folder.

    Raises:
        InputError: anything given that does not fit; the message says what was found and what to do.
    """
    return run_benchmark(BenchmarkSettings(**{**locals(), "out": None if out is None else Path(out)}))
