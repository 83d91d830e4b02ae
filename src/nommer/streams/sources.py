"""Sources of a stream of answers: videos, cameras, watched folders, and images among them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from nommer.data.archives import find_archive
from nommer.data.cameras import is_camera
from nommer.data.image_paths import (
    find_images,
    is_folder,
    is_image_name,
    refuse_folder,
    visible_files,
)
from nommer.data.sources import ImageSource, sources_of
from nommer.data.videos import is_video_name
from nommer.data.walking import expand
from nommer.errors import InputError
from nommer.progress import notice
from nommer.settings.addresses import is_address
from nommer.settings.predict import PredictSettings


@dataclass(frozen=True)
class Group:
    """Images that belong together: those of one video, camera or watched folder, or some files."""

    kind: Literal["images", "video", "camera", "folder"]
    name: str
    images: Iterable[ImageSource] = ()
    """Of the kind images; of the kind folder those that are watched."""

    @property
    def is_live(self) -> bool:
        """Nobody knows its end."""
        return self.kind in ("camera", "folder")


@dataclass(frozen=True)
class Streams:
    """All that one call answers one by one."""

    groups: list[Group]

    @property
    def files(self) -> list[Path]:
        """The videos, and the folders that are watched."""
        videos = [Path(group.name) for group in self.groups if group.kind == "video"]
        folders = [one for group in self.groups if group.kind == "folder" for one in group.images]
        return [*videos, *(one for one in folders if isinstance(one, Path))]

    @property
    def cameras(self) -> list[str]:
        """The numbers or devices of cameras."""
        return [group.name for group in self.groups if group.kind == "camera"]

    @property
    def has_frames(self) -> bool:
        """There is a video or a camera."""
        return any(group.kind in ("video", "camera") for group in self.groups)


def is_of_stream(name: str) -> bool:
    """Return True for a video, a camera, a folder of videos alone, or a pattern with a video."""
    if is_address(name):
        return False
    if is_camera(name):
        return True
    videos, others = _files(Path(name))
    if videos and others and is_folder(Path(name)):
        notice(f"{name}: {len(videos)} videos there are passed over; give them by their names")
        return False
    return bool(videos)


def groups_of(named: Sequence[str], settings: PredictSettings) -> list[Group]:
    """Return what names stand for, in their order, nothing twice.

    Raises:
        InputError: no such folder, or a pattern that matches nothing.
    """
    if settings.watch:
        folders = [_watched(name, settings.out) for name in dict.fromkeys(named)]
        return [Group("folder", ", ".join(map(str, folders)), folders)]
    found = [one for name in named for one in _groups_of(name, allow_urls=settings.allow_urls)]
    merged: list[Group] = []
    for kind, alike in groupby(found, lambda group: group.kind):
        some = list(alike)
        if kind == "images":
            some = [Group(kind, some[0].name, [image for one in some for image in one.images])]
        merged += some
    groups = list({(group.kind, group.name): group for group in merged}.values())
    _check(groups, settings)
    return groups


def _check(groups: Sequence[Group], settings: PredictSettings) -> None:
    cameras = [group.name for group in groups if group.kind == "camera"]
    if len(cameras) > 1:
        raise InputError(
            f"camera {cameras[1]}: one call answers one camera, for none of them has an end; start "
            "another for it"
        )
    if cameras and settings.resume:
        raise InputError(
            f"--resume: what camera {cameras[0]} showed is gone; give a new --out instead"
        )


def _groups_of(name: str, *, allow_urls: bool) -> Iterator[Group]:
    if is_address(name):
        yield Group("images", name, list(sources_of([name], allow_urls=allow_urls)))
        return
    if is_camera(name):
        yield Group("camera", name)
        return
    if not is_of_stream(name):
        yield Group("images", name, list(find_images([name])))
        return
    videos, others = _files(Path(name))
    if images := [one for one in others if is_image_name(one)]:
        yield Group("images", name, images)
    yield from (Group("video", str(one)) for one in videos)


def _files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the videos that a file, folder or pattern stands for, and the images."""
    if is_folder(path):
        files = [] if find_archive(path) else visible_files(path)
        return [*filter(is_video_name, files)], [*filter(is_image_name, files)]
    is_pattern = any(sign in str(path) for sign in "*?[") and not path.exists()
    files = expand(str(path), refuse_folder) if is_pattern else [path]
    videos = [one for one in files if is_video_name(one)]
    return videos, [one for one in files if one not in videos]


def _watched(name: str, out: Path | None) -> Path:
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(f"--watch {name}: is no folder; name one that is there")
    if out is not None and out.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"--out {out}: lies in {name}, which is watched, so the annotated images would be "
            "answered again; choose another folder"
        )
    return folder
