"""What a transition may look at besides its incident, and what it makes: the incident that follows, with its effects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from healer.engine.safety.guards.question import Guards, GuardState
from healer.engine.safety.storms import Storm
from healer.engine.tuning import Tuning
from healer.model.action import ActionSpec
from healer.model.effects import Effect
from healer.model.incident import Incident, Reason
from healer.model.target import ActsOn, Target
from healer.model.view import View
from healer.rules.probe import diverted_to
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Rule, Step

Transition = tuple[Incident, tuple[Effect, ...]]
"""The incident that follows, and what is to be carried out for it; the same incident, and nothing, when none does."""


@dataclass(frozen=True, slots=True)
class IncidentFacts:
    """What is known about an incident at a moment. `now` is in seconds since the epoch."""

    rule: BoundRule
    in_force: bool
    """Whether the rule is still loaded, unchanged."""
    view: View
    now: float
    actions: Mapping[str, ActionSpec]
    guards: Guards
    guard_state: GuardState
    competing: list[Incident]
    """The other incidents on the workload that keep others off it."""
    storm: Storm | None
    """The storm on the workload."""
    unfit: Callable[[Target], Reason | None]
    """Why nothing is to be done to a target: see the guard `covered`."""
    unknown: Reason | None
    """Why it is not known whether the incident's signals still fire; None when it is."""

    @property
    def tuning(self) -> Tuning:
        """The engine's own knobs."""
        return self.guard_state.tuning

    def step(self, incident: Incident) -> Step:
        """The step of its rule that the incident is on."""
        return step_of(self.rule.rule, incident)

    def action(self, incident: Incident) -> ActionSpec:
        """The action of that step."""
        return self.actions[self.step(incident).action]

    def takes_pods(self, incident: Incident) -> bool:
        """Whether that action is taken on pods, one by one."""
        return on_pods(self.action(incident))

    def next_without_pods(self, begin: int) -> int | None:
        """The first step of the ladder from `begin` on whose action is not taken on pods."""
        steps = self.rule.rule.heal
        return next((n for n in range(begin, len(steps)) if not on_pods(self.actions[steps[n].action])), None)

    def next_without_changes(self, begin: int) -> int | None:
        """The first step of the ladder from `begin` on whose action changes nothing in the cluster."""
        steps = self.rule.rule.heal
        return next((n for n in range(begin, len(steps)) if not self.actions[steps[n].action].changes), None)

    def serving(self, incident: Incident) -> Target | None:
        """The workload that must be well for the step to have helped: the other one, when traffic was taken off this one.

        None for one whose health healer cannot judge: what fires for it is all that is known.
        """
        if incident.workload.kind not in self.view.supported_kinds:
            return None
        other = diverted_to(self.step(incident).params) if self.action(incident).diverts else None
        if other is None:
            return incident.workload
        serving = self.view.workload_named(other.workload.kind, incident.workload.namespace, other.workload.name)
        return incident.workload if serving is None else serving.target


def on_pods(action: ActionSpec) -> bool:
    """Whether an action is taken on pods, one by one."""
    return ActsOn.POD in action.targets


def step_of(rule: Rule, incident: Incident) -> Step:
    """The step of a rule that the incident is on."""
    return rule.on_storm if incident.storming and rule.on_storm is not None else rule.heal[incident.step]


def ever_changes(rule: Rule, actions: Mapping[str, ActionSpec]) -> bool:
    """Whether any step of a rule changes anything in the cluster."""
    return any(actions[step.action].changes for step in (*rule.heal, rule.on_storm) if step is not None)
