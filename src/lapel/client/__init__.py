"""A client of ``lapel serve``: its HTTP API as typed Python, without the deep-learning stack.

>>> from lapel.client import Client
>>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
...     for hit in client.search("photo.jpg", {"neckline": 1, "pattern": -0.5}, k=5).hits:
...         print(hit.similarity, hit.id, hit.labels)
"""

from lapel.client.asking import ApiFailure, NoAnswer
from lapel.client.client import Client
from lapel.client.copies import Copies, CopyGroup, CopyPair
from lapel.client.images import Entry, Explanation, Hit, LikelyValue, Listed, Query, SearchResult
from lapel.client.indexes import Attribute, Column, Counted, FacetColumn, Facets, IndexInfo, IndexVersion, Ready, Run
from lapel.client.parts import Part

__all__ = [
    "ApiFailure",
    "Attribute",
    "Client",
    "Column",
    "Copies",
    "CopyGroup",
    "CopyPair",
    "Counted",
    "Entry",
    "Explanation",
    "FacetColumn",
    "Facets",
    "Hit",
    "IndexInfo",
    "IndexVersion",
    "LikelyValue",
    "Listed",
    "NoAnswer",
    "Part",
    "Query",
    "Ready",
    "Run",
    "SearchResult",
]
