"""timm's own weights, fetched by timm's own code from a hub on loopback."""

import pytest
import safetensors.torch
import timm
import torch

from nommer import InputError
from nommer.models.transfer import fetch_weights
from tests.data.servers import Hub, serving

NAME = "test_resnet.r160_in1k"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub, which has weights of one network that nobody else has."""
    folder = tmp_path / "models" / NAME
    folder.mkdir(parents=True)
    torch.manual_seed(5)
    weights = timm.create_model("test_resnet").state_dict()
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    monkeypatch.setattr(Hub, "models", {f"timm/{NAME}": folder})
    monkeypatch.setattr(Hub, "asked", [])
    with serving(Hub) as port:
        point_at(monkeypatch, f"http://127.0.0.1:{port}", tmp_path / "cache")
        yield weights


def point_at(monkeypatch, address, cache):
    """What HF_ENDPOINT and HF_HUB_CACHE do, which the library reads when it is imported."""
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(cache))


def test_weights_come_from_the_hub_once_and_then_from_its_cache(hub, monkeypatch):
    weights, config = fetch_weights(NAME)
    assert all(torch.equal(weights[name], value) for name, value in hub.items())
    assert config["mean"] == (0.5, 0.5, 0.5)
    asked = {path for path, _ in Hub.asked if "timm" in path}  # it asks for other things, too
    assert asked == {f"/timm/{NAME}/resolve/main/model.safetensors"}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    again, _ = fetch_weights(NAME)
    assert again.keys() == hub.keys()


def refusal(name=NAME):
    with pytest.raises(InputError) as refused:
        fetch_weights(name)
    told = str(refused.value)
    begin = f"--pretrained timm: the weights of {name} cannot be had from timm's hub: "
    assert told.startswith(begin)
    assert told.endswith("; give a file of them with --pretrained FILE, or leave it out")
    return told.removeprefix(begin).partition("; give")[0]


@pytest.mark.usefixtures("hub")
def test_what_the_hub_has_not_is_one_sentence():
    assert refusal("test_vit.r160_in1k") == "it has none, or none for everybody (404)"


def test_a_model_without_its_file_is_one_sentence(hub, monkeypatch, tmp_path):
    assert hub
    monkeypatch.setattr(Hub, "models", {f"timm/{NAME}": tmp_path})
    assert refusal() == "it has no such file (404)"


def test_a_hub_that_does_not_answer_is_one_sentence(monkeypatch, tmp_path, capsys, caplog):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between tries
    point_at(monkeypatch, "http://127.0.0.1:9", tmp_path)
    assert refusal() == "it does not answer, and they are not in the cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refusal() == "HF_HUB_OFFLINE forbids to ask it, and they are not in the cache"
    assert "etry" not in capsys.readouterr().err + caplog.text
