"""A watched folder: each image is answered once, when it is whole."""

import json
import os
import shutil
import signal
import threading
import time
from io import BytesIO

import pytest
from PIL import Image

import nommer
from nommer.data import watched
from tests.videos import quarters


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(watched, "PAUSE", 0.01)
    monkeypatch.setattr(watched, "SETTLED", 0.05)
    monkeypatch.setattr(watched, "GIVEN_UP", 0.4)


def image_file(brightness=1.0, size=(64, 48)):
    content = BytesIO()
    Image.fromarray(quarters(size, brightness)).save(content, "PNG")
    return content.getvalue()


def lines_of(out):
    return [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]


def watch(model, folder, out, **options):
    return nommer.predict(model, str(folder), watch=True, stream=True, out=out, **options)


def test_images_are_answered_once_and_when_they_are_whole(tmp_path, models):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(image_file())
    whole, seen = image_file(0.5), []
    for answer in watch(models["classes"], folder, out):
        seen.append(os.path.relpath(answer.source, folder))
        if seen == ["a.png"]:
            (folder / "half.png").write_bytes(whole[:100])
            (folder / "deep" / "b.png").write_bytes(image_file())
            (folder / ".hidden.png").write_bytes(image_file())
        elif len(seen) == 2:
            (folder / "half.png").write_bytes(whole)
        elif len(seen) == 3:
            (folder / "a.png").write_bytes(image_file(0.7))  # another image of the name
        else:
            break
    assert seen == ["a.png", "deep/b.png", "half.png", "a.png"]
    assert not any("error" in line for line in lines_of(out))
    names = {line["picture"] for line in lines_of(out)}
    assert names == {f"images/{n}.jpg" for n in ("a", "b", "half", "a-2")}
    assert all((out / name).exists() for name in names)


def test_what_stays_broken_is_an_error_in_the_end(tmp_path, models, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "broken.png").write_bytes(image_file()[:100])
    (folder / "clip.mp4").touch()
    began = time.monotonic()
    (answer,) = [next(iter(watch(models["pixels"], folder, out)))]
    assert time.monotonic() - began > 0.3
    assert "cannot be decoded" in answer.error or "image file is truncated" in answer.error
    assert "clip.mp4: is a video, and --watch takes images" in capsys.readouterr().err


def test_a_killed_watch_goes_on_with_nothing_twice_and_nothing_lost(tmp_path, models):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(image_file())
    for count, _ in enumerate(watch(models["objects"], folder, tmp_path / "alive"), start=1):
        if count == 2:  # what is on the disk now is what SIGKILL leaves
            shutil.copytree(tmp_path / "alive", out)
            break
    assert len(lines_of(out)) == 2
    (folder / "4.png").write_bytes(image_file())
    answers = watch(models["objects"], folder, out, resume=True)
    for count, _ in enumerate(answers, start=1):
        if count == 3:
            break
    answers.close()
    assert sorted(line["image"] for line in lines_of(out)) == sorted(map(str, folder.iterdir()))
    assert len(list((out / "images").iterdir())) == 5


def test_ctrl_c_is_the_usual_end(tmp_path, models, run):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").write_bytes(image_file())

    def interrupt():
        while not (out / "answers.jsonl").exists() or not (out / "answers.jsonl").stat().st_size:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=interrupt)
    asking.start()
    printed = run("predict", models["several"], folder, "--watch --out", out)
    asking.join()
    assert "1 answers in" in printed.out
    assert json.loads((out / "result.json").read_text())["answers"] == 1


def test_a_folder_that_goes_away_ends_the_watch(tmp_path, models):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(image_file())
    answers = iter(watch(models["classes"], folder, tmp_path / "out"))
    next(answers)
    (folder / "a.png").unlink()
    folder.rmdir()
    with pytest.raises(nommer.InputError, match="this folder cannot be read"):
        next(answers)
    assert len(lines_of(tmp_path / "out")) == 1
