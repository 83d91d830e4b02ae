"""`torch.export` and `torch.compile(fullgraph=True)` in evaluation mode, with equal outputs."""

import pytest
import torch

pytestmark = pytest.mark.usefixtures("unchecked")

PADDED = (97, 131)  # nothing divides it: every context pads


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), PADDED], ids=str)
def test_export(create, draw, size):
    model, images = create(num_classes=10), draw(2, 3, *size)
    program = torch.export.export(model, (images,))
    other = draw(2, 3, *size, seed=1)
    assert_close(program.module()(other), model(other))
    assert not [node for node in program.graph.nodes if "rand" in str(node.target)]


@torch.no_grad()
@pytest.mark.parametrize(
    "options", [{"num_classes": 10}, {"features_only": True}], ids=["scores", "features"]
)
def test_export_with_a_batch_of_any_size(create, draw, options):
    model = create(**options)
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(model, (draw(2, 3, *PADDED),), dynamic_shapes=shapes).module()
    for batch in (1, 5):
        images = draw(batch, 3, *PADDED, seed=batch)
        assert_close(program(images), model(images))


@torch.no_grad()
def test_export_of_a_published_variant(create, draw):
    model, images = create("nommer_tiny"), draw(1, 3, *PADDED)
    assert_close(torch.export.export(model, (images,)).module()(images), model(images))


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.long
def test_the_whole_network_is_one_graph_of_the_default_backend(create, draw):
    model, images = create(), draw(1, 3, *PADDED)
    compiled = torch.compile(model, fullgraph=True)
    assert_close(compiled(images), model(images))
