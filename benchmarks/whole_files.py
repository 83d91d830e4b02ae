"""Judge whole files beside the model in PyTorch that they were made from, on labelled images.

    nommer export nommer_nano.bccd --whole --data BCCD --out float32
    nommer export nommer_nano.bccd --whole --data BCCD --out int8 --precision int8
    python benchmarks/whole_files.py nommer_nano.bccd BCCD float32/model.onnx int8/model.onnx

The model sees images that Pillow has resized, a file does all by itself. Per file a line of a
table: what it is judged by (top-1, mean IoU, average precision of boxes or masks) beside the
model's; the share of the answers by the model's decisions (thresholds, temperature, none of these)
that are the same, and the largest difference of a probability among them; megabytes; processor
time per image, one thread, and how many times faster than the first file it is: the median of the
ratios, image by image in turns.
"""

import argparse
from pathlib import Path
from statistics import median
from time import process_time

import torch

import nommer
from nommer.data.images import decode
from nommer.exporting.parity import evenly
from nommer.exporting.whole import whole_of
from nommer.inference.evaluation import open_model_and_data
from nommer.models.whole import WholeFile
from nommer.settings.evaluate import EvaluateSettings


class Judged:
    """The answers of a file so far.

    Args:
        path: a whole file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, WholeFile.open(path, threads=1)
        self.answers, self.agreements, self.seconds = [], [], []

    def answer(self, whole, image, expected) -> None:
        """Answer an image, by the decisions and all that can be judged."""
        began = process_time()
        (found,) = self.file.answer([("image", image)])
        self.seconds.append(process_time() - began)
        self.agreements.append(whole.compare(expected, found))
        (found,) = self.file.answer([("image", image)], least=whole.all_scores)
        self.answers.append(found)

    def row(self, first: "Judged", measure: str, before: float, after: float) -> str:
        """Return the line of the table."""
        same, answers = (
            sum(getattr(one, name) for one in self.agreements) for name in ("same", "answers")
        )
        difference = max(one.difference for one in self.agreements)
        pairs = zip(first.seconds, self.seconds, strict=True)
        speed = median(one / other for one, other in pairs)
        return (
            f"| {self.path} | {self.file.description.precision} | {measure} {before:.2%} | "
            f"{after:.2%} | {same:,} of {answers:,} | {difference:.1e} | "
            f"{self.path.stat().st_size / 1e6:.1f} MB | {1000 * median(self.seconds):.0f} ms, "
            f"x {speed:.2f} |"
        )


def main() -> None:
    """Judge, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--split", default="auto", help="by default the validation images")
    parser.add_argument("--images", type=int, default=1000, help="at most, evenly chosen")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = nommer.load(options.model)
    whole = whole_of(model)
    data = open_model_and_data(
        EvaluateSettings(
            options.model, data=options.data, split=options.split, device="cpu", workers=0
        )
    ).data
    samples = data.samples()
    samples = [samples[index] for index in evenly(len(samples), options.images)]
    files, answers = [Judged(path) for path in options.files], []
    for sample in samples:
        image = decode(sample.path, model.preprocessing.reading)
        expected = whole.expected(model, image)
        answers.append(whole.scored(model, image))
        for one in files:
            one.answer(whole, image, expected)
    measure, before = whole.score(data, samples, answers)
    print(f"{options.model}, {len(samples)} images")
    for one in files:
        _, after = whole.score(data, samples, one.answers)
        print(one.row(files[0], measure, before, after))


if __name__ == "__main__":
    main()
