"""Every format of classification data, through every verb: same images, same numbers."""

import csv
import io
import json
import shutil
import tarfile

import pytest

pytestmark = pytest.mark.usefixtures("sketched")

NUMBERS = ("images", "loss", "top1", "macro_f1", "calibration_error", "confusion")


def numbers(folder):
    found = json.loads((folder / "result.json").read_text())
    return {name: found[name] for name in NUMBERS}


def files(root):
    return [path.relative_to(root) for path in sorted(root.rglob("*.png"))]


def as_zip(root, to):
    return shutil.make_archive(str(to / "photos"), "zip", root.parent, root.name)


def as_tars(root, to):
    for split in ("train", "val"):
        shutil.make_archive(str(to / split), "gztar", root, split)
    return to


def as_table(root, to):
    rows = [f"photos/{file},{file.parts[1]},{file.parts[0]}" for file in files(root)]
    shutil.copytree(root, to / "photos")
    (to / "labels.csv").write_text("\n".join(["path,label,split", *rows]))
    return to / "labels.csv"


def as_lists(root, to):
    shutil.copytree(root, to / "photos")
    for split in ("train", "val"):
        rows = [f"photos/{file} {file.parts[1]}" for file in files(root) if file.parts[0] == split]
        (to / f"{split}.txt").write_text("\n".join(rows))
    return to


def as_shards(root, to):
    names = sorted({file.parts[1] for file in files(root)})
    (to / "classnames.txt").write_text("\n".join(names))
    for split in ("train", "val"):
        chosen = [file for file in files(root) if file.parts[0] == split]
        for shard in range(2):
            with tarfile.open(to / f"photos-{split}-{shard:06}.tar", "w") as tar:
                for file in chosen[shard * len(chosen) // 2 : (shard + 1) * len(chosen) // 2]:
                    label = str(names.index(file.parts[1])).encode()
                    for ending, content in (("png", (root / file).read_bytes()), ("cls", label)):
                        info = tarfile.TarInfo(f"{file.stem}.{ending}")
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
    return to


def as_imagenet(root, to):
    shutil.copytree(root / "train", to / "train")
    (to / "val").mkdir()
    rows = ["ImageId,PredictionString"]
    for file in (file for file in files(root) if file.parts[0] == "val"):
        shutil.copy(root / file, to / "val" / file.name)
        rows.append(f"{file.name},{file.parts[1]} 0 0 9 9")
    (to / "LOC_val_solution.csv").write_text("\n".join(rows))
    return to


def as_hugging_face(root, to):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    names = sorted({file.parts[1] for file in files(root)})
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=names)}
    )
    parts = {
        split: datasets.Dataset.from_list(
            [
                {"image": str(root / f), "label": names.index(f.parts[1])}
                for f in files(root)
                if f.parts[0] == split
            ],
            features=features,
        )
        for split in ("train", "val")
    }
    datasets.DatasetDict(parts).save_to_disk(to)
    return to


FORMATS = [as_zip, as_tars, as_table, as_lists, as_shards, as_imagenet, as_hugging_face]


@pytest.mark.slow
@pytest.mark.parametrize("write", FORMATS)
def test_the_same_images_in_any_format_give_the_same_numbers(
    run, refused, coloured, trained, train_options, tmp_path, write, digest
):
    place, out = tmp_path / "data", tmp_path / "run"
    place.mkdir()
    data = write(coloured, place)
    before = digest(place)
    run("train --data", data, "--out", out, " ".join(train_options))
    assert numbers(out) == numbers(trained), "as from class folders"
    split = (out / "split.csv").read_text().splitlines()
    assert len(split) == 1 + 18 + 9
    assert not any(line.startswith("/") for line in split), "names relative to the data"

    run("evaluate", out, "--workers=1 --out", tmp_path / "evaluated")
    assert numbers(tmp_path / "evaluated") == numbers(trained)
    run("evaluate", trained, "--data", data, "--workers=0 --out", tmp_path / "other")
    assert numbers(tmp_path / "other") == numbers(trained)

    base = data if write is not as_table else place
    image = str(base) + "/" + split[1].partition(",")[0]
    run("predict", out, image, "--out", tmp_path / "predicted")
    (answer,) = json.loads((tmp_path / "predicted" / "result.json").read_text())
    assert answer["image"] == image
    if write is as_zip:  # of the data it takes images as `evaluate` and `predict` do
        run("export", out, "--data", data, "--format torch_export --out", tmp_path / "exported")

    again = " ".join([*train_options, "--epochs=3", "--resume"])
    printed = run("train --data", data, "--out", out, again)
    assert "going on from the end of epoch 2 (of 3 epochs)" in printed.err
    assert digest(place) == before


@pytest.mark.slow
def test_training_with_workers_reads_archives_as_training_without(
    run, coloured, trained, train_options, tmp_path
):
    for number, write in enumerate((as_zip, as_tars)):
        place = tmp_path / str(number)
        place.mkdir()
        data = write(coloured, place)
        run("train --data", data, "--out", place / "run", " ".join(train_options), "--workers=2")
        assert numbers(place / "run") == numbers(trained)


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_see_every_sample_of_shards_once(shell, coloured, train_options, tmp_path):
    """An odd number of images, in shards, on two processes of two workers; as evaluated by one."""
    chosen = shutil.copytree(coloured, tmp_path / "photos")
    (chosen / "val" / "red" / "red-0.png").unlink()
    (tmp_path / "shards").mkdir()
    data, out = as_shards(chosen, tmp_path / "shards"), tmp_path / "run"
    options = " ".join(train_options).replace("--workers=0", "--workers=2")
    done = shell("train --data", data, "--out", out, options, "--devices=2 --batch-size=3")
    assert done.returncode == 0, done.stderr
    assert numbers(out)["images"] == 8
    with (out / "metrics.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    best = max(lines, key=lambda row: (float(row["val_top1"]), -float(row["val_loss"])))
    assert numbers(out)["top1"] == pytest.approx(float(best["val_top1"]), abs=1e-6)
    assert numbers(out)["loss"] == pytest.approx(float(best["val_loss"]), abs=1e-4)


@pytest.mark.slow
def test_data_without_splits_are_split_alike_in_any_format(run, coloured, train_options, tmp_path):
    folder = coloured / "train"
    archive = shutil.make_archive(str(tmp_path / "photos"), "tar", folder)
    rows = [f"{folder / file},{file.parts[0]}" for file in files(folder)]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    held = []
    for number, data in enumerate((folder, archive, tmp_path / "labels.csv")):
        run("train --data", data, "--out", tmp_path / str(number), " ".join(train_options))
        lines = (tmp_path / str(number) / "split.csv").read_text().splitlines()[1:]
        held.append(
            sorted(line.split(",")[0].rpartition("/")[2] for line in lines if ",val," in line)
        )
    assert held[0] == held[1]
    assert len(held[2]) == len(held[0])
    run("evaluate", tmp_path / "2", "--workers=0 --out", tmp_path / "evaluated")
    assert numbers(tmp_path / "evaluated") == numbers(tmp_path / "2")


def test_mistakes_are_one_sentence(refused, coloured, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text(f"path,colour\n{coloured}/train/red/red-0.png,red\n")
    out = ("--out", tmp_path / "run")
    assert "no column for the label; found path, colour" in refused("train --data", table, *out)
    assert "no-labels.csv: no such folder" in refused(
        "train --data", table.with_name("no-labels.csv"), *out
    )
    archive = tmp_path / "photos.zip"
    archive.write_bytes(b"PK")
    assert "photos.zip: cannot be read as an archive" in refused("train --data", archive, *out)
    assert not (tmp_path / "run").exists()


def test_a_changed_table_is_not_resumed(run, refused, coloured, train_options, tmp_path):
    data, out = as_table(coloured, tmp_path), tmp_path / "run"
    run("train --data", data, "--out", out, " ".join(train_options))
    rows = data.read_text().splitlines()
    data.write_text("\n".join([*rows[:1], rows[1].replace(",blue,", ",red,"), *rows[2:]]))
    sentence = refused(
        "train --data", data, "--out", out, " ".join(train_options), "--epochs=3 --resume"
    )
    assert (
        "the data has changed: photos/train/blue/blue-0.png is now train, red, was train, blue"
        in sentence
    )
