"""Frames per second of `nommer predict` on a video, beside a plain loop of PyAV and the model.

    python benchmarks/streams.py CAMVID/val --models nommer_nano64.tiny_imagenet_200 runs/camvid

Photographs in the order of their names become a video of 640 x 480 pixels. In turns in one process
it is answered by a loop that decodes a frame and asks the model, and writes nothing; by `predict`
without annotated video; and by all of `predict`. The table is Markdown; the share of each part is
of all of `predict`.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import av
import torch
from PIL import Image

import nommer
from nommer.data.image_paths import find_images

PARTS = ("decoding", "network", "drawing", "encoding", "writing")


def make_video(images, path, *, rate=25, size=(640, 480)):
    """Write images as the frames of a video, in their order."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for image in images:
            frame = av.VideoFrame.from_image(Image.open(image).convert("RGB").resize(size))
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def plain_loop(model, video):
    """Return the seconds of decoding and answering, a frame at a time."""
    began = perf_counter()
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            model.predict([frame.to_image()])
    return perf_counter() - began


def predict(name, video, out, **options):
    """Return the seconds of `predict` without loading the model, and those of its parts."""
    result = nommer.predict(name, video, out=out, device="cpu", stream=True, **options)
    for _ in result:
        pass
    return result.seconds, result.parts


def measure(name, video, frames, *, times):
    """Return a row of the table."""
    model = nommer.fuse(nommer.load(name)).eval()
    seconds = {"plain": [], "lines": [], "video": []}
    shares = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as out:
            seconds["plain"].append(plain_loop(model, video))
            lines, _ = predict(name, video, f"{out}/lines", pictures=False)
            whole, parts = predict(name, video, f"{out}/video")
            seconds["lines"].append(lines)
            seconds["video"].append(whole)
            shares.append({part: parts[part] / sum(parts.values()) for part in PARTS})
    fps = {kind: frames / median(values) for kind, values in seconds.items()}
    share = {part: median(one[part] for one in shares) for part in PARTS}
    cells = [f"{fps[kind]:.2f}" for kind in seconds]
    cells += [f"{fps[kind] / fps['plain']:.2f}" for kind in ("lines", "video")]
    return [name, *cells, *(f"{share[part]:.1%}" for part in PARTS)]


def main():
    """Make the video, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("images", help="folder of photographs")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = list(find_images([arguments.images]))[: arguments.frames]
    columns = ["model", "plain loop", "lines", "lines, video", "ratio", "ratio", *PARTS]
    print(f"{len(images)} frames, 640 x 480, frames per second; ratios to the plain loop\n")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        make_video(images, video)
        for name in arguments.models:
            row = measure(name, video, len(images), times=arguments.times)
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
