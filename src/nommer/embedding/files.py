"""Vectors on disk: npz or parquet, each with the files, labels and boxes; tables of neighbours."""

from pathlib import Path
from typing import Any

import numpy as np

from nommer.embedding.neighbours import Neighbours
from nommer.embedding.vectors import Place, Vectors
from nommer.extras import require
from nommer.files import write_atomically, write_csv

_ENDS = ("left", "upper", "right", "lower")


def save_vectors(vectors: Vectors, folder: Path, form: str) -> Path:
    """Write `vectors.npz` or `vectors.parquet`.

    The first holds the arrays vectors (n, d), files, labels, splits and boxes (n, 4), NaN for whole
    images; the second a row per vector.

    Raises:
        InputError: parquet without pyarrow.
    """
    path = folder / f"vectors.{form}"
    columns: dict[str, Any] = {
        "files": [place.source for place in vectors.places],
        "labels": [place.label for place in vectors.places],
        "splits": [place.split for place in vectors.places],
    }
    boxes = np.array([place.box or (np.nan,) * 4 for place in vectors.places]).reshape(-1, 4)
    if form == "npz":
        arrays: dict[str, Any] = {
            name: np.array(values, dtype=str) for name, values in columns.items()
        }
        arrays |= {"vectors": vectors.values, "boxes": boxes}
        write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))
        return path
    arrow = require("pyarrow", "data", "--form parquet")
    writer = require("pyarrow.parquet", "data", "--form parquet")
    columns = {
        name.removesuffix("s"): list(map(_as_utf8, texts)) for name, texts in columns.items()
    }
    columns |= {end: boxes[:, index] for index, end in enumerate(_ENDS)}
    flat = arrow.array(vectors.values.reshape(-1))
    columns["vector"] = arrow.FixedSizeListArray.from_arrays(flat, vectors.values.shape[1])
    write_atomically(path, lambda stream: writer.write_table(arrow.table(columns), stream))
    return path


def _as_utf8(text: str) -> str:
    """Return text with what is no UTF-8 in a file's name as an escape; parquet needs UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def save_neighbours(
    known: Vectors, asked: Vectors, found: Neighbours, path: Path
) -> list[dict[str, Any]]:
    """Write one row per vector and neighbour, and return the rows."""
    rows = []
    for place, indices, cosines in zip(asked.places, found.indices, found.cosines, strict=True):
        pairs = zip(indices.tolist(), cosines.tolist(), strict=True)
        for rank, (index, cosine) in enumerate(pairs, start=1):
            other = known.places[index]
            rows.append(
                {"file": place.source, **_about(place), "rank": rank, "cosine": f"{cosine:.6f}"}
                | {"neighbour": other.source, **_about(other, "neighbour_")}
            )
    write_csv(path, rows)
    return rows


def _about(place: Place, prefix: str = "") -> dict[str, str]:
    box = " ".join(f"{end:.1f}" for end in place.box) if place.box else ""
    return {f"{prefix}label": place.label, f"{prefix}box": box}
