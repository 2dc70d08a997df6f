"""Telling people for a test: one marked message through a sink as it is set up."""

from healer.model.incident import Entry, Incident, Reason, State
from healer.model.target import Target
from healer.rules.vocabulary import split_address
from healer.section import PREFIX
from healer.settings import Settings
from healer.sinks.registry import SINKS
from healer.sinks.words import TEST


class NotSetUp(Exception):
    """Nobody can be told at an address: it is none, or its sink is not set up."""


async def tell_test(address: str, settings: Settings, now: float) -> str:
    """Send a test message to an address. Returns what the other side answered.

    Raises NotSetUp, and what the sink raises when its message is not taken: TryAgain or MessageRefused. now: seconds since the
    epoch.
    """
    kind, rest = split_address(address)
    sinks = {name: sink for name, sink in SINKS.items() if sink.addresses is not None}
    found = next((name for name, sink in sinks.items() if sink.addresses is not None and sink.addresses.kind == kind), None)
    spec = None if found is None else SINKS[found].addresses
    if found is None or spec is None:
        known = ", ".join(sink.addresses.example for sink in sinks.values() if sink.addresses is not None)
        raise NotSetUp(f"{address!r} is not an address: no sink has addresses of the kind {kind!r}; there are {known}")
    if not spec.valid(rest):
        raise NotSetUp(f"{address!r} is not a {spec.noun}: {spec.hint(rest)}")
    section = settings.sinks[found]
    if not section.enabled:
        knobs = " and ".join(f"{PREFIX}{found}__{field}".upper() for field in section.required)
        raise NotSetUp(f"the sink {found} is not set up: set {knobs}")
    try:
        return await SINKS[found].try_out(section, settings.site, rest, marked_incident(address, now))
    except LookupError as error:
        raise NotSetUp(str(error.args[0])) from error
    except ValueError as error:
        raise NotSetUp(str(error)) from error


def marked_incident(address: str, now: float) -> Incident:
    """What a test message tells: an incident that is none."""
    reason = Reason("Test", "a test of healer's messages (healer notify test): nothing is wrong, and there is nothing to do")
    return Incident(
        id=f"healer-test-{int(now)}",
        rule=TEST,
        workload=Target("Healer", "", "test", ""),
        severity="info",
        mode="observe",
        notify=(address,),
        opened_at=now,
        changed_at=now,
        state=State.ESCALATED,
        reason=reason,
        targets={},
        steps=(),
        history=(Entry(now, State.ESCALATED, reason),),
    )
