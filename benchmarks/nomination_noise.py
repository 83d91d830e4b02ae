"""Compare scores of a segmenter with the nominations of evaluation and with those of training.

The former are the best context, the latter are sampled.

    python benchmarks/nomination_noise.py runs/camvid --split val

Training draws contexts with Gumbel noise, evaluation takes the best one: where the two disagree
often, the layers after the nominator see inputs in evaluation that they were not trained on. Images
are gone over whole and in windows of the size of the training crops, whose grids need no padding.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import nommer
from nommer.backbone.nominator import Nomination
from nommer.data.formats.source import Source
from nommer.data.images import decode
from nommer.data.masks import read_mask
from nommer.inference.evaluation import data_of_run
from nommer.runs.folder import run_of
from nommer.settings.inference import Inference
from nommer.tasks.registry import task_for
from nommer.tasks.segmentation.metrics import SegmentationMetrics


def sample_contexts(nomination: Nomination, _: object) -> None:
    """Draw contexts as in training, whatever the mode of the model."""
    nomination.train()


def evaluate(model: nommer.Segmenter, samples: list, encoding, mode: str) -> tuple[float, float]:
    """Return mIoU and pixel accuracy over `samples`."""
    metrics = SegmentationMetrics(len(model.class_names))
    for sample in samples:
        truth = read_mask(sample.mask, encoding)
        prepared = model.preprocessing(decode(sample.path))[None]
        labels = model.label(prepared, size=truth.shape, inference=Inference(mode=mode))
        metrics.update(
            torch.from_numpy(labels), torch.from_numpy(truth.astype(np.int64)), torch.zeros(())
        )
    report = metrics.compute()
    return report.miou, report.pixel_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--every", type=int, default=1, help="evaluate every n-th image only")
    arguments = parser.parse_args()
    model = nommer.load(arguments.run)
    root = data_of_run(run_of(arguments.run))
    source = Source(root)
    data = task_for(source).data.read(source, model.class_names)
    samples = data.splits[arguments.split][:: arguments.every]
    print(f"{len(samples)} images of {arguments.split}\n")
    print("| nominations | windows | mIoU | pixel accuracy |\n|---|---|---|---|")
    for nominations in ("best", "sampled"):
        if nominations == "sampled":
            for module in model.modules():
                if isinstance(module, Nomination):
                    module.register_forward_pre_hook(sample_contexts)
        for mode in ("whole", "slide"):
            torch.manual_seed(0)
            miou, accuracy = evaluate(model, samples, data.encoding, mode)
            print(f"| {nominations} | {mode} | {miou:.2%} | {accuracy:.2%} |", flush=True)


if __name__ == "__main__":
    main()
