"""What Slack posts when a person presses a button: POST /slack/interactions, signed."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs

import msgspec

from healer.secret import SecretError, SecretFile
from healer.sinks.commands import PostRefused
from healer.sinks.slack.buttons import Press, parse_press
from healer.sinks.slack.signature import BadSignature, check_signature

INTERACTIONS = "/slack/interactions"


class Interactions:
    """`take` notes a press, and returns False when it cannot; `clock` gives seconds since the epoch."""

    def __init__(self, secret: SecretFile, take: Callable[[Press], bool], clock: Callable[[], float]) -> None:
        self._secret = secret
        self._take = take
        self._clock = clock

    async def receive(self, headers: Mapping[str, str], body: bytes) -> str:
        """Note what was pressed. Slack wants its answer within 3 s: what follows is told to the person afterwards."""
        try:
            check_signature(self._secret.read(), headers, body, self._clock())
            (payload,) = parse_qs(body.decode(), strict_parsing=True, max_num_fields=10)["payload"]
            press = parse_press(msgspec.json.decode(payload))
        except BadSignature as error:
            raise PostRefused(HTTPStatus.UNAUTHORIZED, str(error)) from error
        except SecretError as error:
            raise PostRefused(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        except (LookupError, ValueError, msgspec.MsgspecError) as error:
            raise PostRefused(HTTPStatus.BAD_REQUEST, f"the body is no interaction of Slack: {error}") from error
        if press is not None and not self._take(press):
            raise PostRefused(HTTPStatus.SERVICE_UNAVAILABLE, "too many presses of buttons wait")
        return ""
