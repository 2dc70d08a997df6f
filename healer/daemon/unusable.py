"""What of rules that are right in themselves this healer cannot do, because its settings lack what they need."""

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce

from healer.actions.base import Action
from healer.actions.registry import ACTIONS
from healer.daemon.reach import delivery_problems
from healer.model.duration import say
from healer.rules.positions import Problem
from healer.rules.rulebook import BoundRule, Rulebook
from healer.section import PREFIX
from healer.settings import Settings
from healer.sources.prometheus.client import unserved


def unusable(rulebook: Rulebook, settings: Settings, actions: Mapping[str, Action] = ACTIONS) -> list[Problem]:
    """A problem for each rule that needs a setting that is not set, with the setting's name."""
    problems = unserved(rulebook, settings.prometheus.url)
    for bound in rulebook.rules:
        required = {step.action: actions[step.action].spec.requires for step in bound.rule.steps}
        for action, setting in required.items():
            if setting and not reduce(getattr, setting.split("."), settings):
                name = f"{PREFIX}{setting.replace('.', '__').upper()}"
                what = f"rule {bound.name} uses the action {action}, which needs the setting {name}"
                hint = f"set {name}, or {setting} in the settings file"
                problems.append(Problem(bound.where or "rules", 0, 0, "", what, hint))
    return problems


def doubtful(rules: Iterable[BoundRule], settings: Settings) -> Iterator[str]:
    """What a healer with these settings takes, and what will not come to anything: a sentence each."""
    rules = list(rules)
    sinks = settings.sinks
    reach_people = any(section.enabled and section.reaches_people for section in sinks.values())
    yield from delivery_problems(rules, sinks, reach_people=reach_people)
    fresh = settings.alerts.freshness
    for bound in rules:
        when = bound.rule.when
        if when.trigger.fades and when.held_for >= fresh and not settings.alerts.url:
            yield (
                f"{bound.where or bound.name}: {bound.name} waits for {say(when.held_for)}, and without Alertmanager's address "
                f"an alert counts for {say(fresh)} after it has come: it acts only on what comes again; set {PREFIX}ALERTS__URL"
            )
