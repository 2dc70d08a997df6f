"""The webhook sink: posts the newest state of incidents to named URLs, signed where there is a secret."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2s
from typing import Any

from healer.clock import SYSTEM
from healer.model.incident import Incident
from healer.secret import SecretError, SecretFile
from healer.section import PREFIX
from healer.sinks.base import LineMark, SinkMeters
from healer.sinks.delivery import DeliverySink, Errand, MessageRefused, TryAgain
from healer.sinks.memory import Memory
from healer.sinks.post import PostAnswer, Poster
from healer.sinks.site import Site
from healer.sinks.webhook import signing
from healer.sinks.webhook.document import document
from healer.sinks.webhook.settings import WebhookSettings, WebhookTarget
from healer.sinks.webhook.template import BodyTemplate, load
from healer.sinks.words import milestone

_LATER = 30.0
"""Seconds to wait after an answer that says later, and not when."""


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A body, and its identity: the same when it is sent again."""

    identity: str
    body: dict[str, Any]


class HookTarget:
    """One target: its URL, secrets, template. Raises ValueError for a template that cannot be used."""

    def __init__(self, name: str, target: WebhookTarget, timeout: float) -> None:
        self.name = name
        self._url = target.url
        self._url_file = None if target.url_file is None else SecretFile(target.url_file)
        self._secret = None if target.hmac_file is None else SecretFile(target.hmac_file)
        self._token = None if target.token_file is None else SecretFile(target.token_file)
        self.poster = Poster(timeout, target.ca_file)
        self.template: BodyTemplate | None = None
        try:
            if target.template != "json":
                self.template = load(target.template)
        except ValueError as error:
            raise ValueError(f"{PREFIX}WEBHOOK__TARGETS: {name}: {error}") from error

    @property
    def each_change(self) -> bool:
        """Whether each line of a history is told, and not milestones alone."""
        return self.template is None or self.template.file.tells == "changes"

    def problems(self) -> list[str]:
        """What cannot be read."""
        files = [file for file in (self._url_file, self._secret, self._token) if file is not None]
        found = []
        for file in files:
            try:
                file.read()
            except SecretError as error:
                found.append(f"nobody is told by webhook:{self.name}: {error}")
        return found + self.poster.problems()

    async def post(self, message: WebhookMessage, now: float) -> str:
        """Post a message. Raises TryAgain, MessageRefused or SecretError."""
        how = "standard" if self.template is None else self.template.file.sign
        url = self._url if self._url_file is None else self._url_file.read()
        secret = "" if self._secret is None else self._secret.read()
        content = message.body
        if secret and how == "feishu":
            content = signing.feishu(secret, now) | content
        if secret and how == "dingtalk":
            url += ("&" if "?" in url else "?") + signing.dingtalk(secret, now)
        body = json.dumps(content, ensure_ascii=False).encode()
        headers = {"webhook-id": message.identity, "webhook-timestamp": str(int(now))}
        if secret and how == "standard":
            headers |= signing.standard(secret, message.identity, now, body)
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.read()}"
        answer = await self.poster.post(
            url, body, headers, f"look at the URL, the secrets and the template of webhook:{self.name}"
        )
        if self.template is not None:
            self._read(answer, self.template)
        return str(answer)

    def _read(self, answer: PostAnswer, template: BodyTemplate) -> None:
        """Some answer 200 and say in the body that they refuse."""
        if not template.file.taken:
            return
        try:
            said = json.loads(answer.body)
        except ValueError as error:
            raise TryAgain(f"the answer is not the chat's: {answer}") from error
        if not isinstance(said, dict):
            raise TryAgain(f"the answer is not the chat's: {answer}")
        if all(said.get(key) == value for key, value in template.file.taken.items()):
            return
        if any(said.get(key) in values for key, values in template.file.again.items()):
            raise TryAgain(str(answer), _LATER)
        raise MessageRefused(str(answer), f"look at the URL and the secret of webhook:{self.name}, and at the robot's settings")


class WebhookSink(DeliverySink[WebhookMessage]):
    """Posts to webhooks; see `Sink`. clock: seconds since the epoch. Raises ValueError for a template that cannot be used."""

    name = "webhook"

    def __init__(
        self,
        settings: WebhookSettings,
        site: Site,
        meters: SinkMeters,
        memory: Memory,
        *,
        clock: Callable[[], float] = SYSTEM.wall,
    ) -> None:
        super().__init__(settings.targets, settings.pace, meters, memory, settings.variable("targets"))
        self._site = site
        self._clock = clock
        self._hooks = {name: HookTarget(name, target, settings.timeout) for name, target in settings.targets.items()}

    def connected(self) -> AbstractAsyncContextManager[object]:
        """A session for each webhook."""
        return self._sessions()

    @asynccontextmanager
    async def _sessions(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for hook in self._hooks.values():
                await stack.enter_async_context(hook.poster)
            yield

    async def problems(self, target: str) -> list[str]:
        """Secrets that cannot be read."""
        return self._hooks[target].problems()

    def errand(self, incident: Incident, target: str, told: Mapping[str, str]) -> Errand[WebhookMessage] | None:
        """The newest state, unless it was told."""
        hook = self._hooks[target]
        now = str(LineMark.of(incident.history[-1])) if hook.each_change and incident.history else milestone(incident).value
        if told.get("told") == now:
            return None
        identity = blake2s("\n".join((incident.id, target, now)).encode(), digest_size=16).hexdigest()
        body = document(incident, self._site) if hook.template is None else hook.template.body(incident, self._site)
        return Errand(WebhookMessage(f"msg_{identity}", body), {"told": now})

    async def send(self, target: str, message: WebhookMessage) -> str:
        """Post a message."""
        try:
            return await self._hooks[target].post(message, self._clock())
        except SecretError as error:
            raise MessageRefused(str(error), "put the secret into the file that webhook.targets names") from error
