"""The block that every stage repeats: mix, then MLP, each pre-norm and residual (paper section 3.1)."""

from timm.layers import DropPath, Mlp
from torch import nn

from nommer.shapes import TokensOrGrid


class Block(nn.Module):
    """`x = x + drop_path(mixer(norm(x)))`, then `x = x + drop_path(mlp(norm(x)))`.

    `mixer` is `NominatedContext` in stages 1-2 and `GlobalAttention` in stages 3-4.
    The MLP is Linear, GELU (erf), Linear.
    """

    def __init__(self, width: int, mixer: nn.Module, *, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden_features=mlp_ratio * width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: TokensOrGrid) -> TokensOrGrid:
        """Tokens in, tokens out, in the same arrangement."""
        x = x + self.drop_path(self.mixer(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
