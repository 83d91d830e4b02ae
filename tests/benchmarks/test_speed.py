"""The scripts beside `nommer benchmark`.

The literal form is the same network, and a profile names its parts.
"""

import json
import sys

import pytest
import torch

OPTIONS = (
    "--models nommer_micro --peers test_resnet --sizes 64 --batches 2 --mode both --rounds 1 "
    "--seconds 0.1"
)


@pytest.mark.usefixtures("unchecked")
def test_the_literal_form_computes_the_same(script):
    literal = script("literal_form").LiteralNetwork("nommer_micro", 64).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = literal.network.eval()(images)
        torch.testing.assert_close(literal(images), expected, rtol=1e-3, atol=1e-4)
    literal.train()(images).sum().backward()
    assert all(weight.grad is not None for weight in literal.parameters())


def test_the_literal_form_is_a_row(script, monkeypatch, tmp_path):
    options = [
        *OPTIONS.split(),
        "--backends",
        "eager",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    monkeypatch.setattr(sys, "argv", ["literal_form.py", *options])
    script("literal_form").main()
    rows = json.loads((tmp_path / "out" / "result.json").read_text())["measurements"]
    literal = [row for row in rows if row["backend"] == "literal"]
    assert [(row["model"], row["mode"], row["failure"]) for row in literal] == [
        ("nommer_micro", "inference", None),
        ("nommer_micro", "training", None),
    ]
    assert all(row["ratio"]["median"] > 0 for row in literal)


@pytest.mark.parametrize("options", ["--fused", "--mode training"])
def test_a_profile_names_the_parts(script, monkeypatch, capsys, options):
    words = f"profile_network.py --model nommer_micro --size 64 --batch 2 --rows 30 {options}"
    monkeypatch.setattr(sys, "argv", words.split())
    script("profile_network").main()
    printed = capsys.readouterr().out
    for part in (
        "convolution context",
        "window context",
        "global context",
        "nominator",
        "MLP, stages 1-2",
        "stem",
    ):
        assert f"| {part} | " in printed
    assert "| the call | " in printed
    assert ("AdamW" in printed) == ("training" in options)


def test_speed_from_a_folder_is_told_against_the_fastest_peer(script):
    seconds = {
        "predict nommer": [(2.0, 3.0), (9.0, 9.0), (1.0, 2.0)],
        "predict timm + torchvision": [(4.0, 6.0)],
        "predict ultralytics": [(5.0, 1.5)],
        "network": [(0.5, 1.5)],
    }
    lines = script("folder_speed").table(seconds, images=100).splitlines()
    assert lines[2] == "| predict nommer | 2.00 | 3.00 | 50 | 2.00 | 0.50 | 50% |"
    assert lines[5] == "| network | 0.50 | 1.50 |  |  |  |  |"


def test_photographs_are_linked_into_classes_as_often_as_needed(script, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg", "c.txt"):
        (tmp_path / "photos" / name).write_bytes(name.encode())
    made = script("folder_speed").make_photos(tmp_path / "photos", tmp_path / "out", 3)
    assert [path.read_bytes() for path in made] == [b"a.jpg", b"b.jpg", b"a.jpg"]
    assert {path.parent.name for path in made} == {"first", "second"}


def test_products_apart_and_as_one_are_the_same(script):
    forms = script("shared_products").FORMS
    torch.manual_seed(0)
    given = torch.randn(2, 14, 14, 8), torch.randn(24, 8), torch.randn(4, 8)
    expected = forms.pop("apart")(*given)
    for form in forms.values():
        torch.testing.assert_close(form(*given), expected)


def test_both_layouts_are_timed(script, monkeypatch, capsys):
    options = ["--models", "nommer_micro", "test_resnet", "--batch", "2", "--rounds", "2"]
    for mode in ("training", "inference"):
        monkeypatch.setattr(sys, "argv", ["channels_last.py", *options, "--mode", mode])
        script("channels_last").main()
    assert capsys.readouterr().out.count("| test_resnet | ") == 2
