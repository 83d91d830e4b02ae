"""Small videos for tests, and ways to spoil them."""

import struct
from fractions import Fraction

import av
import numpy as np

CORNERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
"""Colours of the upper left, upper right, lower left and lower right quarter."""


def quarters(size=(64, 48), brightness=1.0):
    """A frame of four colours (size is width, height)."""
    width, height = size
    pixels = np.zeros((height, width, 3))
    for index, colour in enumerate(CORNERS):
        rows = slice(0, height // 2) if index < 2 else slice(height // 2, None)
        columns = slice(0, width // 2) if index % 2 == 0 else slice(width // 2, None)
        pixels[rows, columns] = colour
    return (pixels * brightness).astype(np.uint8)


def corners(image):
    """Name the strongest colours of the four quarters of an image, in the order of `CORNERS`."""
    pixels = np.asarray(image).astype(int)
    rows, columns = pixels.shape[0] // 4, pixels.shape[1] // 4
    found = ""
    for row, column in (
        (rows, columns),
        (rows, 3 * columns),
        (3 * rows, columns),
        (3 * rows, 3 * columns),
    ):
        colour = pixels[row, column]
        found += "w" if colour.min() > 128 else "rgb"[int(colour.argmax())]
    return found


def write_video(path, frames, *, times=None, spoiled=(), **options):
    """Write frames (arrays) as a video at a rate, or at given seconds.

    Packets whose numbers are `spoiled` hold nothing that can be decoded.
    """
    rate, codec = options.pop("rate", 10), options.pop("codec", "libx264")
    pix_fmt, of_codec = options.pop("pix_fmt", "yuv420p"), options.pop("options", {})
    height, width = frames[0].shape[:2]
    written = 0
    with av.open(str(path), "w", **options) as out:
        stream = out.add_stream(codec, rate=rate, options=of_codec)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate([*frames, None]):
            frame = None
            if pixels is not None:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                seconds = number / rate if times is None else times[number]
                frame.pts, frame.time_base = round(1000 * seconds), Fraction(1, 1000)
            for packet in stream.encode(frame):
                if written in spoiled:
                    packet = _empty_like(packet)  # noqa: PLW2901
                out.mux(packet)
                written += 1
    return path


def _empty_like(packet):
    empty = av.Packet(bytes(packet.size))
    empty.stream, empty.pts, empty.dts = packet.stream, packet.pts, packet.dts
    empty.time_base = packet.time_base
    return empty


def turned(path, matrix):
    """Give an MP4 file a display matrix: (right, right_to_down, down_to_right, down)."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    right, right_to_down, down_to_right, down = (65536 * value for value in matrix)
    values = (right, right_to_down, 0, down_to_right, down, 0, 0, 0, 1 << 30)
    content[at : at + 36] = struct.pack(">9i", *values)
    path.write_bytes(content)
    return path
