"""What a record says of the rules and of the settings: enough to know whether others are the same, and to decide as they do."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from healer.daemon.recording.lines import RuleMark
from healer.rules.rulebook import BoundRule, Rulebook
from healer.settings import Settings
from healer.sources.base import watched_resources

SECTIONS = ("pods", "workloads", "events", "engine", "limits")
"""The sections of the settings that are recorded whole: decisions depend on them, and no secret is in them."""
_OF_ALERTS = ("expiry", "freshness")


def asked(rule: BoundRule) -> str:
    """The digest of what a rule asks its source, and where; "" for a rule whose trigger is not asked."""
    when = rule.rule.when
    if not when.trigger.asked:
        return ""
    value = when.value
    where = rule.scope.model_dump(mode="json", exclude_defaults=True)
    said = value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, BaseModel) else value
    return hashlib.sha256(json.dumps([when.trigger.name, said, where], sort_keys=True).encode()).hexdigest()[:16]


def marks(rulebook: Rulebook) -> tuple[RuleMark, ...]:
    """The rules in force."""
    return tuple(RuleMark(rule.name, rule.digest, asked(rule)) for rule in rulebook.rules)


def kinds(rulebook: Rulebook, settings: Settings) -> tuple[str, ...]:
    """The kinds of objects that are watched for these rules."""
    return tuple(each.name for each in watched_resources(rulebook.rules, nodes=settings.cluster.nodes))


def sections(settings: Settings) -> dict[str, dict[str, Any]]:
    """The settings on which decisions depend."""
    found: dict[str, dict[str, Any]] = {name: getattr(settings, name).model_dump(mode="json") for name in SECTIONS}
    return found | {"alerts": {name: getattr(settings.alerts, name) for name in _OF_ALERTS}}
