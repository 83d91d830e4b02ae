"""Blood cells (boxes) and nuclei (masks) beside the checkout.

Their recipes for a few steps, and the verbs.
"""

import json
import tarfile

import pytest

pytestmark = pytest.mark.slow

SMALL = [
    *("--model=nommer_micro", "--epochs=1", "--epoch-steps=15", "--workers=0", "--device=cpu"),
    *("--detection.short-side=96", "--detection.long-side=160", "--detection.fpn-channels=16"),
]


def result(folder):
    return json.loads((folder / "result.json").read_text())


def numbers(folder):
    return {
        name: value
        for name, value in result(folder).items()
        if name.startswith(("box_", "mask_", "best_"))
    }


@pytest.mark.long
@pytest.mark.slow
def test_bccd_trains_evaluates_predicts_and_explains(run, shared_data, tmp_path):
    with tarfile.open(shared_data / "bccd" / "BCCD.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    data, out = tmp_path / "BCCD", tmp_path / "run"
    run("train --data", data, "--config bccd_nommer_nano --out", out, *SMALL)
    found = result(out)
    assert (found["images"], found["objects"]) == (87, 967 + 87 + 83)
    assert found["box_ar"] > 0
    issues = [json.loads(line) for line in (out / "data_issues.jsonl").read_text().splitlines()]
    assert sorted(issue["file"].split("/")[-1] for issue in issues) == [
        "BloodImage_00338.xml",
        "BloodImage_00343.xml",
    ]
    run("evaluate", out, "--workers 0 --out", tmp_path / "again")
    assert numbers(tmp_path / "again") == numbers(out)
    run("evaluate", out, "--split test --workers 0 --out", tmp_path / "test")
    assert (result(tmp_path / "test")["images"], result(tmp_path / "test")["objects"]) == (
        72,
        805 + 71 + 69,
    )
    images = sorted((data / "JPEGImages").iterdir())[:2]
    run("predict", out, *images, "--threshold 0.01 --out", tmp_path / "predicted")
    assert {
        entry["height"]
        for entry in json.loads((tmp_path / "predicted" / "result.json").read_text())
    } == {480}
    run("explain", out, images[0], "--out", tmp_path / "explained")
    assert (tmp_path / "explained" / f"{images[0].stem}.png").is_file()


@pytest.mark.long
@pytest.mark.slow
def test_nuclei_are_learned_with_their_masks(run, shared_data, tmp_path):
    with tarfile.open(next((shared_data / "dsb2018").glob("*.tar"))) as archive:
        archive.extractall(tmp_path / "whole", filter="data")
    data, out = tmp_path / "dsb", tmp_path / "run"
    for split, count in (("train", 30), ("val", 10)):  # the whole of it is read in tests/data
        names = (shared_data / "dsb2018" / f"{split}.txt").read_text().split()[:count]
        for kind in ("images", "labels"):
            (data / kind).mkdir(parents=True, exist_ok=True)
            for name in names:
                (tmp_path / "whole" / kind / f"{name}.png").rename(data / kind / f"{name}.png")
        (data / f"{split}.txt").write_text("\n".join(names))
    run("train --data", data, "--config dsb2018_nommer_nano --out", out, *SMALL)
    assert result(out)["images"] == 10
    assert {"box_ap", "mask_ap", "mask_ap50"} <= set(result(out))
    run("evaluate", out, "--workers 0 --out", tmp_path / "again")
    assert numbers(tmp_path / "again") == numbers(out)
