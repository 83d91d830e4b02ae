"""The three contexts that compete for a token (paper section 3.2).

Each maps the normalised token grid `(B, rows, columns, width)` to a grid of the same shape.
"""

from nommer.backbone.config import CONTEXTS
from nommer.backbone.contexts.convolution import ConvolutionContext
from nommer.backbone.contexts.spectral import SpectralContext
from nommer.backbone.contexts.window import WindowContext

__all__ = ["CONTEXTS", "ConvolutionContext", "SpectralContext", "WindowContext"]
