"""Shapes: the legend of every tensor that crosses a module border, as jaxtyping aliases.

========== ==================================================================================
dimension  meaning
========== ==================================================================================
batch      images in the batch
channels   channels of the input image, 3 unless `in_chans` says otherwise
height     image height in pixels (likewise `width_px` for the width)
rows       height of a token grid (likewise `columns` for its width), ceil(height / stride)
width      channels of a token: D, 2D, 4D, 8D in stages 1 to 4
tokens     length of a token sequence
contexts   contexts that compete for a token, 3 as published
next_...   the same of what comes out, where a module changes it
========== ==================================================================================

A name that stands twice in one signature must have the same size in both places; the tests check
that at every call (jaxtyping + beartype).
"""

from typing import TypeAlias

from jaxtyping import Float, Integer
from torch import Tensor

Images: TypeAlias = Float[Tensor, "batch channels height width_px"]
"""Normalised images, NCHW."""

NextImages: TypeAlias = Float[Tensor, "batch channels next_height next_width_px"]
"""Images that come out with other sides than those that went in."""

TokenGrid: TypeAlias = Float[Tensor, "batch rows columns width"]
"""A grid of tokens, channels-last: it flows between modules."""

NextGrid: TypeAlias = Float[Tensor, "batch next_rows next_columns next_width"]
"""A token grid that comes out of a module with other sides and width than the one that went in."""

FeatureMap: TypeAlias = Float[Tensor, "batch width rows columns"]
"""A token grid seen as NCHW: what convolutions and heads take."""

NextMap: TypeAlias = Float[Tensor, "batch width next_rows next_columns"]
"""A feature map that comes out with other sides than the one that went in."""

Tokens: TypeAlias = Float[Tensor, "batch tokens width"]
"""A sequence of tokens; in stage 4 the class token stands first."""

TokensOrGrid: TypeAlias = Float[Tensor, "batch *tokens width"]
"""Tokens in any arrangement: a sequence or a grid."""

NextTokensOrGrid: TypeAlias = Float[Tensor, "batch *next_tokens next_width"]
"""Tokens in any arrangement that come out in another number and width than those that went in."""

NominationLogits: TypeAlias = Float[Tensor, "batch rows columns contexts"]
"""One score per token and context, in the order convolution, window, global; as published all
three.
"""

NominationWeights: TypeAlias = Float[Tensor, "batch rows columns contexts"]
"""The choice of a context per token, one-hot as published, in the order convolution, window,
global.
"""

Nominations: TypeAlias = Integer[Tensor, "batch rows columns"]
"""Index of the nominated context per token: 0 convolution, 1 window, 2 global."""

Logits: TypeAlias = Float[Tensor, "batch classes"]
"""Raw class scores, before softmax."""

TokenLogits: TypeAlias = Float[Tensor, "batch tokens classes"]
"""Raw class scores of every token, of a network without pooling."""

PixelLogits: TypeAlias = Float[Tensor, "batch classes height width_px"]
"""Raw class scores of every pixel."""

ClassMap: TypeAlias = Float[Tensor, "batch classes rows columns"]
"""Raw class scores at a stride, one per class and cell."""

ImageScores: TypeAlias = Float[Tensor, "classes rows columns"]
"""Scores of one image's cells, or of some rows of them."""

BandScores: TypeAlias = Float[Tensor, "classes band width_px"]
"""Scores of some rows of one image's pixels."""
