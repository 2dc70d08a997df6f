"""Settings whose values hold a secret, although a file could: whoever may read the pod or the environment reads them too."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from healer.section import PREFIX
from healer.settings import Settings

_SECRET = re.compile(r"token|secret|passw|api.?key|auth|credential", re.IGNORECASE)


def exposed(settings: Settings) -> Iterator[str]:
    """A sentence for each such setting: what it holds and what to use instead. No secret is in it."""
    places = {
        "PROMETHEUS__URL": (settings.prometheus.url, "PROMETHEUS__USER and PROMETHEUS__PASSWORD_FILE"),
        "ALERTS__URL": (settings.alerts.url, "ALERTS__TOKEN_FILE"),
    }
    for name, (urls, instead) in places.items():
        if any(map(_has_password, urls.split(","))):
            better = " and ".join(PREFIX + each for each in instead.split(" and "))
            yield f"{PREFIX}{name} holds a password, which everyone can read who may read healer's pod: use {better}"
    named = {"HEADERS": settings.prometheus.headers, "PARAMS": settings.prometheus.params}
    for name, values in named.items():
        for key in values:
            if _SECRET.search(key):
                better = f"put it into a file, and the file into {PREFIX}PROMETHEUS__HEADER_FILES"
                yield f"{PREFIX}PROMETHEUS__{name} seems to hold a secret ({key}) that all who see the pod can read: {better}"


def _has_password(url: str) -> bool:
    try:
        return bool(urlsplit(url.strip()).password)
    except ValueError:  # no URL: whoever asks there says so
        return False
