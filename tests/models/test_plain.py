"""The plain triplet network: one embedding, whatever the attribute."""

from __future__ import annotations

import pytest
import torch

from lapel.errors import RecipeError
from lapel.models import build
from lapel.models.plain import TripletNetwork
from lapel.models.trunks import parameter_count

from .contract import ATTRIBUTES, AttributeModelContract, alive

TRUNK = "test_resnet"


class TestTriplet(AttributeModelContract):
    conditioned = False
    located = False

    def build(self) -> TripletNetwork:
        return build("triplet", ATTRIBUTES, TRUNK, width=24)


def test_it_is_the_pooled_map_through_one_layer() -> None:
    torch.manual_seed(0)
    model = alive(build("triplet", 2, TRUNK, width=24)).double()
    images = torch.randn(3, 3, 80, 64, dtype=torch.float64)
    conv8, conv16 = model.trunk.stages
    expected = conv16(conv8(images)).mean((2, 3)) @ model.project.weight.T + model.project.bias
    expected = expected / expected.pow(2).sum(1, keepdim=True).sqrt()
    found = model.embed(model.features(images), torch.tensor([1, 0]))
    for number in range(2):
        torch.testing.assert_close(found[:, number], expected.float(), atol=1e-6, rtol=0)


def test_it_is_csn_without_masks() -> None:
    """9,601,088 of the tables' CSN with 8 attributes, less its 8 masks of 1,024."""
    assert parameter_count(build("triplet", 8)) == 9_601_088 - 8 * 1024


def test_a_width_below_one() -> None:
    with pytest.raises(RecipeError, match="model 'triplet': expected option width to be at least 1, found 0"):
        build("triplet", 3, TRUNK, width=0)
