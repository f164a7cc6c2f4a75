"""AHBN's table I as far as it is known: its rows and what its text claims of them. No figure of it is known to us.

Beside them what ``lapel reproduce ahbn`` needs: the recipe of each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lapel.evaluation.published_table import Claim, PublishedTable

COLUMNS = ("Acc@1", "Acc@10", "Acc@20", "Acc@30", "Acc@40", "Acc@50")

ITEM_RECIPES = {
    "Single-Branch": "ahbn-single",
    "Single-Branch + Res50": "ahbn-single-resnet50",
    "Single-Branch + Spatial Atten.": "ahbn-single-spatial",
    "Single-Branch + ATTR": "ahbn-single-attributes",
    "Single-Branch + LM": "ahbn-single-landmarks",
    "Two-Branch, heat-maps": "ahbn-heatmaps",
    "Two-Branch, features": "ahbn-features",
    "full bilinear": "ahbn-bilinear",
    "concatenation": "ahbn-concatenation",
    "product": "ahbn-product",
    "sum": "ahbn-sum",
    "separate attention": "ahbn-separate-attention",
    "smaller maps": "ahbn-smaller",
    "larger maps": "ahbn-larger",
    "AHBN + Res50": "ahbn-resnet50",
    "softmax attention": "ahbn-softmax",
    "AHBN": "ahbn",
}
"""Row -> the recipe that trains it, in the paper's order; the names of most rows are ours."""


@dataclass(frozen=True)
class ItemTable(PublishedTable):
    """A table of instance retrieval, which no figure in print is known of."""

    @property
    def recipes(self) -> dict[str, str]:
        """Row -> the recipe that trains it."""
        return {row: ITEM_RECIPES[row] for row in self.rows}

    def own_data(self, record: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """Never: there is nothing in print to compare with."""
        return False


_FEATURES, _FULL = "Two-Branch, features", "AHBN"
AHBN = ItemTable(
    1,
    "parts of AHBN",
    "Consumer-to-Shop",
    COLUMNS,
    dict.fromkeys(ITEM_RECIPES, ()),
    claims=(
        Claim("Single-Branch", "Single-Branch + Spatial Atten.", "spatial attention does not help a single branch"),
        Claim("Single-Branch + ATTR", "Single-Branch + LM", "appearance alone is above the landmarks' branch alone"),
        Claim(_FEATURES, "Two-Branch, heat-maps", "the map before the heat-maps is above the heat-maps"),
        Claim(_FEATURES, "full bilinear", "compact bilinear pooling is above the full one"),
        Claim(_FEATURES, "concatenation", "bilinear pooling is above concatenation"),
        Claim(_FEATURES, "product", "bilinear pooling is above the product"),
        Claim(_FEATURES, "sum", "bilinear pooling is above the sum"),
        Claim(_FULL, _FEATURES, "co-attention helps"),
        Claim(_FULL, "separate attention", "co-attention is above separate attentions"),
        Claim(_FULL, "softmax attention", "the sigmoid is above softmax"),
        Claim(_FULL, "smaller maps", "8 x 8 is above smaller maps"),
        Claim(_FULL, "larger maps", "8 x 8 is above larger maps"),
        Claim(_FULL, "AHBN + Res50", "the full model is the best: above itself on ResNet-50"),
        Claim(_FULL, "Single-Branch + ATTR", "the full model is the best: above the appearance branch"),
        Claim(_FULL, "Single-Branch + LM", "the full model is the best: above the localisation branch"),
        Claim(_FULL, "Single-Branch", "the full model is the best: above a single branch"),
        Claim(_FULL, "Single-Branch + Res50", "the full model is the best: above a single branch on ResNet-50"),
        Claim(_FULL, "fashionnet", "on Consumer-to-Shop AHBN is above FashionNet"),
    ),
    paper="AHBN",
    items=True,
)
"""Table I: its figures are not known. The last claim is of the comparison with other systems; its row is a recipe that
``--also`` adds. GRNet is above AHBN there, but what we have is only in its style, so nothing is claimed of it."""
