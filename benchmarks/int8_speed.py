"""Compare the speed of an export in 8-bit integers with float32, in turns in one process of ONNX
Runtime.

    nommer export runs/photos --out runs/float32
    nommer export runs/photos --precision int8 --out runs/int8
    python benchmarks/int8_speed.py runs/float32/model.onnx runs/int8/model.onnx --batch 16

Prints milliseconds per batch, median with quartiles over all rounds, and how many times faster the
second is, as the median of the ratios of each round.
"""

import argparse
import json
from pathlib import Path
from time import perf_counter

import numpy as np

from nommer.models.exported_networks import INPUT
from nommer.models.onnx_files import METADATA, open_session


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs=2, type=Path, metavar="FILE")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    sessions = [open_session(file, threads=options.threads) for file in options.files]
    size = json.loads(sessions[0].get_modelmeta().custom_metadata_map[METADATA])["input"]["size"]
    shape = (options.batch, 3, size, size)
    images = {INPUT: np.random.default_rng(0).standard_normal(shape, dtype=np.float32)}
    for session in sessions * 3:
        session.run(None, images)
    seconds = np.array(
        [[timed(session, images) for session in sessions] for _ in range(options.rounds)]
    )
    for file, column in zip(options.files, seconds.T, strict=True):
        low, middle, high = np.percentile(1000 * column, [25, 50, 75])
        print(
            f"{file}: {middle:.1f} ms ({low:.1f} to {high:.1f}) per batch of {options.batch} at "
            f"{size} x {size}"
        )
    print(f"ratio {np.median(seconds[:, 0] / seconds[:, 1]):.2f}")


def timed(session: object, images: dict[str, np.ndarray]) -> float:
    """Seconds of one run."""
    start = perf_counter()
    session.run(None, images)  # type: ignore[attr-defined]
    return perf_counter() - start


if __name__ == "__main__":
    main()
