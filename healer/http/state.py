"""The state of healer at one moment as JSON: the answer of GET /state, for the page and for `healer top`.

An incident is here in short. GET /state/incidents/NAMESPACE/NAME has it whole, as `healer explain -o json` prints it.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from healer.http.answer import Refused
from healer.http.rules import RuleRow
from healer.model.incident import Reason
from healer.model.target import Target

STATE_PATH = "/state"
INCIDENT_PATH = STATE_PATH + "/incidents/{namespace}/{name}"


class CheckRow(msgspec.Struct, frozen=True):
    """One part of healer's own health. `text` says why it is well or not."""

    name: str
    ok: bool
    text: str


class IncidentRow(msgspec.Struct, frozen=True, rename="camel"):
    """One incident in short. Times are in seconds since the epoch. `sick`: the targets for which a signal still fires.

    `waits_for`: "approval", "human" or "". `cause`, `verdict` and `tone` are those of messages. `command`: what to type next.
    `links`: where to read on, by what it is.
    """

    name: str
    namespace: str
    workload: Target
    rule: str
    severity: str
    mode: str
    state: str
    reason: Reason
    steps: list[str]
    step: int
    storm: bool
    sick: int
    opened_at: float
    changed_at: float
    ended_at: float | None
    wake_at: float | None
    waits_for: str
    cause: str
    verdict: str
    tone: str
    command: str
    links: dict[str, str]


class UnitRow(msgspec.Struct, frozen=True):
    """A pod, or a group of pods: its name, whether it serves, and why not."""

    name: str
    ready: bool
    why: str = ""


class WorkloadRow(msgspec.Struct, frozen=True):
    """One workload that a rule is about. `rollout` and `paused` say why it rolls out or is paused; "" when it is not."""

    target: Target
    desired: int
    ready: int
    rollout: str
    paused: str
    units: list[UnitRow]
    more: int = 0
    """Units that are left out here."""


class Share(msgspec.Struct, frozen=True):
    """The requests of one side and the bad ones; `low` and `high` bound the bad share (0 to 1) with 95 % confidence."""

    requests: float
    bad: float
    low: float
    high: float


class CanaryMeasure(msgspec.Struct, frozen=True):
    """What is known of one measure of a canary. `evidence` must reach `needed` for BAD; `line` is its past: (time, evidence)."""

    name: str
    verdict: str
    text: str
    canary: Share
    stable: Share | None
    evidence: float
    needed: float
    line: list[tuple[float, float]]


class CanaryRow(msgspec.Struct, frozen=True):
    """One canary as it was last judged, at `at` (seconds since the epoch). `weight` is its share of the traffic, 0 to 1."""

    rule: str
    workload: Target
    route: str
    weight: float
    verdict: str
    text: str
    at: float
    measures: list[CanaryMeasure]


class LimitRow(msgspec.Struct, frozen=True):
    """A limit and how much of it is used up: see `healer.engine.safety.gauges.LimitGauge`."""

    kind: str
    used: float
    most: float
    open: bool
    rule: str
    namespace: str
    workload: Target | None
    until: float | None


class ActivityRow(msgspec.Struct, frozen=True, rename="camel"):
    """What a rule did in the incidents that are kept: when one opened last, how that stands, and the actions of the last week.

    `dry`: in the mode observe the actions were only decided.
    """

    rule: str
    opened_at: float
    state: str
    incidents: int
    actions: int
    dry: bool


class LoadedRules(msgspec.Struct, frozen=True):
    """The rules as a whole: when they last changed, their digest, why files are not in force, and which RuleSets are refused."""

    at: float = 0.0
    digest: str = ""
    problems: list[str] = []
    refused: list[str] = []


class StateBody(msgspec.Struct, frozen=True):
    """The whole. `leads`: this replica decides; else `leader` says who does, and incidents, limits and canaries are there."""

    at: float
    version: str
    cluster: str
    mode: str
    leads: bool
    leader: str
    paused: str
    """Why healer is paused everywhere; "" when it is not."""
    control: bool
    """Whether people may act on the page."""
    checks: list[CheckRow]
    incidents: list[IncidentRow]
    workloads: list[WorkloadRow]
    canaries: list[CanaryRow]
    limits: list[LimitRow]
    rules: list[RuleRow]
    activity: list[ActivityRow]
    loaded: LoadedRules = LoadedRules()


class StateRoutes:
    """The routes. `whole` gives the state of now; `incident` one incident in plain values, or None where there is none.

    Whoever reads them sees names of all namespaces: the same door is before them as before the decisions.
    """

    def __init__(
        self,
        whole: Callable[[], Awaitable[StateBody]],
        incident: Callable[[str, str], Mapping[str, Any] | None],
    ) -> None:
        self.whole = whole
        self._incident = incident

    async def handle(self, _: web.Request) -> web.Response:
        """Answers 200."""
        return web.Response(body=msgspec.json.encode(await self.whole()), content_type="application/json")

    async def one(self, request: web.Request) -> web.Response:
        """Answers 200, or 404."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        found = self._incident(namespace, name)
        if found is None:
            hint = "kubectl get incidents --all-namespaces lists those that are kept"
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such incident, or this replica does not know it", hint)
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")


def read_state(body: bytes) -> StateBody:
    """The state of an answer. Raises ValueError for another body."""
    try:
        return msgspec.json.decode(body, type=StateBody)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"this is no answer of {STATE_PATH}: {error}") from error
