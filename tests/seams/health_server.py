"""A model server of the tests' own: it has no versions and answers `GET /health` by 200 or 503, as vLLM and SGLang do."""

from healer.model_servers.base import ModelServer
from healer.model_servers.status import ModelStatus, Observation, StatusCondition, StatusError


def parse(model: str, status: int, body: bytes) -> ModelStatus:
    """Its answer. Raises StatusError."""
    if status not in (200, 503):
        raise StatusError(f"it answers {status}")
    return ModelStatus(ready=status == 200, text=f"GET /health answers {status}")


def _dead(seen: Observation) -> str | None:
    return None if seen.status.ready else f"the engine is dead ({seen.status})"


HEALTH_SERVER = ModelServer(
    name="health",
    title="a server with a health check",
    port=8000,
    path=lambda model: "/health",
    parse=parse,
    conditions={"EngineDead": StatusCondition("`GET /health` answers 503", detect=_dead)},
)
