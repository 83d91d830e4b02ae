"""TIFF and PNG files written tag by tag, for what Pillow reads and does not write."""

import struct
import zlib

import numpy as np

LETTERS = {3: "H", 4: "I"}


def tiff(
    pixels,
    *,
    photometric=1,
    compressed=False,
    float_pixels=False,
    extra=None,
    height=None,
    rows_per_strip=None,
    planes=False,
    bits=None,
):
    """A little-endian TIFF of (H, W, bands) pixels."""
    rows, width, bands = pixels.shape
    kind = pixels.dtype.newbyteorder("<")
    parts = np.moveaxis(pixels, -1, 0) if planes else [pixels]
    strips = [np.ascontiguousarray(part).astype(kind).tobytes() for part in parts]
    strips = [zlib.compress(strip) if compressed else strip for strip in strips]
    starts = np.cumsum([8, *map(len, strips)])
    tags = {
        256: (4, [width]),
        257: (4, [height or rows]),
        258: (3, [bits or 8 * pixels.dtype.itemsize] * bands),
        259: (3, [8 if compressed else 1]),
        262: (3, [photometric]),
        273: (4, starts[:-1].tolist()),
        277: (3, [bands]),
        278: (4, [rows_per_strip or height or rows]),
        279: (4, list(map(len, strips))),
        284: (3, [2 if planes else 1]),
    }
    if extra is not None:
        tags[338] = (3, list(extra))
    if float_pixels or pixels.dtype.kind == "i":
        tags[339] = (3, [3 if float_pixels else 2] * bands)
    start = int(starts[-1])
    entries, behind = b"", b""
    for number in sorted(tags):
        letter, values = tags[number]
        raw = struct.pack(f"<{len(values)}{LETTERS[letter]}", *values)
        if len(raw) > 4:
            place = start + 2 + 12 * len(tags) + 4 + len(behind)
            behind, raw = behind + raw, struct.pack("<I", place)
        entries += struct.pack("<HHI", number, letter, len(values)) + raw.ljust(4, b"\0")
    head = struct.pack("<2sHI", b"II", 42, start)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return head + b"".join(strips) + directory + behind


def png16(pixels, *, transparent=None):
    """A PNG of 16 bits of (H, W, bands) pixels, with a filter that needs the right pixel length."""
    height, width, bands = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    before = np.pad(rows, ((0, 0), (2 * bands, 0)))[:, : rows.shape[1]]
    filtered = b"".join(b"\1" + row.tobytes() for row in rows - before)

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    key = b"" if transparent is None else chunk(b"tRNS", struct.pack(f">{bands}H", *transparent))
    data = chunk(b"IDAT", zlib.compress(filtered))
    parts = (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), key, data, chunk(b"IEND", b""))
    return b"".join(parts)
