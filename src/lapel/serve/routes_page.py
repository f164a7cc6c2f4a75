"""The page and its files."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "page"
ASK = {"Cache-Control": "no-cache"}  # a browser keeps them, and asks whether they changed
mimetypes.add_type("text/javascript", ".js")  # some systems say otherwise, and no browser runs it then

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    """The page that people search with."""
    return FileResponse(FOLDER / "index.html", headers=ASK)


class _Files(StaticFiles):
    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers.update(ASK)
        return response


def files() -> StaticFiles:
    """The page's styles and scripts."""
    return _Files(directory=FOLDER)
