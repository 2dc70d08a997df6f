"""The many other chats and pagers, by the library Apprise: https://github.com/caronc/apprise. It is an extra: healer[apprise].

Apprise's calls block, so they run in threads of their own. It says that a service failed, and in words why, but not whether for
good.
So a message is sent again until each service of the tag has taken it, and to none that has.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from hashlib import blake2s
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from healer.model.incident import Incident
from healer.model.text import free_text
from healer.secret import SecretError, SecretFile
from healer.section import PREFIX
from healer.sinks.base import SinkMeters
from healer.sinks.delivery import DeliverySink, Errand, MessageRefused, TryAgain
from healer.sinks.memory import Memory
from healer.sinks.site import Site
from healer.sinks.targets import DeliverySettings, addresses
from healer.sinks.words import Tone, milestone, neutral, tone, words

_THREADS = 4
_SHOWN = 200
_TYPES = {Tone.URGENT: "failure", Tone.WARNING: "warning", Tone.GOOD: "success", Tone.INFO: "info"}
"""Apprise's types of notifications."""

TAG = addresses(
    "apprise",
    "tag of Apprise",
    "apprise.tags",
    "apprise:ml-oncall",
    "the services that have this tag in the file of the setting `apprise.urls_file`",
)


class AppriseSettings(DeliverySettings):
    """Messages by the library Apprise (`pip install 'healer[apprise]'`)."""

    urls_file: Path | None = None
    """A file with Apprise's configuration, text (`ml-oncall=discord://...`, one a line) or YAML; read again when it changes.
    Without one, nothing is sent by Apprise."""
    tags: tuple[str, ...] = ()
    """The tags of that file that rules may name: `ml-oncall,sre`."""

    required: ClassVar = ("urls_file", "tags")

    section: ClassVar = "APPRISE"
    named_in: ClassVar = "tags"
    noun: ClassVar = "tag"

    @property
    def enabled(self) -> bool:
        """Whether there are URLs and tags."""
        return self.urls_file is not None and bool(self.tags)

    @property
    def secret(self) -> Path | None:
        """The file of the URLs."""
        return self.urls_file

    @property
    def incomplete(self) -> str:
        """One of both alone tells nobody."""
        if self.enabled or (self.urls_file is None and not self.tags):
            return super().incomplete
        lacking = "TAGS" if self.urls_file is not None else "URLS_FILE"
        return f"{PREFIX}APPRISE__{lacking} is not set: nothing is sent by Apprise; it needs the file and its tags"


@dataclass(frozen=True, slots=True)
class AppriseMessage:
    """What is sent, and its identity."""

    identity: str
    title: str
    body: str
    kind: str


class AppriseSink(DeliverySink[AppriseMessage]):
    """Tells the services of tags; see `Sink`. Raises ValueError when the library is not installed."""

    name = "apprise"

    def __init__(self, settings: AppriseSettings, site: Site, meters: SinkMeters, memory: Memory) -> None:
        super().__init__(settings.tags, settings.pace, meters, memory, settings.variable("tags"))
        if settings.urls_file is None:
            raise ValueError(f"{PREFIX}APPRISE__URLS_FILE: not given; Apprise needs a file with URLs")
        try:
            self._library: Any = import_module("apprise")
        except ImportError as error:
            raise ValueError(
                f"{PREFIX}APPRISE__URLS_FILE is set, and the library apprise is not installed: pip install 'healer[apprise]', or "
                "unset it"
            ) from error
        self._site = site
        self._timeout = settings.timeout
        self._file = SecretFile(settings.urls_file)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="apprise")
        self._config: tuple[str, Any] = ("", None)
        self._reached: OrderedDict[str, set[int]] = OrderedDict()
        """The services that have taken a message that others have not, by its identity."""

    def connected(self) -> AbstractAsyncContextManager[object]:
        """Apprise connects anew for each message."""
        return nullcontext()

    async def problems(self, target: str) -> list[str]:
        """A file that cannot be read, a tag that no usable URL has."""
        try:
            await self._in_thread(self._services, target)
        except SecretError as error:
            return [f"nobody is told by apprise:{target}: {error}"]
        except MessageRefused as refused:
            return [f"nobody is told by apprise:{target}: {refused}: {refused.hint}"]
        return []

    def errand(self, incident: Incident, target: str, told: Mapping[str, str]) -> Errand[AppriseMessage] | None:
        """The newest milestone, unless it was told."""
        now = milestone(incident).value
        if told.get("told") == now:
            return None
        identity = blake2s("\n".join((incident.id, target, now)).encode(), digest_size=16).hexdigest()
        said, colour = words(incident, self._site), tone(incident)
        lines = {
            "Why": neutral(said.reason),
            "Done": neutral(said.done),
            "Severity": f"{incident.severity}, after {said.lasted}",
            "Rule": incident.rule,
            "What the rule is for": neutral(incident.background.description),
            "Asked": neutral(incident.background.asks),
            "Next": said.command,
            **{name.capitalize(): link for name, link in said.links.items()},
        }
        body = "\n".join(f"{name}: {text}" for name, text in lines.items() if text)
        return Errand(AppriseMessage(identity, f"{colour.icon} {neutral(said.headline)}", body, _TYPES[colour]), {"told": now})

    async def send(self, target: str, message: AppriseMessage) -> str:
        """Send a message to all services of the tag that have not taken it."""
        try:
            return str(await self._in_thread(self._send, target, message))
        except SecretError as error:
            raise MessageRefused(str(error), "put Apprise's configuration into the file that apprise.urls_file names") from error

    async def _in_thread(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    # in a thread

    def _services(self, tag: str) -> list[Any]:
        """The services of a tag. Raises SecretError or MessageRefused."""
        text = self._file.read()
        if self._config[0] != text:
            config = self._library.AppriseConfig()
            config.add_config(text)
            whole = self._library.Apprise()
            whole.add(config)
            self._config = text, whole
            self._reached.clear()
        found = list(self._config[1].find(tag))
        if not found:
            raise MessageRefused(
                f"no usable URL has the tag {tag}", f"give one the tag in {self._file.path}: {tag}=discord://..."
            )
        return found

    def _send(self, tag: str, message: AppriseMessage) -> str:
        services = self._services(tag)
        taken = self._reached.setdefault(message.identity, set())
        why: list[str] = []
        for index, service in enumerate(services):
            if index not in taken:
                one = self._library.Apprise()
                one.add(service)
                said = one.notify(
                    message.body, title=message.title, notify_type=message.kind, body_format="text", timeout=self._timeout
                )
                if said:
                    taken.add(index)
                else:
                    why.append(f"{service.service_name}: {' '.join(_said(said)) or said.status.value}")
        if why:
            while len(self._reached) > self._pace.capacity:
                self._reached.popitem(last=False)
            raise TryAgain(free_text("; ".join(why), _SHOWN))
        del self._reached[message.identity]
        return ", ".join(str(service.service_name) for service in services) + f": taken by {len(services)}"


def _said(result: Any) -> Iterator[str]:
    for entry in result.logs():
        if entry.level in ("WARNING", "ERROR"):
            yield entry.message
