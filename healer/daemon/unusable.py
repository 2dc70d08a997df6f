"""What of rules that are right in themselves this healer cannot do, because its settings lack what they need."""

from collections.abc import Mapping
from functools import reduce

from healer.actions.base import Action
from healer.actions.registry import ACTIONS
from healer.rules.positions import Problem
from healer.rules.rulebook import Rulebook
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
