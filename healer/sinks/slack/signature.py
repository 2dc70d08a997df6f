"""Whether a request comes from Slack: its signature and its time (https://docs.slack.dev/authentication/verifying-requests-from-slack)."""

import hashlib
import hmac
from collections.abc import Mapping

WINDOW = 300.0
"""Seconds that the time of a request may differ from ours."""


class BadSignature(Exception):
    """The request is not Slack's, or old. The message says which."""


def check_signature(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Raises BadSignature. `headers` are looked up in lower case."""
    stamp, given = headers.get("x-slack-request-timestamp", ""), headers.get("x-slack-signature", "")
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12) or not given:
        raise BadSignature("the request carries no signature of Slack, or no time")
    if abs(now - int(stamp)) > WINDOW:
        raise BadSignature("the request is too old, or the clocks differ by minutes")
    wanted = "v0=" + hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted.encode(), given.encode()):
        raise BadSignature("the signature is not that of HEALER_SLACK__SIGNING_SECRET_FILE")
