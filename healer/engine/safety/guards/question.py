"""What a guard is: it is asked whether an action may be taken, and answers with a veto, or with None."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from healer.engine.safety.cluster_breaker import ClusterBreaker
from healer.engine.safety.ledger import Ledger
from healer.engine.safety.node_storms import NodeStorms
from healer.engine.safety.rule_breakers import RuleBreakers
from healer.engine.safety.storms import Storm
from healer.engine.safety.tenant_breakers import TenantBreakers
from healer.engine.tuning import Tuning
from healer.model.action import ActionSpec
from healer.model.incident import Incident, Reason
from healer.model.target import Target
from healer.model.view import View
from healer.rules.schema import Limits


@dataclass(frozen=True, slots=True)
class Veto:
    """Not now, or (refused) never as things stand. `until` is when to ask again, in seconds since the epoch, where known.

    `unlimited` ones do not use up the time that a step may wait: a human or a limit asked for the delay. `of_target` ones speak
    against this target alone, so that another may do. `asks`: a human's approval lifts it; `final`: no further step is left.
    """

    reason: Reason
    refused: bool = False
    until: float | None = None
    unlimited: bool = False
    of_target: bool = False
    asks: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guards look at besides the workload: what was done lately, and what stops more than one incident."""

    tuning: Tuning
    ledger: Ledger
    node_storms: NodeStorms
    rule_breakers: RuleBreakers
    cluster_breaker: ClusterBreaker
    tenant_breakers: TenantBreakers


@dataclass(frozen=True, slots=True)
class Question:
    """May this action be taken on this target now?"""

    incident: Incident
    action: ActionSpec
    target: Target
    what: str
    """What is wrong with the target, for people."""
    limits: Limits
    view: View
    state: GuardState
    storm: Storm | None
    """The storm on the workload."""
    competing: Iterable[Incident]
    """The other incidents on the same workload that keep others off it."""
    judged_within: float
    """Seconds for which a canary that cannot be judged is left as it is, before a human is asked."""
    now: float
    elsewhere: bool
    """Whether a replacement must not come to the same node."""
    unfit: Callable[[Target], Reason | None]
    """Why nothing is to be done to a target: its rule does not cover it any more, or its condition is not met now."""


Guard = Callable[[Question], Veto | None]


@dataclass(frozen=True, slots=True)
class Guards:
    """The guards in the order in which they are asked; the first veto counts."""

    acting: tuple[Guard, ...]
    """Those of an action that changes something."""
    telling: tuple[Guard, ...]
    """Those of an action that changes nothing: a pause is a stop for all that healer does on its own."""

    def ask(self, question: Question) -> Veto | None:
        """The first veto, or None: go ahead."""
        for guard in self.acting if question.action.changes else self.telling:
            if (veto := guard(question)) is not None:
                return veto
        return None
