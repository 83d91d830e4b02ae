"""The published protocol of Faster, Mask and Cascade R-CNN on COCO, all numbers in one place."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from nommer.errors import InputError
from nommer.settings.schema import Settings

Deviations = tuple[float, float, float, float]
"""Of the four numbers that move a box: centre (x, y), logarithm of width and height."""


@dataclass(frozen=True)
class StageProtocol:
    """One stage of a cascade."""

    iou: float
    """A proposal that overlaps an object by this or more shows it, any other is background."""
    deviations: Deviations
    """By which the four numbers that move a box are divided to be learned."""
    weight: float
    """Of its losses."""


@dataclass(frozen=True, kw_only=True)
class RCNNProtocol(Settings):
    """Sampling, matching, moving and choice of proposals and boxes.

    The defaults are the published numbers.

    Other than torchvision's defaults are: `proposals_train` (there 2000), `box_beta` (1/9),
    `sampling_ratio` (2), `aligned` (False); torchvision knows no cascade. As there and unlike the
    published code, anchors have whole pixels, and every object gets the anchor that fits it best,
    however badly that fits.

    Source: Swin Transformer, "COCO object detection", and the protocol of MMDetection that it
    follows; Cai and Vasconcelos, "Cascade R-CNN" (2018).

    Raises:
        InputError: a value out of range; the message names it.
    """

    prefix: ClassVar[str] = ""

    anchor_scale: float = 8.0
    """Side of the square anchors in cells of their map."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height by width of the anchors of every cell."""

    rpn_positive_iou: float = 0.7
    """An anchor that overlaps an object by this or more is one to find it by."""
    rpn_negative_iou: float = 0.3
    """An anchor that overlaps every object by less than this is background."""
    rpn_samples: int = 256
    """Anchors per image that the first loss looks at."""
    rpn_positive_share: float = 0.5
    """Of these, at most this share fits objects."""
    rpn_nms: float = 0.7
    """Of proposals that overlap by more than this, the best stays."""
    candidates_train: int = 2000
    """Best proposals per map before that, in training."""
    candidates_test: int = 1000
    """The same in prediction."""
    proposals_train: int = 1000
    """Best proposals per image after it, in training."""
    proposals_test: int = 1000
    """The same in prediction."""

    roi_positive_iou: float = 0.5
    """A proposal that overlaps an object by this or more shows it, any other is background; without
    a cascade.
    """
    box_deviations: Deviations = (0.1, 0.1, 0.2, 0.2)
    """By which the four numbers that move a box are divided to be learned; without a cascade."""
    cascade_ious: tuple[float, ...] = (0.5, 0.6, 0.7)
    """The same overlap for every stage of a cascade."""
    cascade_deviations: tuple[Deviations, ...] = (
        (0.1, 0.1, 0.2, 0.2),
        (0.05, 0.05, 0.1, 0.1),
        (0.033, 0.033, 0.067, 0.067),
    )
    """The same deviations for every stage of a cascade."""
    cascade_weights: tuple[float, ...] = (1.0, 0.5, 0.25)
    """Weight of the losses of every stage of a cascade."""
    roi_samples: int = 512
    """Proposals per image that the losses of a stage look at."""
    roi_positive_share: float = 0.25
    """Of these, at most this share shows objects."""
    box_beta: float = 0.0
    """Point where the losses of boxes turn from squared to absolute; 0 is the plain L1 loss."""

    box_loss: Literal["l1", "giou"] = "l1"
    """Loss of a stage: `box_beta`'s on the numbers that move a box, or GIoU of the moved box."""
    giou_weight: float = 10.0
    """Factor of the latter."""
    box_convolutions: int = 0
    """3x3 convolutions, each with batch norm and ReLU, before the hidden layer of a box head, which
    is then one; 0 for two hidden layers. Swin's cascade has 4."""

    box_cells: int = 7
    """Cells along a side into which a proposal is pooled for its box."""
    mask_cells: int = 14
    """The same for its mask, which has twice as many."""
    sampling_ratio: int = 0
    """Samples along a side of such a cell; 0 for as many as it covers cells of the map."""
    aligned: bool = True
    """Pooling puts a map's value at the middle of its cell, and masks are learned as yes or no
    (RoIAlign's second version); False is the first one, half a cell off."""

    threshold: float = 0.05
    """Least score of an answer."""
    nms: float = 0.5
    """Of answers of one class that overlap by more than this, the best stays."""
    most: int = 100
    """Answers per image."""
    mask_threshold: float = 0.5
    """Least probability of a pixel of a mask."""

    def check(self) -> None:
        """Refuse values out of range."""
        self._check_ranges()
        if self.rpn_negative_iou > self.rpn_positive_iou:
            raise InputError(
                f"rpn_negative_iou ({self.rpn_negative_iou}) must not be above rpn_positive_iou "
                f"({self.rpn_positive_iou})"
            )
        counts = [len(self.cascade_ious), len(self.cascade_deviations), len(self.cascade_weights)]
        if min(counts) < 1 or len(set(counts)) > 1:
            raise InputError(
                "cascade_ious, cascade_deviations and cascade_weights must have one entry per "
                "stage each, got "
                f"{counts[0]}, {counts[1]} and {counts[2]}"
            )
        if not all(min(four) > 0 for four in (self.box_deviations, *self.cascade_deviations)):
            raise InputError(
                "box_deviations and each of cascade_deviations must be four numbers above 0"
            )

    def stages(self, *, cascade: bool) -> tuple["StageProtocol", ...]:
        """Return the stages of a cascade; without one there is a single stage."""
        if not cascade:
            return (StageProtocol(self.roi_positive_iou, self.box_deviations, 1.0),)
        of_stages = zip(
            self.cascade_ious, self.cascade_deviations, self.cascade_weights, strict=True
        )
        return tuple(StageProtocol(*stage) for stage in of_stages)

    def _check_ranges(self) -> None:
        counts = (
            "rpn_samples candidates_train candidates_test proposals_train proposals_test "
            "roi_samples box_cells "
            "mask_cells most"
        )
        for name in counts.split():
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, got {getattr(self, name)}")
        shares = (
            "rpn_positive_iou rpn_negative_iou rpn_positive_share rpn_nms roi_positive_iou "
            "roi_positive_share "
            "threshold nms mask_threshold cascade_ious"
        )
        for name in shares.split():
            values = getattr(self, name)
            if not all(
                0 <= value <= 1 for value in (values if isinstance(values, tuple) else (values,))
            ):
                raise InputError(f"{name} must be from 0 to 1, got {values}")
        for name in ("box_beta", "sampling_ratio", "giou_weight", "box_convolutions"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")
        if not min((self.anchor_scale, *self.anchor_ratios)) > 0 or not self.anchor_ratios:
            raise InputError(
                "anchor_scale and anchor_ratios must be above 0, at least one ratio, got "
                f"{self.anchor_scale} and {self.anchor_ratios}"
            )


PUBLISHED = RCNNProtocol()
"""The published numbers."""
