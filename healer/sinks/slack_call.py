"""One call of Slack's Web API, and what its failure means: later, or never.

Errors: https://docs.slack.dev/reference/methods/chat.postMessage#errors. Limits: https://docs.slack.dev/apis/web-api/rate-limits.
The SDK's AsyncRateLimitErrorRetryHandler is not used: in 3.47 it reads only the first digit of Retry-After.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from healer.secret import SecretError, SecretFile

_DEFAULT_RETRY_AFTER = 30.0

_PASSING = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"})
_LIMITED = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
FORM_ERRORS = frozenset(
    {
        "duplicate_channel_not_found",  # these two are about client_msg_id
        "duplicate_message_not_found",
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "msg_too_long",
    }
)
"""Slack dislikes the form of a message: plain text may pass."""
EDIT_ERRORS = frozenset({"cant_update_message", "edit_window_closed", "message_not_found", "update_failed"})
"""A message cannot be edited any more."""

_TOKEN = "put a valid bot token (xoxb-...) with the scope chat:write into the file that token_file names"
_HINTS = {
    "account_inactive": _TOKEN,
    "invalid_auth": _TOKEN,
    "not_authed": _TOKEN,
    "token_expired": _TOKEN,
    "token_revoked": _TOKEN,
    "no_token": _TOKEN,
    "missing_scope": "grant the Slack app the scope chat:write (and chat:write.public for channels it has not joined)",
    "channel_not_found": "check the channel's name in `notify` or the sink's `channel`; invite the app if it is private",
    "not_in_channel": "invite the app to the channel (/invite), or grant it chat:write.public",
    "is_archived": "unarchive the channel or name another one",
    "message_not_found": "somebody deleted the message; its thread goes on where Slack allows",
    "edit_window_closed": "the workspace limits how long messages can be edited; the thread goes on",
}


class Later(Exception):
    """It may pass: try again, after `retry_after` seconds when Slack named a time."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Never(Exception):
    """It will not pass until a person changes something: `code` is Slack's word for it, `hint` says what to do."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        self.hint = _HINTS.get(code, "see https://docs.slack.dev/reference/methods/chat.postMessage#errors")


@dataclass(frozen=True, slots=True)
class Sent:
    """Where Slack put a message: the channel's id, and the timestamp that names the message in it."""

    channel: str
    ts: str


async def call(client: AsyncWebClient, method: str, token: SecretFile, arguments: Mapping[str, object]) -> Sent:
    """Call `method` (chat.postMessage or chat.update). Raises Later or Never."""
    try:
        response = await client.api_call(method, json={**arguments, "token": token.read()})
        return Sent(str(response["channel"]), str(response["ts"]))
    except SecretError as error:
        raise Never("no_token") from error
    except SlackClientError as error:
        raise _judge(getattr(error, "response", None)) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Later(f"{type(error).__name__}: {error}") from error
    except (AttributeError, KeyError, LookupError, ValueError) as error:
        # The SDK trips like this over a 200 that is not Slack's: a proxy's text page, a JSON list, an unknown charset.
        raise Later(f"the answer is not Slack's ({type(error).__name__})") from error


def _judge(response: object) -> Later | Never:
    """What an answer other than ok means."""
    if not isinstance(response, AsyncSlackResponse):
        return Later("the answer is not JSON")
    code = str(response.data.get("error", "")) if isinstance(response.data, dict) else ""
    if response.status_code == 429 or code in _LIMITED:
        return Later("rate limited", _seconds(response.headers.get("Retry-After")))
    if response.status_code >= 500 or code in _PASSING or not code:
        return Later(f"HTTP {response.status_code} {code}".rstrip())
    return Never(code)


def _seconds(header: str | None) -> float:
    """Retry-After in seconds; Slack sends whole ones."""
    return float(header) if header is not None and header.isdecimal() else _DEFAULT_RETRY_AFTER
