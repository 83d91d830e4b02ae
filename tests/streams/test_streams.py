"""Videos and cameras are answered as images are, and what was answered outlives the process."""

import json
import os
import shutil
import signal
import sys
import threading

import av
import pytest
from PIL import Image

import nommer
from nommer.data import cameras
from nommer.data.sources import open_any
from nommer.data.videos import VideoReader
from nommer.errors import InputError
from nommer.inference import prediction
from nommer.predictions import Detections, Failure
from nommer.streams.result import StreamResult
from tests.videos import quarters, write_video


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Calls that are refused leave no folder."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.glob("predict*"))


def lines_of(out):
    return [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]


def rounded(told):
    """Plain values without the last digits, which depend on the batch."""
    return json.loads(json.dumps(told), parse_float=lambda text: round(float(text), 3))


def seconds_in(path):
    with av.open(str(path)) as container:
        return [round(frame.time, 3) for frame in container.decode(video=0)]


@pytest.mark.parametrize("task", ["classes", "several", "pixels", "objects"])
def test_frames_are_answered_as_images_are(tmp_path, models, clip, task):
    frames = list(VideoReader.of_file(clip))
    for frame in frames:
        open_any(frame).save(tmp_path / f"{frame.moment.frame}.png")
    names = [str(tmp_path / f"{number}.png") for number in range(8)]
    options = {"most": 7, "threshold": 0.1} if task == "objects" else {}
    images = nommer.predict(models[task], names, out=tmp_path / "images", **options)
    stream = nommer.predict(models[task], clip, out=tmp_path / "out", stream=True, **options)
    answers = list(stream)
    assert len(answers) == stream.answers == 8
    assert not stream.errors
    for number, (answer, image) in enumerate(zip(answers, images, strict=True)):
        told = answer.to_dict() | {"image": ""}
        assert (told.pop("frame"), told.pop("seconds")) == (number, frames[number].moment.seconds)
        assert rounded(told) == rounded(image.to_dict() | {"image": ""})
        assert answer.source == str(clip)
    shown = {"pixels": {"labels_png"}, "objects": {"colours"}}.get(task, set())
    for line, answer in zip(lines_of(tmp_path / "out"), answers, strict=True):
        assert shown & {"labels_png"} <= line.keys()
        assert line["frame"] == answer.moment.frame
        if task == "objects":
            assert all("counts" in one["mask"] for one in line["objects"])
            assert len(line["objects"]) == len(answer)
    video = tmp_path / "out" / "videos" / "clip.mp4"
    assert seconds_in(video) == [frame.moment.seconds for frame in frames]
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["answers"] == 8
    assert sum(told["parts"].values()) <= told["seconds"] + 0.01


def test_answers_come_one_by_one_and_an_early_end_leaves_whole_results(
    tmp_path, models, clip, monkeypatch
):
    readers = []
    monkeypatch.setattr(
        VideoReader, "of_file", _keeping(readers, VideoReader.of_file.__func__, VideoReader)
    )
    answers = nommer.predict(models["objects"], clip, out=tmp_path / "out", stream=True)
    assert isinstance(answers, StreamResult)
    assert not (tmp_path / "out" / "answers.jsonl").exists()
    first = []
    for answer in answers:
        first.append(answer)
        if len(first) == 3:
            break
    assert readers[0].read <= 4
    assert "frame 2" in repr(first[2])
    assert isinstance(first[2].drawn(), Image.Image)
    del answer
    answers.close()
    assert len(lines_of(tmp_path / "out")) == 3
    assert len(seconds_in(tmp_path / "out" / "videos" / "clip.mp4")) == 3
    with pytest.raises(InputError, match="stream=True gives them, once"):
        iter(answers)


def _keeping(kept, make, owner):
    def of_file(*arguments, **options):
        kept.append(make(owner, *arguments, **options))
        return kept[-1]

    return of_file


def killed_after(number, *arguments, out, **options):
    """Leave in `out` what is on the disk after some answers, and with it what SIGKILL leaves."""
    answers = nommer.predict(*arguments, out=out.with_name("alive"), stream=True, **options)
    for count, _ in enumerate(answers, start=1):
        if count == number:
            shutil.copytree(out.with_name("alive"), out)
            return


@pytest.mark.parametrize("track", [False, True])
def test_what_was_killed_goes_on_at_the_next_frame(tmp_path, models, clip, track):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    options = {"track": track, "threshold": 0.0, "most": 4}
    killed_after(5, models["objects"], [clip], out=killed, **options)
    assert len(lines_of(killed)) == 5
    with (killed / "answers.jsonl").open("a") as lines:
        lines.write('{"image": "half a li')
    again = nommer.predict(models["objects"], [clip], out=killed, resume=True, **options)
    assert (again.answers, again.counts[0].earlier) == (3, 5)
    nommer.predict(models["objects"], [clip], out=whole, **options)
    assert lines_of(killed) == lines_of(whole)
    parts = sorted((killed / "videos").iterdir())
    shown = [seconds for part in reversed(parts) for seconds in seconds_in(part)]
    assert sorted(shown) == seconds_in(whole / "videos" / "clip.mp4")
    once_more = nommer.predict(models["objects"], [clip], out=killed, resume=True, **options)
    assert (once_more.answers, once_more.counts[0].earlier) == (0, 8)
    assert sorted((killed / "videos").iterdir()) == parts
    with pytest.raises(InputError, match="was begun with stride None, not 2; give the same"):
        nommer.predict(models["objects"], [clip], out=killed, resume=True, stride=2, **options)


def test_a_signal_ends_a_video_after_the_frame_and_says_how_to_go_on(tmp_path, models, clip):
    out = tmp_path / "out"

    def interrupt():
        while not (out / "answers.jsonl").exists() or not (out / "answers.jsonl").stat().st_size:
            pass
        os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=interrupt)
    asking.start()
    with pytest.raises(KeyboardInterrupt, match=r"stopped after \d answers.* --resume") as stopped:
        nommer.predict(models["pixels"], [clip] * 1, out=out)
    asking.join()
    assert stopped.value.exit_code == 130
    done = len(lines_of(out))
    assert done < 8
    again = nommer.predict(models["pixels"], [clip], out=out, resume=True)
    assert [line["frame"] for line in lines_of(out)] == list(range(8))
    assert again.answers == 8 - done


def test_some_frames_only(tmp_path, models, clip):
    for number, options in enumerate(({"stride": 3}, {"stride": 3, "frames": 2}, {"frames": 1})):
        out = tmp_path / str(number)
        nommer.predict(models["classes"], clip, out=out, pictures=False, **options)
        expected = [0, 3, 6][: options.get("frames")]
        assert [line["frame"] for line in lines_of(out)] == expected
        assert not (out / "videos").exists()


def test_broken_videos_are_errors_among_the_others(tmp_path, models, clip, run):
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 100)
    spoiled = tmp_path / "spoiled.avi"
    frames = [quarters()] * 6
    write_video(spoiled, frames, codec="mjpeg", pix_fmt="yuvj420p", spoiled=(2,))
    Image.fromarray(quarters()).save(tmp_path / "image.png")
    names = [tmp_path / name for name in ("broken.mp4", "spoiled.avi", "image.png")]
    printed = run("predict", models["classes"], *names, "--out", tmp_path / "out", code=1)
    assert "8 answers in" in printed.out
    assert "per second (decoding" in printed.out
    assert f"{spoiled}: 1 frames have no answer; answers.jsonl tells why" in printed.err
    lines = lines_of(tmp_path / "out")
    assert [line["image"] for line in lines] == [str(names[0]), *[str(spoiled)] * 6, str(names[2])]
    assert "no video of a known format" in lines[0]["error"]
    assert [line["frame"] for line in lines if "error" in line and "frame" in line] == [2]
    assert len(seconds_in(tmp_path / "out" / "videos" / "spoiled.mp4")) == 5
    assert (tmp_path / "out" / "images" / "image.jpg").exists()
    (tmp_path / "cut.mkv").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    printed = run(
        "predict", models["classes"], tmp_path / "cut.mkv", "--out", tmp_path / "2", code=1
    )
    assert "its header tells of" in printed.err
    with pytest.raises(InputError, match="images in memory have no names"):
        nommer.predict(models["classes"], [Image.fromarray(quarters())], out="x", resume=True)


def test_frames_are_labelled_data_too(tmp_path, models, clip):
    data = tmp_path / "data"
    nommer.predict(
        models["objects"], clip, out=tmp_path / "out", as_data=data, threshold=0.0, most=3, stride=4
    )
    told = json.loads((data / "as_data.json").read_text())
    assert list(told["images"].values()) == [f"{clip}, frame 0", f"{clip}, frame 4"]
    assert [name.rpartition("/")[2] for name in told["images"]] == [
        "clip-000000.png",
        "clip-000004.png",
    ]
    assert nommer.check(data, out=tmp_path / "check").task == "detection"


def test_images_come_one_by_one_too(tmp_path, models):
    given = (Image.fromarray(quarters(brightness=0.2 * number)) for number in range(3))
    answers = nommer.predict(models["classes"], given, out=tmp_path / "out", stream=True)
    assert [answer.moment for answer in answers] == [None] * 3
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3
    with pytest.raises(InputError, match="--stride: is for videos and cameras"):
        nommer.predict(models["classes"], [Image.fromarray(quarters())], stride=2)


def test_a_camera_is_answered_until_enough(tmp_path, models, monkeypatch):
    source = "testsrc=size=64x48:rate=25"  # FFmpeg's own device, which has no end either
    for module in (cameras, prediction):
        monkeypatch.setattr(module, "camera_address", lambda _: ("lavfi", source))
    result = nommer.predict(models["pixels"], 0, out=tmp_path / "out", frames=4)
    numbers = [line["frame"] for line in lines_of(tmp_path / "out")]
    assert len(numbers) == result.answers == 4
    assert numbers == sorted(set(numbers))
    assert lines_of(tmp_path / "out")[0]["image"] == "0"
    with pytest.raises(InputError, match="one call answers one camera"):
        nommer.predict(models["pixels"], ["0", "1"])
    with pytest.raises(InputError, match="what camera 0 showed is gone"):
        nommer.predict(models["pixels"], ["0"], out=tmp_path / "out", resume=True)


def test_mistakes_are_one_sentence(tmp_path, models, clip, refused, monkeypatch):
    model = models["pixels"]
    assert refused("predict", model, 93).startswith("camera 93: there is no /dev/video93; ")
    assert refused("predict", model, clip, "--track") == (
        "--track: does nothing for segmentation; leave it out"
    )
    assert refused("predict", model, clip, "--resume") == "--resume: needs --out"
    told = refused("predict", model, clip, "--resume --overwrite --out", tmp_path / "out")
    assert told == "--resume: goes on with a folder, so not with --overwrite"
    assert "--watch nowhere: is no folder" in refused("predict", model, "nowhere", "--watch")
    told = refused("predict", model, clip.parent, "--watch --out", clip.parent / "out")
    assert "would be answered again; choose another folder" in told
    monkeypatch.setitem(sys.modules, "av", None)
    assert refused("predict", model, clip) == (
        "predict of videos: needs the package av; pip install 'nommer[video]'"
    )
    monkeypatch.setitem(sys.modules, "trackers", None)
    monkeypatch.delitem(sys.modules, "av")
    assert refused("predict", models["objects"], clip, "--track") == (
        "--track: needs the package trackers; pip install 'nommer[track]'"
    )


def test_folders_and_patterns_of_videos(tmp_path, models, clip, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.mkv", "b.mkv"):
        (folder / name).write_bytes(clip.read_bytes())
    for number, given in enumerate((folder, f"{folder}/*.mkv", [folder / "a.mkv", folder])):
        out = tmp_path / str(number)
        result = nommer.predict(models["classes"], given, out=out, frames=1)
        assert [one.source for one in result.counts] == [
            str(folder / n) for n in ("a.mkv", "b.mkv")
        ]
    Image.fromarray(quarters()).save(folder / "image.png")
    result = nommer.predict(models["classes"], folder, out=tmp_path / "images")
    assert [answer.source for answer in result] == [str(folder / "image.png")]
    assert "2 videos there are passed over; give them by their names" in capsys.readouterr().err


def test_answers_without_scores_are_failures_of_the_frame(tmp_path, models, clip, monkeypatch):
    from nommer.models.segmentation import Segmenter  # noqa: PLC0415

    monkeypatch.setattr(Segmenter, "label", lambda *_, **__: None)
    answers = list(nommer.predict(models["pixels"], clip, out=tmp_path / "out", stream=True))
    assert {type(answer) for answer in answers} == {Failure}
    assert lines_of(tmp_path / "out")[3]["frame"] == 3
    assert not isinstance(answers[0], Detections)
