"""A check, before the first incident, of what the Slack app may do: its token, its scopes, the channels that it is in.

https://docs.slack.dev/reference/methods/auth.test needs no scope and names those that the token has in a header;
https://docs.slack.dev/reference/methods/users.conversations lists the channels that the app has joined, and needs channels:read.
"""

from collections.abc import Collection

from healer.sinks.slack.call import TOKEN_ERRORS, SlackRefusal
from healer.sinks.slack.search import SlackCall, joined_channels

POST, READ, POST_ANYWHERE = "chat:write", "channels:read", "chat:write.public"


async def access_problems(slack: SlackCall, channels: Collection[str], scopes: Collection[str] | None) -> list[str]:
    """What would keep messages from these channels, a sentence each; none when all is well or cannot be known.

    `scopes`: those of the token; None where Slack does not say. Raises RetryLater, and SlackRefusal for a bad token.
    """
    if scopes is not None and POST not in scopes:
        return [f"Slack's token lacks the scope {POST}: no message will be posted; grant it to the app and reinstall the app"]
    if scopes is not None and (POST_ANYWHERE in scopes or READ not in scopes):
        return []  # any public channel may be posted to; or which ones were joined cannot be asked
    try:
        ids, names = await joined_channels(slack)
    except SlackRefusal as refused:
        if refused.code in TOKEN_ERRORS:
            raise
        return []
    absent = [channel for channel in channels if channel not in ids and channel.removeprefix("#") not in names]
    return [
        f"Slack's app is not in {channel}, or the channel is archived or does not exist: nothing will be posted there; "
        f"invite the app (/invite), name another channel, or grant it {POST_ANYWHERE}"
        for channel in absent
    ]
