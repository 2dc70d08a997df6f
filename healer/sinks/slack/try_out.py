"""One test message to a channel of Slack, outside of any thread."""

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient

from healer.model.incident import Incident
from healer.secret import SecretFile
from healer.sinks.delivery import MessageRefused, TryAgain
from healer.sinks.site import Site
from healer.sinks.slack.call import RetryLater, SlackRefusal, call
from healer.sinks.slack.message import clip
from healer.sinks.slack.settings import SlackSettings
from healer.sinks.words import words

_MOST = 1000


async def try_out(settings: SlackSettings, site: Site, channel: str, incident: Incident) -> str:
    """Post what an incident is to a channel. Returns what Slack answered. Raises TryAgain, MessageRefused or LookupError."""
    if settings.token_file is None:
        raise LookupError("slack has no token_file")
    message = {"channel": channel, "text": clip(words(incident, site).headline, _MOST)}
    limit = aiohttp.ClientTimeout(total=settings.timeout)
    async with aiohttp.ClientSession(timeout=limit, trust_env=True) as session:
        client = AsyncWebClient(base_url=settings.base_url, session=session, retry_handlers=[])
        client.proxy = None
        try:
            place = await call(
                client, "chat.postMessage", SecretFile(settings.token_file), message, lambda said: str(said["channel"])
            )
        except RetryLater as later:
            raise TryAgain(str(later), later.retry_after) from later
        except SlackRefusal as refused:
            raise MessageRefused(refused.code, refused.hint) from refused
    return f"posted in {place}"
