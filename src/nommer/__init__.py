"""NomMer: visual recognition with nominated contexts."""
import nommer.backbone.timm
