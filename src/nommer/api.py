"""The verbs: one typed function each, with the settings of the command line as its arguments.

The room of a verb is imported when it is called: torch takes seconds, and help and errors do not
need it.
"""

from typing import TYPE_CHECKING

from nommer.extras import check_installed
from nommer.settings.benchmark import BenchmarkSettings
from nommer.settings.check import CheckSettings
from nommer.settings.demo import DemoSettings
from nommer.settings.embed import EmbedSettings
from nommer.settings.evaluate import EvaluateSettings
from nommer.settings.explain import ExplainSettings
from nommer.settings.export import ExportSettings
from nommer.settings.own_parts import TrainCall
from nommer.settings.predict import PredictCall
from nommer.settings.pretrain import PretrainSettings
from nommer.settings.prune import PruneSettings
from nommer.settings.replay import ReplaySettings
from nommer.settings.serve import ServeSettings
from nommer.settings.verbs import verb

if TYPE_CHECKING:
    from nommer.benchmarking.results import BenchmarkResult
    from nommer.checking.check import CheckResult
    from nommer.embedding.embed import EmbeddingResult
    from nommer.exporting.delivery import ExportResult
    from nommer.inference.evaluate import EvaluationResult
    from nommer.inference.prediction import PredictionResult
    from nommer.pruning.result import PruningResult
    from nommer.quickstart import DemoResult
    from nommer.streams.result import StreamResult
    from nommer.studies.explaining import ExplanationResult
    from nommer.training.conclusion import TrainingResult
    from nommer.training.folds import FoldsResult
    from nommer.training.replay import ReplayResult

__all__ = [
    "benchmark",
    "check",
    "demo",
    "embed",
    "evaluate",
    "explain",
    "export",
    "predict",
    "pretrain",
    "prune",
    "replay",
    "serve",
    "train",
]


@verb(CheckSettings, needs=("train",))
def check(settings: CheckSettings) -> "CheckResult":
    """Look at labelled images before anything is learned from them.

    Every file is read whole, none is changed. Exit code: 0 where nothing is amiss but for notes; 1
    for problems: something is left out, dropped or clipped, or the same image has two labels or is
    in two splits; 2 where training would refuse the data, also for labels that cannot be read at
    all. In any case the report is written; mistakes in the call are code 2 without one.
    """
    from nommer.checking.check import check_data
    from nommer.checking.near import Alike

    model = settings.model
    alike = None if model is None else Alike(model, settings.near, settings.device)
    return check_data(
        settings.data,
        classes=settings.classes,
        out=settings.out,
        overwrite=settings.overwrite,
        labels=settings.labels,
        alike=alike,
        looks=settings.looks,
    )


@verb(TrainCall, needs=("train",))
def train(call: TrainCall) -> "TrainingResult | FoldsResult":
    """Train on labelled images.

    The labels say what is learned: classes of images or of pixels, or objects. The result has the
    run folder, the evaluation of the best epoch, and its model.
    """
    from nommer.training.folds import train_folds
    from nommer.training.train import train_model

    settings, own = call.settings(), call.own_parts()
    return train_folds(settings, own) if settings.several_runs else train_model(settings, own)


@verb(PretrainSettings, needs=("train",))
def pretrain(settings: PretrainSettings) -> "TrainingResult":
    """Pretrain a network on images without labels, by imitating a teacher's features.

    Its maps at every stride and its pooled features learn to be the teacher's, through projections
    that are thrown away. The result is a model without classes to start a training from, with
    `--pretrained`, for any task. A run stops, goes on and reports as that of `train`.
    """
    from nommer.training.train import train_model

    return train_model(settings)


@verb(ReplaySettings, needs=("train",))
def replay(settings: ReplaySettings) -> "ReplayResult":
    """Do the step again that stopped a run because its loss or gradient was NaN or infinite.

    Layer by layer: the same weights, the same images with the same random changes, the same noise;
    nothing is trained. A table of every layer's output and gradient is written to
    nonfinite/layers.csv in the run folder.
    """
    from nommer.runs.folder import RunFolder
    from nommer.training.replay import replay_step

    return replay_step(RunFolder(settings.run), device=settings.device)


@verb(EvaluateSettings, needs=("train",))
def evaluate(settings: EvaluateSettings) -> "EvaluationResult":
    """Evaluate a model on labelled images.

    Accuracy, IoU or average precision, and more, per class and in pictures.
    """
    from nommer.inference.evaluate import evaluate_model

    return evaluate_model(settings)


@verb(PredictCall)
def predict(settings: PredictCall) -> "PredictionResult | StreamResult":
    """Answer images, and the frames of videos and cameras.

    One that cannot be read is answered by an error, the others all the same. Videos, cameras and
    watched folders are answered frame by frame, in bounded memory; what was answered is kept
    however a call ends.
    """
    from nommer.inference.prediction import predict_images

    return predict_images(settings)


@verb(EmbedSettings, needs=("train",))
def embed(settings: EmbedSettings) -> "EmbeddingResult":
    """Compute vectors of images, objects or regions, and look through them.

    The vectors go to a file with the names of the images; the nearest neighbours of each, by
    cosine, to a table and a page that needs no network, with a map of all. Where labels are known,
    how often the neighbours agree on them.
    """
    from nommer.embedding.embed import embed_images

    return embed_images(settings)


@verb(ExplainSettings, needs=("explain",))
def explain(settings: ExplainSettings) -> "ExplanationResult":
    """Show which context every token nominates: of images, a picture each; of a data set, a report.

    The picture has every nominator block's map and shares; of a segmenter also how much of each
    class it predicts nominates which context. The report tells how often, where and how clearly
    each context is nominated on the data set, and what becomes of the model's numbers and answers
    where others are nominated instead.
    """
    if settings.data is not None:
        check_installed("explain --data", ("train",))
    from nommer.studies.explaining import ExplanationResult, explain_files

    if settings.data is None:
        return explain_files(settings)
    from nommer.studies.study import study_data

    study = study_data(settings)
    return ExplanationResult([], study.out, study)


@verb(PruneSettings, needs=("train",))
def prune(settings: PruneSettings) -> "PruningResult":
    """Remove contexts that a trained network does not need, and say what that costs and saves.

    Greedily, the least nominated first, with an evaluation on the data after every removal. Where
    one context is left the nominator goes too. The result is a model like any other, with both
    evaluations, the difference and its interval, multiply-accumulates, time, and parity.
    """
    from nommer.pruning.prune import prune_model

    return prune_model(settings)


@verb(ExportSettings, needs=("train", "export"))
def export(settings: ExportSettings) -> "ExportResult":
    """Export a model for other runtimes.

    Nothing is delivered unless it computes the same on real images; the result has the parity
    report.
    """
    from nommer.exporting.delivery import export_to_file

    return export_to_file(settings)


@verb(ServeSettings, needs=("serve",))
def serve(settings: ServeSettings) -> None:
    """Answer images over HTTP, until SIGTERM or Ctrl-C.

    Whole exported files are served without loading PyTorch; what was taken is answered before the
    end. With NOMMER_TOKEN in the environment requests must bear it. docs/serving.md has the routes.
    """
    from nommer.serving.server import serve_models

    serve_models(settings)


@verb(BenchmarkSettings, needs=("train",))
def benchmark(settings: BenchmarkSettings) -> "BenchmarkResult":
    """Measure the speed and memory of networks against networks of timm, in turns in one process.

    Lists are written with commas. A case that cannot be run, too large for the memory for example,
    is a row that says so.
    """
    from nommer.benchmarking.benchmark import run_benchmark

    return run_benchmark(settings)


@verb(DemoSettings, needs=("train", "explain"))
def demo(settings: DemoSettings) -> "DemoResult":
    """Train, evaluate, predict, explain and export on 1,797 scans of handwritten digits.

    They come with scikit-learn; nothing is downloaded. Without the extra `export` nothing is
    exported, which is said at the end.
    """
    from nommer.quickstart import run_demo

    return run_demo(settings)
