"""`nommer embed`: vectors of images, objects or regions, their neighbours, and a page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nommer.data.formats.labelled import SPLIT_FOLDERS, LabelledImages
from nommer.data.formats.source import Source
from nommer.data.image_paths import find_images
from nommer.embedding.files import save_neighbours, save_vectors
from nommer.embedding.neighbours import Neighbours, knn_accuracy, nearest
from nommer.embedding.page import write_page
from nommer.embedding.vectors import Embedder, Place, Vectors
from nommer.errors import InputError
from nommer.files import write_json
from nommer.inference.inputs import load_to, read_list
from nommer.predictions import Detections, Failure
from nommer.progress import notice, track
from nommer.runs.results_folder import results_folder
from nommer.settings.embed import EmbedSettings
from nommer.tasks.registry import task_for


@dataclass(frozen=True, eq=False)
class EmbeddingResult:
    """Vectors, the neighbours of each or of those asked about, and where all is written."""

    vectors: Vectors
    asked: Vectors
    neighbours: Neighbours
    numbers: dict[str, Any]
    """Counts, width, and the accuracy of neighbours where labels are known."""
    out: Path
    rows: list[dict[str, Any]] = field(repr=False, default_factory=list)
    """Of `neighbours.csv`."""


@dataclass(frozen=True)
class _Item:
    """An image, and the places in it that vectors are wanted of; None where these are found."""

    path: Path
    places: tuple[Place, ...] | None


def embed_images(settings: EmbedSettings) -> EmbeddingResult:
    """Embed as `nommer.embed` describes."""
    model = load_to(settings.model, settings.device)
    embedder = Embedder(model, stage=settings.stage, pool=settings.pool)
    if settings.of == "regions" and model.finds != "regions":
        raise InputError(f"--of regions: is for segmenters, and the model does {model.task}")
    items = list(_items(settings))
    queries = find_images(read_list(settings.query)) if settings.query else ()
    whole = settings.of == "images"
    asked_of = [_Item(path, (Place(str(path)),) if whole else None) for path in queries]
    folder = results_folder(
        Path(settings.model),
        "embed",
        settings.out,
        overwrite=settings.overwrite,
        images=[item.path for item in (*items, *asked_of)],
    )
    known = collect(embedder, items, settings.of, settings.batch_size)
    asked = collect(embedder, asked_of, settings.of, settings.batch_size) if asked_of else None
    found = nearest(known, asked, settings.neighbours)
    rows = save_neighbours(known, asked or known, found, folder / "neighbours.csv")
    numbers = {
        "vectors": len(known.places),
        "width": known.values.shape[1],
        "of": settings.of,
        "stage": settings.stage or "last",
        "pool": settings.pool,
        "unreadable images": len(known.failures),
        **(knn_accuracy(known, settings.neighbours) or {}),
    }
    path = save_vectors(known, folder, settings.form)
    failures = [failure.to_dict() for failure in known.failures]
    facts = {"model": str(settings.model), "file": path.name, **numbers, "failures": failures}
    write_json(folder / "result.json", facts)
    reading = model.preprocessing.reading
    page = folder / "report.html"
    write_page(known, asked or known, found, numbers, page, method=settings.map, reading=reading)
    return EmbeddingResult(known, asked or known, found, numbers, folder, rows)


def _items(settings: EmbedSettings) -> Iterator[_Item]:
    """The images, with the labels that the data give them."""
    if settings.data is None:
        for path in find_images(read_list(settings.images)):
            yield _Item(path, (Place(str(path)),) if settings.of == "images" else None)
        return
    source = Source(settings.data)
    data: LabelledImages[Any] = task_for(source).data.read(source)
    parts = [settings.split] if settings.split in SPLIT_FOLDERS else list(data.splits)
    if not set(parts) <= set(data.splits):
        raise InputError(
            f"{settings.data}: has no split {settings.split!r}; found {', '.join(data.splits)}"
        )
    for split in parts:
        for sample in data.splits[split]:
            if not getattr(sample, "error", None):
                yield _Item(sample.path, _places(data, sample, split, settings.of))


def _places(
    data: LabelledImages[Any], sample: Any, split: str, of: str
) -> tuple[Place, ...] | None:
    path, objects = str(sample.path), getattr(sample, "objects", None)
    if of == "images":
        label = getattr(sample, "label", None)
        named = data.class_names[label] if label is not None and label >= 0 else ""
        return (Place(path, named, split),)
    if of == "regions" or objects is None:
        return None
    pairs = zip(objects.boxes.tolist(), objects.labels.tolist(), strict=True)
    return tuple(Place(path, data.class_names[label], split, tuple(box)) for box, label in pairs)


def collect(embedder: Embedder, items: Sequence[_Item], of: str, batch_size: int) -> Vectors:
    """Compute the vectors of all items.

    Raises:
        InputError: there are none.
    """
    values: list[np.ndarray] = []
    places: list[Place] = []
    failures: list[Failure] = []
    for found, of_image in track(
        _each(embedder, items, of, batch_size), total=len(items), what="embedding"
    ):
        if isinstance(found, Failure):
            failures.append(found)
        else:
            values.append(found)
            places += of_image
    for failure in failures:
        notice(f"{failure.source}: {failure.error}")
    if not places:
        raise InputError(f"nommer embed: there are no {of} to embed in {len(items)} images")
    return Vectors(np.concatenate(values).astype(np.float32), tuple(places), tuple(failures))


def _each(
    embedder: Embedder, items: Sequence[_Item], of: str, batch_size: int
) -> Iterable[tuple[np.ndarray | Failure, Sequence[Place]]]:
    """Yield the vectors (n, d) of each image, with what they are of."""
    if of == "images":
        vectors = embedder.of_images((item.path for item in items), batch_size)
        for item, (_, found) in zip(items, vectors, strict=True):
            yield found if isinstance(found, Failure) else found[None], item.places or ()
        return
    for item in items:
        if of == "regions":
            regions = embedder.of_regions(item.path)
            if isinstance(regions, Failure):
                yield regions, ()
            else:
                yield regions[0], [Place(str(item.path), name) for name in regions[1]]
            continue
        places = _found(embedder, item) if item.places is None else item.places
        if isinstance(places, Failure):
            yield places, ()
        elif places:
            boxes = np.array([place.box for place in places])
            yield embedder.of_boxes(item.path, boxes), places


def _found(embedder: Embedder, item: _Item) -> tuple[Place, ...] | Failure:
    """The objects that the model itself finds."""
    if embedder.model.finds != "objects":
        raise InputError(
            "--of objects: the images have no boxes, and the model finds none; give --data with "
            "boxes, or a detector"
        )
    (answer,) = embedder.model.answer_together([item.path])
    if not isinstance(answer, Detections):
        return answer
    pairs = zip(answer.boxes.tolist(), answer.labels.tolist(), strict=True)
    names = answer.class_names
    return tuple(Place(answer.source, names[label], "", tuple(box)) for box, label in pairs)
