"""The demo, whole, as the README's first command runs it."""

import json

import pytest
from PIL import Image

from nommer.cli import main


@pytest.mark.slow
@pytest.mark.long
def test_demo_learns_the_digits_and_says_where_to_look(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    run, shown = tmp_path / "demo" / "run", capsys.readouterr().out
    result = json.loads((run / "result.json").read_text())
    assert result["images"] == 360
    assert result["top1"] >= 0.98
    again = json.loads((run / "evaluate" / "result.json").read_text())
    assert {name: again[name] for name in ("top1", "loss", "confusion")} == {
        name: result[name] for name in ("top1", "loss", "confusion")
    }
    assert len(json.loads((run / "predict" / "result.json").read_text())) == 10
    assert len(list((run / "explain").glob("*.png"))) == 10
    photographs = tmp_path / "demo" / "photographs"
    assert {path.name for path in photographs.glob("*.png")} == {"china.png", "flower.png"}
    for name in (
        "curves.png",
        "confusion_matrix.png",
        "nominations.png",
        "val_predictions.jpg",
        "train_batch.jpg",
    ):
        with Image.open(run / name) as picture:
            assert min(picture.size) > 200, name
    assert f"top-1 {result['top1']:.2%} of 360 held back digits" in " ".join(shown.split())
