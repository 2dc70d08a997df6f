"""Guards that look at the target: whether the action is for such a one, and whether the rule still is."""

from healer.engine.matching.firing import NOT_REPEATED
from healer.engine.safety.guards.question import Question, Veto
from healer.model.incident import Reason
from healer.model.operators import is_known, owning
from healer.model.target import ActsOn


def can_act_on(q: Question) -> Veto | None:
    """The action must fit the target, and the workload must be one that healer knows how to judge; any may be told of."""
    if not q.action.changes:
        return None
    if (ActsOn.POD if q.target.is_pod else ActsOn.WORKLOAD) not in q.action.targets:
        wanted = " or a ".join(sorted(q.action.targets))
        text = f"{q.action.name} acts on a {wanted}, and the signal names {q.target}"
        return Veto(Reason("WrongTarget", text), refused=True, of_target=True)
    if q.incident.workload.kind not in q.view.supported_kinds:
        return Veto(Reason("UnsupportedWorkload", _unsupported(q)), refused=True)
    return None


def _unsupported(q: Question) -> str:
    """Why healer leaves a target alone that belongs to no workload of its kinds, and what to do."""
    acts_on = ", ".join(f"{kind}s" for kind in q.view.supported_kinds)
    if q.incident.workload.kind == "Pod":
        return (
            f"nobody owns {q.target}, so that nothing would replace it, and healer leaves it alone: delete it by hand, or let "
            f"one of {acts_on} run it"
        )
    owner = q.incident.workload
    way = owning(owner.kind, owner.name).instead if is_known(owner.kind) else f"see to the {owner.kind} itself"
    return (
        f"{q.target} belongs to {owner}, and healer acts on {acts_on} only: {way}, or list in `scope.kinds` what the rule is for"
    )


def covered(q: Question) -> Veto | None:
    """What was true when the rule matched must be true when healer acts: the scope, the owner, the condition."""
    reason = q.unfit(q.target)
    if reason is None or (reason.code == NOT_REPEATED and not q.action.changes):
        return None  # people may be paged for an alert that was not repeated: it changes nothing
    return Veto(reason, unlimited=True, of_target=True)


def not_denied(q: Question) -> Veto | None:
    """No pod is deleted whose eviction was denied, by whichever incident; nor any other in an incident that was told no."""
    if not q.action.deletes:
        return None
    denials = map(q.state.ledger.denial, q.view.replaced_with(q.target))
    answer = next((each for each in denials if each is not None), None)
    own = answer is not None
    if answer is None and (answer := next(iter(q.incident.denied.values()), None)) is None:
        return None
    what = f"the eviction of {q.target}" if own else "an eviction in this incident"
    text = f"{what} was not granted, so that healer does not {q.action.verb} it instead ({answer})"
    return Veto(Reason("EvictionDenied", text), refused=True, of_target=own and not q.incident.denied)
