"""Videos as they come: whole, cut, empty, turned, of any rate, and made to do harm."""

import os
import re
import struct

import av
import numpy as np
import pytest

from nommer.data import videos
from nommer.data.cameras import Camera, camera_address, is_camera
from nommer.data.frames import Frame, upright
from nommer.data.videos import VideoError, VideoReader
from nommer.predictions import Moment
from nommer.settings.pixel_range import Reading
from tests.videos import corners, quarters, turned, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    return write_video(path, [quarters()] * 12, options={"g": "4"})


def read(path, **options):
    reader = VideoReader.of_file(path, **options)
    frames = list(reader)
    reader.close()
    return frames, reader


def reason(path):
    with pytest.raises(VideoError) as caught:
        VideoReader.of_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value.reason


def test_frames_have_numbers_times_and_pixels(video):
    frames, reader = read(video)
    assert [frame.moment.frame for frame in frames] == list(range(12))
    assert [frame.moment.seconds for frame in frames] == [i / 10 for i in range(12)]
    assert {corners(frame.rgb(Reading())) for frame in frames} == {"rgbw"}
    assert (reader.notes, reader.rate, reader.frames, reader.read) == ([], 10, 12, 12)
    assert (frames[3].name, frames[3].stem) == (f"{video}, frame 3", "clip-000003")


def test_every_third_frame_from_the_fourth_on(video):
    frames, reader = read(video, stride=3, first=4)
    assert [frame.moment.frame for frame in frames] == [6, 9]
    assert reader.read == 12


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), "rgbw"),
        ((0, 1, -1, 0), "brwg"),  # a quarter clockwise
        ((-1, 0, 0, -1), "wbgr"),
        ((0, -1, 1, 0), "gwrb"),
        ((-1, 0, 0, 1), "grwb"),  # mirrored
        ((1, 0, 0, -1), "bwrg"),
        ((0, 1, 1, 0), "rbgw"),  # over the diagonals
        ((0, -1, -1, 0), "wgbr"),
    ],
)
def test_frames_are_turned_and_mirrored_as_players_show_them(tmp_path, video, matrix, expected):
    path = tmp_path / "turned.mp4"
    path.write_bytes(video.read_bytes())
    frames, _ = read(turned(path, matrix))
    assert corners(frames[0].image) == expected
    assert frames[0].image.size == ((64, 48) if matrix[0] else (48, 64))


def test_an_angle_that_is_no_quarter_turn_is_taken_for_the_nearest():
    angle = np.radians(80)
    matrix = np.eye(3)
    matrix[:2, :2] = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    pixels = np.arange(6).reshape(2, 3)
    assert upright(pixels, (65536 * matrix).astype(int)).tolist() == np.rot90(pixels, -1).tolist()


def test_frames_at_any_distance_keep_their_times(tmp_path):
    times = [0, 0.1, 0.15, 0.9, 2.5]
    path = write_video(tmp_path / "uneven.mkv", [quarters()] * 5, times=times)
    frames, reader = read(path)
    assert [frame.moment.seconds for frame in frames] == times
    assert reader.notes == []


def test_a_video_that_begins_late_begins_at_zero(tmp_path):
    path = write_video(tmp_path / "late.mkv", [quarters()] * 3, times=[7, 7.5, 8])
    assert [frame.moment.seconds for frame in read(path)[0]] == [0, 0.5, 1]


def test_what_is_no_video_says_why(tmp_path, video):
    (tmp_path / "empty.mp4").touch()
    assert reason(tmp_path / "empty.mp4") == "is empty (0 bytes), so it is no video"
    assert reason(tmp_path / "none.mp4") == "file does not exist"
    assert reason(tmp_path) == "is a folder, not a video"
    (tmp_path / "text.mp4").write_text("no video at all " * 200)
    assert "no video" in reason(tmp_path / "text.mp4")
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:-600])  # its index is at the end
    assert "damaged or cut off" in reason(tmp_path / "cut.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reason(tmp_path / "pipe.mp4") == "is a named pipe (FIFO), not a file"
    with av.open(str(tmp_path / "sound.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert reason(tmp_path / "sound.mkv") == "holds no video, only audio"


def test_a_playlist_opens_no_other_file(tmp_path, video):
    path = tmp_path / "list.mp4"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.0,\n{video}\n#EXT-X-ENDLIST\n")
    assert "no video of a known" in reason(path)
    path.write_text(f"ffconcat version 1.0\nfile {video}\n")
    assert "no video of a known" in reason(path)


def test_a_name_is_never_an_address(tmp_path, video, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:clip.mp4").write_bytes(video.read_bytes())
    assert len(read(videos.Path("concat:clip.mp4"))[0]) == 12


def test_a_video_that_is_cut_gives_what_there_is_and_says_so(tmp_path, video):
    noise = np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), np.uint8)
    whole = write_video(tmp_path / "a.mkv", list(noise))
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    frames, reader = read(path)
    assert 5 < len(frames) < 25
    assert re.search(r"ends after [\d.]+ s, but its header tells of 3.00 s", reader.notes[-1])
    index_first = write_video(
        tmp_path / "b.mp4", list(noise), container_options={"movflags": "faststart"}
    )
    path = tmp_path / "cut.mp4"
    path.write_bytes(index_first.read_bytes()[: index_first.stat().st_size // 2])
    frames, reader = read(path)
    assert 5 < len(frames) < 25
    assert "header tells of 30" in reader.notes[-1]


def test_a_damaged_middle_is_told_frame_by_frame(tmp_path):
    path = tmp_path / "b.avi"
    write_video(path, [quarters()] * 20, codec="mjpeg", pix_fmt="yuvj420p", spoiled=(7,))
    frames, _reader = read(path)
    assert [frame.moment.frame for frame in frames] == list(range(20))
    lost = [frame for frame in frames if frame.image is None]
    assert [frame.moment.frame for frame in lost] == [7]
    assert lost[0].error.startswith("cannot be decoded")


def test_frames_over_the_limit_of_images_are_refused_before_they_are_decoded(
    tmp_path, video, monkeypatch
):
    keyframe = b"\x50\x06\x00\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383) + bytes(300)
    header = struct.pack("<4sHH4sHHIII", b"DKIF", 0, 32, b"VP80", 60000, 60000, 30, 1, 1)
    bomb = tmp_path / "bomb.mp4"
    bomb.write_bytes(header + bytes(4) + struct.pack("<IQ", len(keyframe), 0) + keyframe)
    assert reason(bomb).startswith("its frames are too large: 16383 x 16383, over the limit of")
    monkeypatch.setattr(videos, "MAX_PIXELS", 64 * 48 - 1)
    assert reason(video) == "its frames are too large: 64 x 48, over the limit of 3,071 pixels"


def test_alpha_and_wide_greys_go_the_way_of_images(tmp_path):
    from PIL import Image  # noqa: PLC0415

    half = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    frame = Frame("clip.mov", Moment(0, 0.0), half)
    assert frame.rgb(Reading(background=(1, 2, 3))).getpixel((0, 0)) == (1, 2, 3)
    wide = Image.fromarray(np.full((4, 4), 65535, np.uint16))
    assert Frame("clip.mkv", Moment(0, 0.0), wide).rgb(Reading()).getpixel((0, 0)) == (255,) * 3


def test_a_camera_is_a_number_or_a_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_camera("0")
    assert is_camera("/dev/video7")
    assert not is_camera("clip.mp4")
    (tmp_path / "0").touch()
    assert not is_camera("0")
    for name in ("71", "/dev/video71"):
        with pytest.raises(VideoError, match=rf"^camera {name}: there is no .*cameras here: "):
            camera_address(name)


def test_a_slow_reader_gets_the_newest_frame_of_a_camera(monkeypatch):
    source = "testsrc=size=64x48:rate=50:duration=3"
    monkeypatch.setattr("nommer.data.cameras.camera_address", lambda _: ("lavfi", source))
    camera = Camera("0")
    numbers = []
    for frame in camera:
        numbers.append(frame.moment.frame)
        if len(numbers) == 3:
            break
    camera.close()
    assert numbers == sorted(set(numbers))
    assert frame.image.size == (64, 48)
    assert camera.rate == 50
