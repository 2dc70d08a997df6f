"""The settings of the webhook sink, and how its targets are written in `notify`."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from healer.section import Section
from healer.sinks.targets import DeliverySettings, addresses
from healer.sinks.webhook.template import load

WEBHOOK = addresses(
    "webhook", "webhook", "webhook.targets", "webhook:teams", "a webhook, by its name in the setting `webhook.targets`"
)


class WebhookTarget(Section):
    """One webhook."""

    url: str = Field("", pattern=r"^(https?://[^\s?@]+)?$")
    """Where to post. A URL that holds a secret, as those of most chats do, belongs into url_file."""
    url_file: Path | None = None
    """A file with the URL; read anew for each message."""
    template: str = Field("json", min_length=1)
    """`json`: the whole incident, for programs; `teams`, `mattermost`, `dingtalk`, `feishu`, `wecom`; or the path of a file."""
    hmac_file: Path | None = None
    """A file with the secret that signs messages."""
    token_file: Path | None = None
    """A file with a bearer token to send."""
    ca_file: Path | None = None
    """A file with the certificates to trust; empty: the system's."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.url) is (self.url_file is not None):
            raise ValueError("a webhook needs url or url_file: set one of them (a URL with a secret belongs into the file)")
        return self


class WebhookSettings(DeliverySettings):
    """Webhooks: for programs, and for chats by a template."""

    targets: dict[str, WebhookTarget] = {}  # noqa: RUF012 - pydantic copies it
    """The webhooks by the names that rules use: `{"teams": {"url_file": "/etc/healer/secrets/teams-url", "template": "teams"}}`.
    docs/people.md has the keys: url or url_file, template, hmac_file, token_file, ca_file. Without one, nothing is posted."""

    required: ClassVar = ("targets",)
    section: ClassVar = "WEBHOOK"
    named_in: ClassVar = "targets"
    noun: ClassVar = "webhook"

    def template_faults(self) -> list[str]:
        """What is wrong with the templates of its targets."""
        found: list[str] = []
        for name, target in self.targets.items():
            try:
                if target.template != "json":
                    load(target.template)
            except ValueError as error:
                found.append(f"webhook:{name}: {error}")
        return found

    @property
    def secret(self) -> Path | None:
        """A secret of the first webhook that has one."""
        found = (file for each in self.targets.values() for file in (each.hmac_file, each.token_file, each.url_file))
        return next((file for file in found if file is not None), None)
