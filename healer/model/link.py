"""Links for people, from alerts and settings of others. A link is shown as it is or not at all.

A link that is shortened or redacted leads elsewhere. One that holds what must be redacted is left out.
"""

import re
from collections.abc import Mapping

from healer.model.redact import redact

MOST_LINKS = 8
"""The most links of an incident. The definition of incidents allows no more."""
LONGEST_LINK = 2000
"""The most characters of a link."""
_LINK = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(?:[/?#][!#$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]*)?", re.ASCII)
"""An address without a user and a password, in the characters of RFC 3986: none of them ends a link in Slack or in HTML."""


def safe_link(text: str) -> str:
    """The link; "" for a text that is none, that is too long, or that holds a secret or personal data."""
    if len(text) > LONGEST_LINK or _LINK.fullmatch(text) is None or redact(text) != text:
        return ""
    return text


def safe_links(links: Mapping[str, str]) -> dict[str, str]:
    """Those of the links, by what they lead to, that can be shown, at most MOST_LINKS."""
    shown = {name: link for name, text in links.items() if (link := safe_link(text))}
    return dict(list(shown.items())[:MOST_LINKS])
