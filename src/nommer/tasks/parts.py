"""Parts of a task, imported when they are used."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")

_NONE_GIVEN = object()


@dataclass(frozen=True)
class Later:
    """A part by its place, such as "nommer.tasks.segmentation.data:SegmentationSource"."""

    place: str
    call: bool = True
    """The part is made by calling what is there; else it is that itself."""

    def load(self) -> Any:
        """Import it."""
        module, _, name = self.place.partition(":")
        found = getattr(import_module(module), name)
        return found() if self.call else found


class Part(Generic[T]):
    """A field of a task, given as the part itself or as `Later`; who reads it gets the part."""

    def __init__(self, default: Any = _NONE_GIVEN) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, task: None, owner: type) -> Self: ...
    @overload
    def __get__(self, task: object, owner: type) -> T: ...
    def __get__(self, task: object | None, owner: type) -> Any:
        if task is None and self._default is _NONE_GIVEN:
            raise AttributeError(self._name)  # so dataclasses know that it must be given
        if task is None:
            return self._default
        part = task.__dict__[self._name]
        if isinstance(part, Later):
            part = task.__dict__[self._name] = part.load()
        return part

    def __set__(self, task: object, part: T | Later) -> None:
        task.__dict__[self._name] = part
