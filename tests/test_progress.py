"""Long work says how far it is."""

from nommer.progress import notice, track


def test_without_a_terminal_about_ten_plain_lines(capsys):
    assert list(track(range(3000), total=3000, what="reading")) == list(range(3000))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"reading: {done} of 3000" for done in range(300, 3001, 300)]


def test_short_work_says_nothing(capsys):
    assert list(track(iter("abc"), total=3, what="reading")) == list("abc")
    assert list(track([], total=0, what="reading")) == []
    assert capsys.readouterr().err == ""


def test_a_notice_is_one_line_whatever_it_holds(capsys):
    text = "x" * 300 + " [bold] [/nothing] /path/with [brackets]"
    notice(text)
    assert capsys.readouterr().err == f"{text}\n"
