"""The size of the images that an exported model takes."""

from dataclasses import dataclass

_ODD = 17
"""By which the sides that are traced differ from twice the smallest."""


@dataclass(frozen=True)
class ImageSize:
    """The images that an exported model takes: (batch, 3, height, width), any number of them."""

    usual: int
    """Side of the images that it was made for; the only one where the size is fixed."""
    smallest: int | None = None
    """Least height and width where any larger one will do; None where the size is fixed."""

    @property
    def examples(self) -> tuple[tuple[int, int], ...]:
        """Heights and widths at which the exported model is compared."""
        if self.smallest is None:
            return ((self.usual, self.usual),)
        low = max(self.smallest, 3 * self.usual // 4)
        return (
            (max(self.usual, self.smallest),) * 2,
            (low + 1, low + low // 2),
            (2 * low + 3, low),
        )

    @property
    def traced(self) -> tuple[int, int]:
        """Height and width at which the model is traced.

        Where they are open, sides that nothing divides.
        """
        if self.smallest is None:
            return self.usual, self.usual
        low = max(self.smallest, _ODD)
        return 2 * low - _ODD, 2 * low + _ODD
