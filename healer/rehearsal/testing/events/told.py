"""What is said about the cluster: alerts, and the answers that healer asks for."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import msgspec
from pydantic import Field

from healer.model.signal import Signal, Unanswered
from healer.model.target import Target
from healer.rehearsal.statuses import moment
from healer.rehearsal.testing.events.base import WELL, OfTarget, Played
from healer.rehearsal.testing.stage import Ailment, CaseError, CaseStage
from healer.rules.form import Text
from healer.rules.probe import BAD_CANARY, QUERY_SIGNAL, UNKNOWN_VERDICT
from healer.rules.triggers import CANARY, MODEL, QUERY
from healer.sources.alertmanager.alert import Alert, Untargeted, read


class AlertEvent(OfTarget):
    """Alertmanager reports an alert, until it is resolved. healer finds the target by the alert's labels, as in a cluster:
    `namespace` and `pod`, or the label of the workload's kind, are added."""

    name: Text
    """The alert's name."""
    labels: Mapping[Text, Text] = Field(default_factory=dict)
    """Further labels."""
    annotations: Mapping[Text, Text] = Field(default_factory=dict)
    """Its annotations."""
    resolved: bool = False
    """Whether it has ended."""

    def play(self, stage: CaseStage) -> str:
        """Tell it of each target."""
        for target in self.targets(stage):
            self._tell(stage, target, firing=not self.resolved)
        return f"alert {self.name} of {self.about} {'is resolved' if self.resolved else 'fires'}"

    def _tell(self, stage: CaseStage, target: Target, *, firing: bool) -> None:
        names = stage.labels
        label = next((label for label, kind in names.workloads.items() if kind == target.kind), names.pod)
        labels = {"alertname": self.name, names.namespace: target.namespace, label: target.name} | dict(self.labels)
        now = moment(stage.driver.now)
        alert = Alert("firing" if firing else "resolved", labels, now, dict(self.annotations), ends_at=now.isoformat())
        before = stage.alerts.get(alert.key)
        if before is not None:
            alert = msgspec.structs.replace(alert, starts_at=before.starts_at)
        signal = read(alert, stage.world.view, names, (), stage.driver.now)
        if isinstance(signal, Untargeted):
            raise CaseError(f"the alert {self.name!r} names nothing that healer knows: {signal.reason}", "change its labels")
        stage.tell(signal)
        if not firing:
            stage.alerts.pop(alert.key, None)
            stage.forget(target, alert.key)
            return
        stage.alerts[alert.key] = alert
        again = self.model_copy(update={"pod": None, "workload": None})
        ailment = Ailment(
            lambda name: again._tell(stage, stage.target(name), firing=True),
            lambda: self._tell(stage, target, firing=False) if alert.key in stage.alerts else None,
        )
        stage.ail(target, alert.key, ailment)


class ModelEvent(OfTarget):
    """A model server reports a condition of its model, for a rule on `model`."""

    rule: Text
    """The rule that asks: its name, or RULESET/NAME."""
    shows: Text
    """A condition of the server that the rule names; or `Well`; or `Unknown`: it does not answer."""

    def play(self, stage: CaseStage) -> str:
        """Answer with it."""
        bound = stage.rule(self.rule)
        if bound.rule.when.get(MODEL) is None:
            raise CaseError(f"{bound.name} is no rule on 'model'", "name a rule that asks a model server")
        if self.shows not in (*bound.rule.when.names, WELL, "Unknown"):
            known = ", ".join((*bound.rule.when.names, WELL, "Unknown"))
            raise CaseError(f"{bound.name} does not look for {self.shows!r}", f"one of {known}")
        for target in self.targets(stage):
            _asked(stage, bound.name, MODEL.name, self.shows, target)
        return f"{self.about}: its model server says {self.shows}"


class QueryEvent(OfTarget):
    """Prometheus answers the query of a rule."""

    rule: Text
    """The rule that asks: its name, or RULESET/NAME."""
    shows: Literal["Passed", "Well", "Unknown"] = "Passed"
    """`Passed`: the value is beyond the threshold. `Well`: it is not. `Unknown`: there is no answer."""

    def play(self, stage: CaseStage) -> str:
        """Answer with it."""
        bound = stage.rule(self.rule)
        if bound.rule.when.get(QUERY) is None:
            raise CaseError(f"{bound.name} is no rule on 'query'", "name a rule that asks Prometheus")
        name = QUERY_SIGNAL if self.shows == "Passed" else self.shows
        for target in self.targets(stage):
            _asked(stage, bound.name, QUERY.name, name, target)
        return f"{self.about}: the query of {bound.rule.name} says {self.shows}"


def _asked(stage: CaseStage, rule: str, source: str, shows: str, target: Target) -> None:
    """The answer of a source that healer asks for a rule."""
    held, key = stage.answers[rule], f"{source}/{rule}/{target.uid}"
    if shows == "Unknown":
        stage.tell(Unanswered(rule, "there is no answer"))
        return
    if shows == WELL:
        held.pop(key, None)
        stage.forget(target, key)
    else:
        text = f"{shows} of {target}"
        held[key] = Signal(source, shows, target, True, stage.driver.now, key, f"{key}@{stage.driver.now}", text, rule=rule)
        again = Ailment(lambda name: _asked(stage, rule, source, shows, stage.target(name)), partial(_ended, stage, rule, key))
        stage.ail(target, key, again)
    stage.answer(rule)


def _ended(stage: CaseStage, rule: str, key: str) -> None:
    if stage.answers[rule].pop(key, None) is not None:
        stage.answer(rule)


class CanaryEvent(Played):
    """The judge's verdict on the canary of a rule."""

    rule: Text
    """The rule: its name, or RULESET/NAME."""
    verdict: Literal["bad", "unknown", "good"]
    """`bad`: the canary is worse than stable. `unknown`: it cannot be judged. `good`: neither any more."""

    def play(self, stage: CaseStage) -> str:
        """Tell the verdict."""
        bound = stage.rule(self.rule)
        canary = bound.rule.when.get(CANARY)
        if canary is None:
            raise CaseError(f"{bound.name} is no rule on 'canary'", "name a rule that judges a canary")
        target = stage.kept(canary.canary.workload.name).obj.workload().target
        firing = {"bad": BAD_CANARY, "unknown": UNKNOWN_VERDICT}.get(self.verdict, "")
        for name in (BAD_CANARY, UNKNOWN_VERDICT):
            _judged(stage, bound.name, name, target, firing=name == firing)
        if firing:
            end = partial(_judged, stage, bound.name, firing, target, firing=False)
            stage.ail(target, f"canary/{bound.name}", Ailment(lambda _: None, end))
        return f"the canary of {bound.rule.name} is judged {self.verdict}"


def _judged(stage: CaseStage, rule: str, name: str, target: Target, *, firing: bool) -> None:
    key = f"{CANARY.name}/{rule}/{target.uid}/{name}"
    stage.tell(Signal(CANARY.name, name, target, firing, stage.driver.now, key, "1", f"{name}: as the test says", rule=rule))
