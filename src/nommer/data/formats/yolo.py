"""Objects in YOLO's text files.

One per image, a line per object, coordinates as shares of the image's sides.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from nommer.data.formats.image_files import UNKNOWN_SIZE, upright_sizes
from nommer.data.formats.labelled import Issue, Split, problem
from nommer.data.formats.objects import (
    DetectionFolders,
    DetectionSample,
    RawObject,
    make_objects,
    to_number,
)
from nommer.data.formats.source import Source
from nommer.data.formats.yolo_description import (
    KEYS,
    find_description,
    read_description,
    read_names,
)
from nommer.data.formats.yolo_lines import Line, Shapes, parse_lines, without_score
from nommer.data.formats.yolo_places import LabelFiles, Places
from nommer.data.image_paths import is_there
from nommer.data.masks import ranges
from nommer.data.parsing import read_text
from nommer.errors import InputError

LAYOUTS = (
    "  DATA/data.yaml with names, train and val; DATA/images/train/*.jpg and "
    "DATA/labels/train/*.txt   (YOLO)\n"
    "  DATA/obj.data, DATA/obj.names and DATA/obj_train_data   (YOLO 1.1 of CVAT, Darknet)"
)

OBB = "all objects are four corners of turned rectangles, as YOLO's oriented boxes (OBB) are"


def read_yolo(source: Source) -> DetectionFolders:
    """Read the label file of every image that `data.yaml` leads to.

    The class numbers are kept as category ids.

    Raises:
        InputError: a description that is not understood, or images that are not where it says.
    """
    root, file = source.root, source.once(find_description)
    if file is None:
        raise InputError(
            f"{root}: found no data.yaml with names, train and val; accepted are\n{LAYOUTS}"
        )
    content = read_description(source, file)
    names = read_names(file, content)
    reader = _Reader(
        Places(root, file, content), {number: label for label, number in enumerate(names)}
    )
    images = [path for split in KEYS for path in reader.list_images(split)]
    if not images:
        raise InputError(
            f"{file}: leads to no images; expected train and val to name folders or lists of images"
        )
    splits = reader.samples()
    issues = tuple(reader.issues)
    return DetectionFolders(root, tuple(names.values()), splits, issues, category_ids=tuple(names))


class _Reader:
    """Makes samples of the images of every split."""

    def __init__(self, places: Places, labels: dict[int, int]) -> None:
        self.places, self.labels = places, labels
        self.label_files = LabelFiles(places.root)
        self.has_key_points = bool(places.content.get("kpt_shape"))
        self.issues: list[Issue] = []
        if self.has_key_points:
            what = "kpt_shape: objects have key points"
            self.issues.append(Issue(str(places.file), what, "their boxes alone are used"))
        self.has_confidences = places.content.get("confidences") is True
        if self.has_confidences:
            what = "confidences: a line ends with the score of an answer"
            self.issues.append(Issue(str(places.file), what, "the scores are left out"))
        self.splits: dict[Path, Split] = {}
        """Of the images so far."""
        self.files: dict[Path, Path] = {}
        """The label file of each image."""

    def list_images(self, split: Split) -> list[Path]:
        """Find the images of a split and their label files.

        Raises:
            InputError: an image that belongs to another split too.
        """
        images = self.places.images(split, self.issues)
        taken = [path for path in images if path in self.splits]
        if taken:
            raise InputError(
                f"{self.places.file}: {taken[0]} is in {self.splits[taken[0]]} and in {split}; "
                f"keep it in one{self._first_fault()}"
            )
        self.splits |= dict.fromkeys(images, split)
        self.files |= {path: self.label_files.find(path) for path in images}
        return images

    def _first_fault(self) -> str:
        """Return a line that is refused, for whoever mends the splits would meet it next."""
        texts = {path: found for path, found in self._read_lines().items() if found}
        parsed = {path: lines for path, lines in texts.items() if not isinstance(lines, str)}
        shapes = Shapes(line for lines in parsed.values() for line in lines)
        for path, lines in parsed.items():
            for line in lines:
                values = line.values[: 4 if self.has_key_points else None]
                if fault := shapes.fault(values) or (OBB if shapes.are_oriented else ""):
                    return f"; and {self.files[path]}: line {line.number}: {fault}"
        return ""

    def samples(self) -> dict[Split, tuple[DetectionSample, ...]]:
        """One of every image that was listed."""
        self.issues += [
            problem(path, "annotation without an image", "left out")
            for path in sorted(self.label_files.strays)
        ]
        sizes, texts = upright_sizes(list(self.splits)), self._read_lines()
        shapes = Shapes(
            line for lines in texts.values() if not isinstance(lines, str) for line in lines
        )
        if shapes.are_oriented and not self.has_key_points:
            done = "read as polygons, with upright boxes around them"
            first, line = next(
                (path, line)
                for path, lines in texts.items()
                for line in lines
                if isinstance(line, Line) and len(line.values) > 4
            )
            self.issues.append(problem(self.files[first], f"line {line.number}: {OBB}", done))
        made: dict[Split, list[DetectionSample]] = {}
        for number, (path, split) in enumerate(self.splits.items(), start=1):
            lines = texts.get(path, [])
            error = lines if isinstance(lines, str) else None
            raw = (
                []
                if error or sizes[path] == UNKNOWN_SIZE
                else self._raw(path, lines, sizes, shapes)
            )
            objects = make_objects(raw, sizes[path], file=self.files[path], issues=self.issues)
            sample = DetectionSample(path, objects, number, sizes[path], error)
            made.setdefault(split, []).append(sample)
        return {split: tuple(part) for split, part in made.items()}

    def _read_lines(self) -> dict[Path, list[Line] | str]:
        """The lines about each image, or why they cannot be read; nothing without a file."""
        found: dict[Path, list[Line] | str] = {}
        for image, file in self.files.items():
            if not is_there(file):
                done = "its image is taken to have no objects"
                self.issues.append(problem(file, "no such label file", done))
                continue
            try:
                lines = parse_lines(read_text(file))
                found[image] = list(map(without_score, lines)) if self.has_confidences else lines
            except (OSError, ValueError) as caught:
                found[image] = f"its labels {file} cannot be read: {caught}"
        return found

    def _raw(
        self,
        path: Path,
        lines: Sequence[Line] | str,
        sizes: Mapping[Path, tuple[int, int]],
        shapes: Shapes,
    ) -> list[RawObject]:
        """The objects of the lines, without those that are wrong or not clear."""
        raw = []
        for line in lines:
            assert isinstance(line, Line)  # noqa: S101 - text was for the audit
            number, where = to_number(line.category), f"line {line.number}"
            label = self.labels.get(int(number)) if number.is_integer() else None
            values = line.values[: 4 if self.has_key_points else None]
            if label is None:
                what = f"class {line.category} is none of {ranges(self.labels)}"
            elif not (what := shapes.fault(values)):
                raw.append(_raw_object(where, label, values, sizes[path]))
                continue
            self.issues.append(problem(self.files[path], f"{where}: {what}", "dropped"))
        return raw


def _raw_object(
    where: str, label: int, values: Sequence[float], size: tuple[int, int]
) -> RawObject:
    """From shares of the image's width and height to pixels."""
    width, height = size
    if len(values) == 4:
        x, y, across, down = values
        box = (
            (x - across / 2) * width,
            (y - down / 2) * height,
            (x + across / 2) * width,
            (y + down / 2) * height,
        )
        return RawObject(where, label, box)
    points = [value * side for value, side in zip(values, cycle(size), strict=False)]
    xs, ys = points[::2], points[1::2]
    return RawObject(where, label, (min(xs), min(ys), max(xs), max(ys)), [points])
