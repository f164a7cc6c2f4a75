"""Whether the server is there, whether it can answer, and its figures."""

from __future__ import annotations

from fastapi import APIRouter, Response

from lapel import __version__
from lapel.serve import schema
from lapel.serve.errors import scrub
from lapel.serve.metrics import CONTENT_TYPE
from lapel.serve.service import Serves

router = APIRouter(tags=["operation"])


@router.get("/v1/health", operation_id="health", summary="The process is there")
async def health() -> schema.Health:
    """Answer as long as the process lives, ready or not."""
    return schema.Health(version=__version__)


@router.get(
    "/v1/ready",
    operation_id="ready",
    summary="Searches can be answered",
    responses={503: {"model": schema.Ready, "description": "An index is not open, or the server stops"}},
)
async def ready(service: Serves, response: Response) -> schema.Ready:
    """Answer 200 once every index is open, 503 before that and when the server stops."""
    hidden = service.served.hidden
    indexes = {name: scrub(state, hidden) for name, state in service.served.readiness().items()}
    whole = not service.stopping and all(state == "ready" for state in indexes.values())
    response.status_code = 200 if whole else 503
    return schema.Ready(ready=whole, indexes=indexes)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **schema.refusals(401)},
)
async def metrics(service: Serves) -> Response:
    """Requests, passes of the models, indexes and what is kept in memory, in Prometheus' text format."""
    return Response(service.figures(), media_type=CONTENT_TYPE)
