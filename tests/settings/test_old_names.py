"""Settings that older versions wrote."""

from pathlib import Path

import pytest
import yaml

from nommer.cli.parser import parse
from nommer.errors import InputError
from nommer.runs.folder import RunFolder
from nommer.settings.old_names import in_todays_names
from nommer.settings.train import TrainSettings

WRITTEN = Path(__file__).parent / "config_with_aids.yaml"
"""As version 0.1.0 wrote it of a run with EMA and early stopping, then in a group `aids`."""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_bytes(WRITTEN.read_bytes())
    return RunFolder(tmp_path)


def test_a_run_of_an_older_version_gives_typed_settings(run):
    settings = run.settings()
    assert (settings.data, settings.model) == (Path("/old/data"), "nommer_micro")
    assert (settings.ema, settings.patience, settings.min_delta, settings.freeze) == (
        0.9,
        3,
        0.01,
        0,
    )
    assert (settings.optim.betas, settings.network.block_sizes) == ((0.9, 0.999), (4, 4))


def test_the_command_line_takes_it_too():
    chosen = TrainSettings(**parse(["train", "--config", str(WRITTEN), "--patience", "5"]))
    assert (chosen.ema, chosen.patience, chosen.min_delta) == (0.9, 5, 0.01)


def test_every_other_setting_is_as_it_was_written(run):
    written = yaml.safe_load(WRITTEN.read_text())
    aids, strategy = written.pop("aids"), written.pop("strategy")
    assert strategy == "auto"
    assert in_todays_names(written | {"aids": aids}) == aids | written


def test_an_old_run_can_be_resumed(run):
    run.split.write_text("file,split,label\n")
    run.check_resumable(run.settings(), "file,split,label\n", {})


def test_what_is_gone_is_refused():
    with pytest.raises(InputError, match="sharded training"):
        in_todays_names({"strategy": "fsdp"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3\n", "data is missing"),
        ("data: x\nepochs: many\n", "--epochs must be a whole number, got 'many'"),
        ("data: x\nepoch: 3\n", "there is no option 'epoch'; did you mean epochs?"),
        ("data: x\noptim:\n  nam: sgd\n", "--optim: there is no option 'nam'; did you mean name?"),
        ("- 1\n", "holds no settings of a run"),
        ("a: [\n", "cannot be read as YAML"),
    ],
)
def test_a_file_that_is_no_longer_what_was_written_is_named(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        RunFolder(tmp_path).settings()
    assert str(caught.value).startswith(f"{tmp_path / 'config.yaml'}: ")
    assert message in str(caught.value)


def test_without_a_run_there_are_none(tmp_path):
    assert RunFolder(tmp_path).settings() is None
