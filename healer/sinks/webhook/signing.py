"""How messages are signed, each way as the other side checks it: https://www.standardwebhooks.com, DingTalk, Feishu."""

import base64
import hashlib
import hmac
from urllib.parse import urlencode

from healer.secret import SecretError

_ENCODED = "whsec_"


def standard(secret: str, identity: str, at: float, body: bytes) -> dict[str, str]:
    """A header: the signature of the identity, the time in seconds and the body. A secret `whsec_...` is in base64.

    Raises SecretError.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_ENCODED), validate=True) if secret.startswith(_ENCODED) else secret.encode()
    except ValueError as error:
        raise SecretError(f"what follows {_ENCODED} in the secret is no base64") from error
    signed = b".".join((identity.encode(), str(int(at)).encode(), body))
    return {"webhook-signature": f"v1,{_digest(key, signed)}"}


def dingtalk(secret: str, at: float) -> str:
    """A query: the time in milliseconds, and the signature of it and the secret, by the secret."""
    moment = str(int(at * 1000))
    return urlencode({"timestamp": moment, "sign": _digest(secret.encode(), f"{moment}\n{secret}".encode())})


def feishu(secret: str, at: float) -> dict[str, str]:
    """Members of the body: the time in seconds, and the signature of nothing, by the time and the secret."""
    moment = str(int(at))
    return {"timestamp": moment, "sign": _digest(f"{moment}\n{secret}".encode(), b"")}


def _digest(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
