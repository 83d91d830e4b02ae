"""The block that every stage repeats: mix, then MLP, each pre-norm and residual (section 3.1)."""

import torch.nn.functional as F
from timm.layers import DropPath
from torch import nn

from nommer.shapes import TokensOrGrid


class Mlp(nn.Module):
    """Linear, GELU (erf), Linear, `ratio` times as wide in between."""

    def __init__(self, width: int, *, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: TokensOrGrid) -> TokensOrGrid:
        """Change every token by itself."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """`x = x + drop_path(mixer(norm(x)))`, then `x = x + drop_path(mlp(norm(x)))`.

    `mixer` is `NominatedContext` in stages 1-2 and `GlobalAttention` in stages 3-4.
    """

    def __init__(self, width: int, mixer: nn.Module, *, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, ratio=mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: TokensOrGrid) -> TokensOrGrid:
        """Tokens in, tokens out, in the same arrangement."""
        x = x + self.drop_path(self.mixer(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
