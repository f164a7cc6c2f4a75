"""Lapel: fashion image retrieval by attribute.

``lapel.load(run)`` gives an embedder, ``lapel.Index.open(path)`` a searchable catalogue, ``lapel.Client(url)`` those of
``lapel serve``. They are imported on first use, because the deep-learning stack takes seconds to load and many commands
do not need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Catalogue", "Client", "Index", "__version__", "load"]

if TYPE_CHECKING:
    from lapel.catalogue import Catalogue
    from lapel.client import Client
    from lapel.retrieval.embedder import load
    from lapel.retrieval.index import Index


def __getattr__(name: str) -> Any:
    if name == "Catalogue":
        from lapel.catalogue import Catalogue

        return Catalogue
    if name == "Client":
        from lapel.client import Client

        return Client
    if name == "Index":
        from lapel.retrieval.index import Index

        return Index
    if name == "load":
        from lapel.retrieval.embedder import load

        return load
    raise AttributeError(f"module 'lapel' has no attribute {name!r}")
