"""Removes personal data and secrets from every free text before it leaves healer (promise 12).

Every pattern takes time linear in the length of the text. A look-behind lets a match start only at the edge of a run, so that no
run is scanned twice, and repetitions are possessive or bounded. A possessive one repeats a single character or a set, never a
group: before Python 3.11.5 a possessive group that can backtrack matches wrongly (cpython issue 106052). A pattern is tried only
when the text contains one of its signs, because the search for a sign takes a hundredth of the time. Names of Kubernetes objects,
uids, IP addresses, image digests, times and plain numbers stay.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from healer.model.redact_numbers import redact_numbers

SECRET = "[secret]"
SLACK = 1000
"""The characters that are redacted beyond a cut, and then dropped: half a secret would not be recognised."""
_SHORT = 128
"""The length, in characters, up to which a text is probably a name that recurs. Such texts are cached."""
PIECE = 16_384
"""The characters of a piece of a long text (`redact_in_pieces`): some 20 ms, of which no pattern takes more than 8."""
_LOGGED = 16_384
"""The most characters of one text in a log event."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern and its replacement. It is tried when the text contains one of `signs` (lower case)."""

    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]

    def apply(self, text: str, low: str) -> str:
        """The text with all matches replaced. `low` is the text in lower case."""
        for sign in self.signs:
            if sign in low:
                return self.pattern.sub(self.replacement, text)
        return text


_SEPARATOR = (
    r"(?:\\{0,3}['\"]\s{0,3}[:=：]\s{0,3}|\s{0,1}=\s{0,1}|\s{0,1}[:：]\s{1,12}(?:[|>][+-]?\s{1,12})?|[:：](?=[^\s/:])"
    r"|%3d|\s(?:is|was)\s{0,1}:?\s{1,2}(?=\S{0,100}\d))"
)
"""The text between a key and its value, with the closing quote of the key. The quotes of JSON inside a string are escaped. In
YAML a value may begin on the next line."""
_VALUE = (
    r"(?:\\{1,3}\"(?s:(?!\\{1,3}\").){1,500}\\{1,3}\"|'[^']{1,500}+'|\"(?s:[^\"\\]|\\.){1,500}\""
    r"|(?:\\{0,3}['\"])?[^\s'\",;&\\]++)"
)
"""The value of a key: in quotes, or up to a space. Of one in quotes that is longer, or has no second quote, up to a space."""
_KEYS = (
    r"(?:pass(?:word|wd|phrase|code)|(?<![a-z])(?:pwd?|pass(?==))|pwd(?==)|(?:(?<=store)|(?<=key)|(?<=require)|(?<=--))pass(?![\w-])"
    r"|secret|token|credentials?|x-(?:amz|goog)-signature|(?<!\w)signature(?==)|(?:[?&]|%3f|%26)sig(?:nature)?|session[_-]?id"
    r"|(?:api|access|account|auth|private|secret|shared|signing|encryption|master|license)[ _-]?key)"
)
_REDACTED = re.compile(r"\[[a-z ]{1,20}\]")
"""A replacement that stands for redacted text."""
_KEY_SIGNS = ("pass", "pw", "secret", "token", "credential", "signature", "sig", "session", "key")
_ORDINARY_WORD = re.compile(
    r"(?i)a|an|and|are|bad|been|cannot|context|could|denied|does|due|eof|empty|end|error|expected|"
    r"expired|failed|false|for|forbidden|found|from|has|have|illegal|in|incorrect|invalid|is|it|"
    r"lookup|malformed|mismatch|missing|must|nil|no|none|not|null|of|ok|on|or|refresh|rejected|"
    r"required|revoked|rotated|rotation|signature|stale|that|the|this|timed|to|too|true|unable|"
    r"unauthorized|unexpected|unknown|unset|unsupported|was|were|will|with|wrong"
)
"""Words that a message uses after the name of a password or a token, and that are not its value."""


def _keyed(found: re.Match[str]) -> str:
    """Redact the value of a key. An ordinary word, a count or a working directory is not a secret."""
    key, value = found[1], found[2]
    bare = value.rstrip(".)")
    if _ORDINARY_WORD.fullmatch(bare) or _REDACTED.match(value) or not any(map(str.isalnum, bare)):
        return found[0]
    lower = key.lower()
    if ("token" in lower or lower == "pass=") and bare.isdecimal() and len(bare) < 8:
        return found[0]  # a number of tokens, or of tests
    if "pwd" in lower and value.startswith("/"):
        return found[0]
    return key + SECRET


def _redact_header(found: re.Match[str]) -> str:
    """Redact the value of a header, unless it is an ordinary word."""
    return found[0] if _ORDINARY_WORD.fullmatch(found[2].rstrip(".)")) or _REDACTED.match(found[2]) else found[1] + SECRET


_COMMANDS = (
    r"(?<![\w.-])(?:(?:mysql[a-z]{0,8}|mariadb(?:-[a-z]{1,8})?|mongo[a-z]{0,8}|sshpass|rabbitmqadmin"
    r"|(?:docker|podman|nerdctl|buildah|skopeo|oras|crane|helm registry|cf|argocd)\s{1,3}login)(?![\w.:/-])"
    r"[^\n;&|]{0,200}?[\s'\"]-p"
    r"|(?:redis|valkey)-cli(?![\w.:/-])[^\n;&|]{0,200}?[\s'\"]-a|ldap[a-z]{3,8}(?![\w.:/-])[^\n;&|]{0,200}?[\s'\"]-w"
    r"|(?:sqlcmd|bcp|mosquitto_[a-z]{3})(?![\w.:/-])[^\n;&|]{0,200}?[\s'\"]-P)"
)
"""Commands with the short flag by which they take a password. Others mean a port, a path or a process by it."""
_NO_PORT = re.compile(r"sshpass|(?:redis|valkey)-cli|[a-z ]{2,14}\s{1,3}login")
"""Commands whose flag is never a port."""
_PORTS = re.compile(r"[\d.:]+(?:/(?:tcp|udp))?")


def _flagged(found: re.Match[str]) -> str:
    """Redact what follows a command's flag for a password, unless it is another flag, a port or a path."""
    flag, gap, value = found[1], found[2], found[3]
    other = value.startswith(("-", "/", "|", ">", "<", "$(")) or not any(map(str.isalnum, value))
    if other or _REDACTED.match(value) or (gap and not _NO_PORT.match(flag) and _PORTS.fullmatch(value)):
        return found[0]
    return f"{flag}{gap}{SECRET}"


def _basic_auth(found: re.Match[str]) -> str:
    """Redact a user and a password in base64, as in the configuration of Docker."""
    value = found[2]
    try:
        decoded = b64decode(value[: len(value) // 4 * 4])
    except ValueError:
        return found[0]
    return found[1] + SECRET if b":" in decoded[1:] and decoded.isascii() and decoded.decode("ascii").isprintable() else found[0]


_UNDERSCORED = (
    r"gh[pousr]_\w{16,}+|github_pat_\w{16,}+|glsa_\w{16,}+|hf_[A-Za-z0-9]{16,}+|api_org_[A-Za-z0-9]{16,}+|npm_[A-Za-z0-9]{16,}+"
    r"|[rs]k_(?:live|test)_\w{10,}+|whsec_\w{16,}+|dckr_pat_[\w-]{16,}+|dop_v1_\w{16,}+|shp(?:at|ss|ca|pa)_\w{16,}+"
    r"|gsk_\w{16,}+|r8_\w{16,}+|lin_api_\w{16,}+"
)
_HYPHENED = (
    r"gl(?:pat|rt|dt|cbt|ptt|ft|soat|agent)-[\w-]{16,}+|sk-(?:proj|ant|svcacct|admin|or|live|test|lf)-[\w-]{12,}+"
    r"|sk-(?:(?=[a-z]{0,60}[A-Z0-9])[A-Za-z0-9]{20,}+|[a-z]{26,}+(?![\w-]))|pypi-[\w-]{16,}+|nvapi-[\w-]{16,}+|xai-\w{16,}+|pplx-\w{16,}+"
    r"|AGE-SECRET-KEY-1\w{16,}+"
)
_OTHERS = (
    r"AIza[\w-]{30,}+|hv[sbr]\.[\w-]{16,}+|SG\.[\w-]{16,}+\.[\w-]{16,}+|ya29\.[\w-]{16,}+|ATATT3[\w=-]{16,}+|dapi[0-9a-f]{32}"
    r"|eyJrIjoi[\w=]{16,}+"
)
_INTERNAL_DOMAIN = r"(?:svc|local|internal|cluster|localdomain|lan|intranet|consul|pod|nodes?)"
"""The last labels of host names that are not mail domains: `rabbit@host.svc` is a node of RabbitMQ."""

_PRIVATE_KEY = Pattern(
    ("-----begin",),
    re.compile(
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
        re.S,
    ),
    "[private key]",
)
_PATTERNS = (
    _PRIVATE_KEY,
    Pattern(
        ("://",),
        re.compile(
            r"(?<=://)(?:[^\s/?#@]*+(?:@[^\s/?#@]*+)*@|[^\s/?#@:]{0,100}+:(?!\d{1,5}[/?#])[^\s/?#@]{0,200}+[/?#][^\s@]{1,200}+@)"
        ),
        "[credentials]@",
    ),
    Pattern(("hooks.slack.com",), re.compile(r"(?<=hooks\.slack\.com/)(services|workflows|triggers)/[\w/-]++"), r"\1/[secret]"),
    Pattern(("/webhooks/",), re.compile(r"(?<=/api/webhooks/)\d{5,}+/[\w-]{16,}+"), SECRET),
    Pattern(("xox", "xapp-"), re.compile(r"\bxox[a-z](?:\.xox[a-z])?-[\w-]{8,}+|\bxapp-\d+-[\w-]{8,}+"), "[slack token]"),
    Pattern(("eyj",), re.compile(r"(?<![\w-])eyJ[\w-]{6,}+\.[\w-]{4,}+(?:\.[\w-]*+){0,3}"), "[token]"),
    Pattern(
        ("cookie",),
        re.compile(
            r"(?i)((?<![a-z])(?:set-)?cookie\\{0,3}['\"]?\s{0,3}[:=：]\s{0,3}\\{0,3}['\"]?)"
            r"([\w.$%-]{1,200}+=(?:\"[^\"]{0,500}\"|[^\s;,'\"\\]{1,4000}+)"
            r"(?:;[ \t]?[\w.$%-]{1,200}+(?:=(?:\"[^\"]{0,500}\"|[^\s;,'\"\\]{0,4000}+))?){0,50}|[\w.$%+/-]{5,400}+)"
        ),
        _redact_header,
    ),
    Pattern(
        ("authorization",),
        re.compile(
            r"(?i)(?<![\w])((?:proxy-)?authorization\\{0,3}['\"]?\s{0,3}[:=：]\s{0,3}\\{0,3}['\"]?)"
            r"([a-z]{1,20}+\s{1,3}[^\s'\",;\\]++|[^\s'\",;\\]{8,}+)"
        ),
        _redact_header,
    ),
    Pattern(
        ("bearer",),
        re.compile(r"(?i)\b(bearer\s{1,3})(?:(?=[\w.~+/-]{0,200}\d)[\w.~+/-]{8,}+=*+|[a-z]{16,}+(?![\w-]))"),
        r"\1[token]",
    ),
    Pattern(("basic ",), re.compile(r"(?i)\b(basic )(?=[a-z+/]{0,200}[\d=])[a-z0-9+/]{8,}+={0,2}"), rf"\1{SECRET}"),
    Pattern(("-u", "--user"), re.compile(r"(?<!\S)(-u ?|--user[ =])[^\s:]{1,100}+:[^\s/]{1,200}+(?!\S)"), rf"\1{SECRET}"),
    Pattern(("requirepass", "masterauth"), re.compile(rf"(?<!\w)((?:requirepass|masterauth)\s{{1,4}})({_VALUE})"), _keyed),
    Pattern(
        ("mysql", "mariadb", "mongo", "sshpass", "rabbitmqadmin", "login", "-cli", "ldap", "sqlcmd", "bcp", "mosquitto"),
        re.compile(rf"({_COMMANDS})(\s{{1,4}}|['\"],\s{{0,3}}(?=['\"])|)({_VALUE})"),
        _flagged,
    ),
    Pattern(
        ("auth",),
        re.compile(r"(?i)((?<![\w-])auth(?:\\{0,3}['\"])?\s{0,3}[:=]\s{0,3}\\{0,3}['\"]?)([a-z0-9+/]{8,4000}+)={0,2}(?![\w+/=])"),
        _basic_auth,
    ),
    Pattern(
        _KEY_SIGNS,
        re.compile(
            rf"(?i)({_KEYS}{_SEPARATOR}|(?<![\w-])-[\w-]{{0,41}}?{_KEYS}(?:\s{{1,12}}(?![-\s])|['\"],\s{{0,3}}(?=['\"])))"
            rf"({_VALUE})"
        ),
        _keyed,
    ),
    Pattern(
        ("akia", "asia", "aroa", "aida", "agpa", "anpa"),
        re.compile(r"(?<![A-Za-z0-9])A(?:KIA|SIA|ROA|IDA|GPA|NPA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        "[aws key]",
    ),
    Pattern(("_",), re.compile(rf"(?<![\w-])(?:{_UNDERSCORED})"), "[token]"),
    Pattern(("gl", "sk-", "pypi-", "nvapi-", "xai-", "pplx-", "-key-"), re.compile(rf"(?<![\w-])(?:{_HYPHENED})"), "[token]"),
    Pattern(("aiza", "hv", "sg.", "ya29", "tt3", "dapi", "eyjr"), re.compile(rf"(?<![\w-])(?:{_OTHERS})"), "[token]"),
    Pattern(
        ("@", "＠"),
        re.compile(
            rf"(?<![\w.%+-])(?!git@)[\w.%+-]++[@＠](?!(?:[\w-]{{1,63}}\.){{1,10}}{_INTERNAL_DOMAIN}(?![\w-]|\.\w))"
            r"(?:[\w-]++\.)+[^\W\d_][\w-]++"
        ),
        "[email]",
    ),
)
_AWS_SECRET = re.compile(
    r"(?<![\w/+=-])(?![0-9A-Fa-f]{40}(?!\w))(?=[a-z0-9/+]{0,39}[A-Z])(?=[A-Z0-9/+]{0,39}[a-z])(?=[A-Za-z/+]{0,39}\d)"
    r"[A-Za-z0-9/+]{40}(?![\w/+=-])"
)
"""40 characters of base64. A digest is hexadecimal, in upper or lower case, and does not match."""
_NAMES_SECRET = re.compile(rf"(?i){_KEYS}\Z|\A(?:authorization|(?:set-)?cookie)\Z")


def redact(text: str) -> str:
    """The text without personal data and secrets. Each is replaced by its kind in brackets."""
    low = text.lower()
    for each in _PATTERNS:
        text = each.apply(text, low)
    if max(map(len, text.split()), default=0) >= 40:
        text = _AWS_SECRET.sub(SECRET, text)
    return redact_numbers(text)


@lru_cache(2048)
def _redact_short(text: str) -> str:
    return redact(text)


def redact_most(text: str, most: int) -> str:
    """The redacted text. The end of a text that is longer than `most` characters may be missing."""
    if len(text) <= most + 2 * SLACK:
        return redact(text)
    return redact(text[: most + 2 * SLACK])[:-SLACK] + "…"


def redact_in_pieces(text: str) -> Iterator[str]:
    """The redacted text in pieces of whole lines, of at most `PIECE` characters, each made when it is asked for.

    A pattern keeps all other threads waiting for as long as it searches, so that a long text is not searched at once. A key in
    several lines is looked for in the whole text, which is quick. Other secrets in several lines are shorter than `_MARGIN`: a
    piece ends where none of them goes on (`_safe_edge`). Of a line that is longer than a piece the end is left out.
    """
    text = _PRIVATE_KEY.apply(text, text.lower())
    at = 0
    while len(text) - at > PIECE + _MARGIN:
        window = text[at : at + PIECE + _MARGIN]
        if "\n" in window[:-_MARGIN]:
            safe = redact(window)
            edge, rest = _safe_edge(window, safe)
            if not edge:
                yield _LEFT_OUT
                return
            yield safe[: len(safe) - rest]
            at += edge
        else:
            yield redact_most(window, PIECE - 2 * SLACK) + "\n"
            at = _after_long_line(text, at)
    yield redact(text[at:])


_MARGIN = 2 * SLACK
"""The most characters of a secret in several lines, but for a private key."""
_TRIES = 16
_LEFT_OUT = "[the rest is left out: secrets in several lines follow each other without an end]\n"


def _safe_edge(window: str, safe: str) -> tuple[int, int]:
    """Where lines begin to which no secret of the lines before goes on, and the length of these lines when they are redacted.

    `safe` is the redacted window. It ends as the lines from there on do when they are redacted alone. (0, 0) when there is none.
    """
    edge, tried = len(window) - _MARGIN, 0
    while tried < _TRIES and (edge := window.rfind("\n", 0, edge) + 1):
        rest = redact(window[edge:])
        if safe.endswith(rest):
            return edge, len(rest)
        tried += 1
        edge -= 1 if tried < 4 else min(edge, SLACK // 4)
    return 0, 0


def _after_long_line(text: str, at: int) -> int:
    """Where the first line begins, after that at `at`, to which no secret of the line before goes on."""
    while end := text.find("\n", at) + 1:
        before, after = text[max(at, end - _MARGIN) : end], text[end : end + _MARGIN]
        if redact(before + after).endswith(redact(after)):
            return end
        at = end
    return len(text)


def names_secret(key: str) -> bool:
    """Whether a key names a secret: `password`, `X-API-Key`, `aws_secret_access_key`."""
    return _NAMES_SECRET.search(key) is not None


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that redacts every string of a log event, and the whole value of a key that names a secret."""
    return {key: SECRET if isinstance(value, str) and names_secret(key) else _redacted(value) for key, value in event.items()}


def _redacted(value: Any) -> Any:
    """The value with every string in it redacted. A rendered traceback is a list of dictionaries."""
    match value:
        case str():
            return _redact_short(value) if len(value) <= _SHORT else redact_most(value, _LOGGED)
        case list() | tuple():
            return [_redacted(each) for each in value]
        case dict():
            return redact_event(None, "", value)
        case _:
            return value
