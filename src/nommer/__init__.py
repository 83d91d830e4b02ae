"""NomMer."""
import nommer.backbone.timm
