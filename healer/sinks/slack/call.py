"""One call of Slack's Web API, and what its failure means: retry later, or refused.

Errors: https://docs.slack.dev/reference/methods/chat.postMessage#errors. Limits: https://docs.slack.dev/apis/web-api/rate-limits.
The SDK's AsyncRateLimitErrorRetryHandler is not used: in 3.47 it reads only the first digit of Retry-After.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import aiohttp
from slack_sdk.errors import SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from healer.secret import SecretError, SecretFile

T = TypeVar("T")

_DEFAULT_RETRY_AFTER = 30.0

_PASSING = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"})
_LIMITED = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
FORM_ERRORS = frozenset(
    {
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "msg_too_long",
    }
)
"""Slack refuses the form of a message; it may take plain text."""
EDIT_ERRORS = frozenset({"cant_update_message", "edit_window_closed", "message_not_found", "update_failed"})
"""A message cannot be edited any more."""

TOKEN_ERRORS = frozenset({"account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked", "no_token"})
"""Slack refuses every call until a person replaces the token."""
WORKSPACE_ERRORS = TOKEN_ERRORS | {"missing_scope", "ekm_access_denied", "org_login_required", "not_allowed_token_type"}
"""Every channel refuses messages."""
_FORMS = frozenset(
    {"auth.test", "conversations.history", "conversations.replies", "users.conversations", "usergroups.users.list"}
)
"""Methods that read; their documentation names JSON only of late, and forms ever since."""

_TOKEN = "put a valid bot token (xoxb-...) with the scope chat:write into the file that token_file names"
_HINTS = {
    **dict.fromkeys(TOKEN_ERRORS, _TOKEN),
    "missing_scope": "grant the Slack app the scope chat:write (and chat:write.public for channels it has not joined)",
    "channel_not_found": "check the channel's name in `notify` or the sink's `channel`; invite the app if it is private",
    "not_in_channel": "invite the app to the channel (/invite), or grant it chat:write.public",
    "is_archived": "unarchive the channel or name another one",
    "message_not_found": "somebody deleted the message; its thread goes on where Slack allows",
    "edit_window_closed": "the workspace limits how long messages can be edited; the thread goes on",
}


class RetryLater(Exception):
    """The call may succeed later, after `retry_after` seconds when Slack says so. `doubtful`: Slack may have executed it."""

    def __init__(self, reason: str, retry_after: float | None = None, *, doubtful: bool = True) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.doubtful = doubtful


class SlackRefusal(Exception):
    """The call fails until a person changes something: `code` is Slack's error, `hint` says what to do."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        self.hint = _HINTS.get(code, "see https://docs.slack.dev/reference/methods/chat.postMessage#errors")


async def call(
    client: AsyncWebClient,
    method: str,
    token: SecretFile,
    arguments: Mapping[str, object],
    read: Callable[[Mapping[str, Any]], T],
    heard: Callable[[Mapping[str, str]], None] | None = None,
) -> T:
    """Call `method` and `read` the answer; `heard` is given its headers. Raises RetryLater or SlackRefusal.

    By Slack's documentation an internal_error or fatal_error may come after a part of the call was executed. So may every failure
    except a refusal and a connection that was not made.
    """
    try:
        headers = {"Authorization": f"Bearer {token.read()}"}
        if method in _FORMS:
            response = await client.api_call(method, data=dict(arguments), headers=headers)
        else:
            response = await client.api_call(method, json=dict(arguments), headers=headers)
        if heard is not None:
            heard(response.headers)
        return read(response.data if isinstance(response.data, dict) else {})
    except SecretError as error:
        raise SlackRefusal("no_token") from error
    except SlackClientError as error:
        raise _failure_of(getattr(error, "response", None)) from error
    except aiohttp.ClientConnectorError as error:
        raise RetryLater(f"{type(error).__name__}: {error}", doubtful=False) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise RetryLater(f"{type(error).__name__}: {error}") from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # The SDK raises these for a 200 that is not Slack's: a proxy's text page, a JSON list, an unknown charset.
        raise RetryLater(f"the answer is not Slack's ({type(error).__name__})") from error


def _failure_of(response: object) -> RetryLater | SlackRefusal:
    """The error that an answer other than ok stands for."""
    if not isinstance(response, AsyncSlackResponse):
        return RetryLater("the answer is not JSON")
    code = str(response.data.get("error", "")) if isinstance(response.data, dict) else ""
    if response.status_code == 429 or code in _LIMITED:
        return RetryLater("rate limited", _seconds(response.headers.get("Retry-After")), doubtful=False)
    if response.status_code >= 500 or code in _PASSING or not code:
        return RetryLater(f"HTTP {response.status_code} {code}".rstrip())
    return SlackRefusal(code)


def _seconds(header: str | None) -> float:
    """Retry-After in seconds; Slack sends whole ones."""
    return float(header) if header is not None and header.isdecimal() else _DEFAULT_RETRY_AFTER
