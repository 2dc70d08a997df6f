"""The sinks there are: for each its settings, its addresses and its class."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry

from healer.model.incident import Incident
from healer.rules.vocabulary import AddressSpec, split_address
from healer.sinks.apprise import TAG, AppriseSettings, AppriseSink
from healer.sinks.base import Sink, SinkMeters, SinkSettings
from healer.sinks.delivery import DeliverySink
from healer.sinks.group import Member, Sinks
from healer.sinks.log import LogSettings, LogSink
from healer.sinks.memory import Memory, ProcessMemory
from healer.sinks.pagerduty import SERVICE, PagerDutySettings, PagerDutySink
from healer.sinks.site import Site
from healer.sinks.slack.settings import CHANNEL, SlackSettings
from healer.sinks.slack.sink import SlackSink
from healer.sinks.slack.try_out import try_out
from healer.sinks.tracing import TracingSettings, TracingSink
from healer.sinks.webhook.settings import WEBHOOK, WebhookSettings
from healer.sinks.webhook.sink import WebhookSink

S = TypeVar("S", bound=SinkSettings)


@dataclass(frozen=True)
class SinkKind(Generic[S]):
    """A kind of sink: what can be set, how one is made, and how rules address it."""

    settings: type[S]
    make: Callable[[S, Site, SinkMeters, Memory], Sink]
    addresses: AddressSpec | None = None
    """None: it has no addresses, and every incident is told there."""
    trial: Callable[[S, Site, str, Incident], Awaitable[str]] | None = None
    """Sends one test message; None: a DeliverySink does it itself."""

    async def try_out(self, settings: S, site: Site, address: str, incident: Incident) -> str:
        """Send one test message to an address. Returns what the other side answered.

        Raises TryAgain or MessageRefused, and LookupError when the address is not set up.
        """
        if self.trial is not None:
            return await self.trial(settings, site, address, incident)
        sink = self.make(settings, site, SinkMeters(CollectorRegistry()), ProcessMemory())
        if not isinstance(sink, DeliverySink):
            raise LookupError(f"the sink {sink.name} has no test message")
        return await sink.try_out(address, incident)

    def build(self, options: Mapping[str, object], site: Site, meters: SinkMeters, memory: Memory) -> Member:
        """A sink. Raises pydantic.ValidationError, which says where, on an unknown or wrong option."""
        sink = self.make(self.settings.model_validate(dict(options)), site, meters, memory)
        return Member(sink, None if self.addresses is None else self.addresses.kind)


SINKS: dict[str, SinkKind[Any]] = {
    "log": SinkKind(LogSettings, lambda settings, site, meters, memory: LogSink(settings, meters)),
    "slack": SinkKind(SlackSettings, SlackSink, CHANNEL, try_out),
    "pagerduty": SinkKind(PagerDutySettings, PagerDutySink, SERVICE),
    "tracing": SinkKind(TracingSettings, TracingSink),
    "apprise": SinkKind(AppriseSettings, AppriseSink, TAG),
    "webhook": SinkKind(WebhookSettings, WebhookSink, WEBHOOK),
}


def wanted(sections: Mapping[str, SinkSettings]) -> dict[str, dict[str, object]]:
    """The options of the sinks that are set up, and of all sinks without a section."""
    settings = {name: sections[name] if name in sections else sink.settings() for name, sink in SINKS.items()}
    return {name: section.model_dump() for name, section in settings.items() if section.enabled}


def missing(sections: Mapping[str, SinkSettings], addresses: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The sinks that some of these addresses are of and that are not set up, each with the fields that it needs."""
    kinds = {split_address(address)[0] for address in addresses}
    for name, section in sections.items():
        spec = SINKS[name].addresses
        if spec is not None and spec.kind in kinds and not section.enabled:
            yield name, section.required


def build(
    wanted: Mapping[str, Mapping[str, object]],
    meters: SinkMeters,
    further: Sequence[Sink] = (),
    memory: Memory | None = None,
    site: Site | None = None,
) -> Sinks:
    """The sinks named in `wanted`, with their options, and `further` ready ones. Raises ValueError on an unknown name.

    memory: what lets a sink go on where another process stopped; without one, it is this process's. site: where healer runs;
    without one, nothing is known of it.
    """
    unknown = sorted(set(wanted) - set(SINKS))
    if unknown:
        raise ValueError(f"there is no sink {unknown[0]!r}; there are {', '.join(sorted(SINKS))}")
    kept = ProcessMemory() if memory is None else memory
    built = [SINKS[name].build(options, site or Site(), meters, kept) for name, options in wanted.items()]
    return Sinks([*built, *map(Member, further)], meters)
