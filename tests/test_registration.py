"""timm knows the networks after `import nommer`, in whatever order both are imported."""

import subprocess
import sys

import pytest

BUILD = "; assert timm.create_model('nommer_micro', num_classes=2).num_classes == 2"


@pytest.mark.parametrize(
    "imports",
    [
        "import nommer, timm",
        "import timm, nommer",
        "import nommer, timm.layers, timm",
        "import timm.layers, nommer, timm",
        "import nommer; nommer.NomMer; import timm",
        "import nommer.data.transforms, timm",
        "import nommer.backbone.timm, timm",
        "import nommer; from timm.models import create_model; import timm",
    ],
)
def test_a_network_is_built_by_name(imports):
    subprocess.run([sys.executable, "-c", imports + BUILD], check=True)


def test_an_error_of_timm_stays_timms():
    code = """
import sys, nommer
sys.modules["timm.layers"] = None
try:
    import timm
except ImportError as error:
    assert "timm.layers" in str(error)
else:
    raise SystemExit("imported")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
