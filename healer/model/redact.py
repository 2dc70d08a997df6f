"""Personal data and secrets are cut out of every free text before it leaves healer (promise 12).

Every pattern runs in time linear in the text: a look-behind lets a match start only at the edge of a run, so no run is scanned
twice, and repetitions are possessive or bounded. What operators need stays: names of Kubernetes objects, uids, IP addresses,
image digests, times and plain numbers.
"""

import re
from collections.abc import Callable, MutableMapping
from dataclasses import replace
from typing import Any

from healer.model.incident import Incident, Reason

# Ends a number that belongs to no longer word or number: a full stop may follow, ".5" or "-x" may not.
_END = r"(?!\w|[.-]\w)"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.S),
        "[private key]",
    ),
    (re.compile(r"(?<=://)[^\s/?#@]*+(?:@[^\s/?#@]*+)*@"), "[credentials]@"),
    (re.compile(r"(?<=hooks\.slack\.com/services/)[\w/-]++"), "[secret]"),
    (re.compile(r"\bxox[a-z](?:\.xox[a-z])?-[\w-]{8,}+|\bxapp-\d+-[\w-]{8,}+"), "[slack token]"),
    (re.compile(r"(?<![\w-])eyJ[\w-]{6,}+\.[\w-]{4,}+(?:\.[\w-]*+){0,3}"), "[token]"),
    (re.compile(r"(?i)(?<!\w)(authorization['\"]?\s{0,3}[:=]\s{0,3}['\"]?)[a-z]{1,20}+\s{1,3}[^\s'\",;]++"), r"\1[secret]"),
    (re.compile(r"(?i)\b(bearer\s{1,3})(?=[\w.~+/-]{0,200}\d)[\w.~+/-]{8,}+=*+"), r"\1[token]"),
    (
        re.compile(
            r"(?i)((?:password|passwd|pwd|secret|token|x-amz-signature|[?&]sig|(?:api|access|account|private|secret)[_-]?key)"
            r"(?:['\"]\s{0,3}[:=]\s{0,3}|\s{0,1}=\s{0,1}))(?:'[^']{1,500}+'|\"[^\"]{1,500}+\"|[^\s'\",;&]{4,500}+)"
        ),
        r"\1[secret]",
    ),
    (re.compile(r"(?i)\b(passw(?:or)?d:\s{0,3})[^\s'\",;]{1,500}+"), r"\1[secret]"),
    (re.compile(r"(?<![A-Za-z0-9])A(?:KIA|SIA|ROA|IDA|GPA|NPA)[A-Z0-9]{16}(?![A-Za-z0-9])"), "[aws key]"),
    (
        re.compile(
            r"(?<![\w/+=-])(?=[a-z0-9/+]{0,39}[A-Z])(?=[A-Z0-9/+]{0,39}[a-z])(?=[A-Za-z/+]{0,39}\d)[A-Za-z0-9/+]{40}(?![\w/+=-])"
        ),
        "[secret]",
    ),
    (
        re.compile(r"(?<!\w)(?:gh[pousr]_\w{20,}+|github_pat_\w{20,}+|glpat-[\w-]{16,}+|AIza[\w-]{30,}+)"),
        "[token]",
    ),
    (re.compile(r"(?<![\w.%+-])[\w.%+-]++@(?:[\w-]++\.)+[^\W\d_][\w-]++"), "[email]"),
    (re.compile(r"(?<![\w.-])\d{3}-\d{2}-\d{4}" + _END), "[ssn]"),
    (re.compile(r"(?<![\w+])\+\d(?:[ ().-]{0,2}\d){7,14}" + _END), "[phone]"),
    (re.compile(r"(?<![\w.-])(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}" + _END), "[phone]"),
)


def redact(text: str) -> str:
    """The text without personal data and secrets; each is replaced by its kind in brackets."""
    for pattern, kind in _PATTERNS:
        text = pattern.sub(kind, text)
    return text


def redacted(incident: Incident) -> Incident:
    """The incident with every free text redacted."""
    return reworded(incident, redact)


def reworded(incident: Incident, word: Callable[[str], str]) -> Incident:
    """The incident with `word` applied to every free text, and to nothing else."""

    def reason(before: Reason) -> Reason:
        return replace(before, text=word(before.text))

    return replace(
        incident,
        reason=reason(incident.reason),
        targets={uid: replace(sick, what=word(sick.what)) for uid, sick in incident.targets.items()},
        history=tuple(replace(entry, reason=reason(entry.reason)) for entry in incident.history),
    )


def redact_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: redacts every string of a log event, for the logs that no incident passes through."""
    for key, value in event.items():
        event[key] = _redacted_value(value)
    return event


def _redacted_value(value: Any) -> Any:
    """The value, every string in it redacted: a rendered traceback is a list of dictionaries."""
    match value:
        case str():
            return redact(value)
        case list():
            return [_redacted_value(each) for each in value]
        case dict():
            return {key: _redacted_value(each) for key, each in value.items()}
        case _:
            return value
