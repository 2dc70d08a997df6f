"""What is refused is seen at healer's side: counted by its status, and logged now and then."""

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from healer.http.health import Health
from healer.http.refusals import LATELY, LOG_INTERVAL, Refusals
from healer.http.server import Server
from healer.settings.http import HttpSettings


class Sender:
    """As much of a request as is logged."""

    method, path, remote = "POST", "/webhooks/alertmanager", "10.0.0.7"


def test_one_line_a_minute_and_status_says_how_many_there_were() -> None:
    times = iter((0.0, 1.0, 2.0, LOG_INTERVAL, LOG_INTERVAL))
    refusals = Refusals(lambda: next(times))
    with capture_logs() as logs:
        for _ in range(4):
            refusals.note(Sender(), 413, "too large", "group by more labels")  # type: ignore[arg-type]
        refusals.note(Sender(), 401, "no token", "send one")  # type: ignore[arg-type]
    assert [(line["status"], line["more_since_the_last_line"]) for line in logs] == [(413, 0), (413, 2), (401, 0)]
    assert (logs[0]["sender"], logs[0]["error"], logs[0]["hint"]) == ("10.0.0.7", "too large", "group by more labels")
    family, *_ = refusals.collect()
    counts = {sample.labels["status"]: sample.value for sample in family.samples}
    assert (counts["413"], counts["401"], counts["503"]) == (4, 1, 0)


def test_the_status_says_for_a_while_that_alerts_were_not_taken() -> None:
    now = 0.0
    refusals = Refusals(lambda: now, [Sender.path])
    for status in (401, 403, 429, 503):
        refusals.note(Sender(), status, "not now", "later")  # type: ignore[arg-type]
    assert refusals.check().ok, "they may be anybody's, or are sent again at once"
    refusals.note(Sender(), 413, "too large", "group by more labels")  # type: ignore[arg-type]
    now = 60.0
    assert "60 s ago, with 413: group by more labels" in refusals.check().reason
    assert not refusals.check().ok
    now = LATELY
    assert refusals.check().ok


def test_what_is_posted_elsewhere_is_no_alert() -> None:
    refusals = Refusals(lambda: 0.0, ["/another"])
    refusals.note(Sender(), 413, "too large", "group by more labels")  # type: ignore[arg-type]
    assert refusals.check().ok


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (415, {"Content-Type": "text/plain"}, b"{}"),
        (413, {"Content-Type": "application/json"}, b"x" * 200),
        (404, {"Content-Type": "application/json"}, b"{}"),
    ],
)
async def test_every_refusal_of_the_server_is_counted_from_zero(status: int, headers: dict[str, str], body: bytes) -> None:
    async def receive(_: bytes) -> dict[str, int]:
        return {}

    registry = CollectorRegistry()
    settings = HttpSettings(host="127.0.0.1", port=0, max_body=100)
    server = Server(settings=settings, webhooks={"/hook": receive}, health=Health, registry=registry)

    def counted() -> float | None:
        return registry.get_sample_value("healer_http_refused_total", {"status": str(status)})

    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        assert counted() == (None if status == 404 else 0)
        async with session.post("/other" if status == 404 else "/hook", data=body, headers=headers) as answer:
            assert answer.status == status
        assert counted() == 1
