"""Guards that count what was done lately: cooldowns and budgets."""

from healer.engine.matching.coverage import counted
from healer.engine.safety.guards.question import Question, Veto
from healer.engine.safety.ledger import key_of
from healer.model.duration import about
from healer.model.incident import Reason


def cooled_down(q: Question) -> Veto | None:
    """Time must pass between two incidents of a rule on a workload in which healer acted."""
    if q.incident.acted_at or not q.action.changes:
        return None
    ended = q.state.ledger.last_end(key_of(q.incident))
    if ended is None or q.now >= ended + q.limits.cooldown:
        return None
    left = ended + q.limits.cooldown - q.now
    return Veto(
        Reason("Cooldown", f"the last healing ended {about(q.now - ended)} ago; {about(left)} of cooldown left"),
        until=ended + q.limits.cooldown,
        unlimited=True,
    )


def within_budget(q: Question) -> Veto | None:
    """At most so many actions of the rule on a revision of the workload, in a sliding window."""
    if not q.action.changes:
        return None
    budget = q.limits.budget
    spent = q.state.ledger.actions_since(key_of(q.incident), q.now - budget.per)
    if len(spent) < budget.actions:
        return None
    text = f"{counted(len(spent), 'action')} in the last {about(budget.per)}; the budget is {budget.actions}"
    return Veto(Reason("BudgetSpent", text), until=spent[-budget.actions] + budget.per)


def within_caps(q: Question) -> Veto | None:
    """At most so many actions of all rules on the workload, in its namespace, and in the cluster.

    An action of another incident that may be on its way counts: several workloads may be acted on at the same time.
    """
    if not q.action.changes:
        return None
    tuning, workload = q.state.tuning, q.incident.workload
    since = q.now - tuning.limits.budget_per
    on_its_way = q.state.ledger.in_doubt(q.incident.id, workload.namespace)
    for code, where, most, spent, doubtful in (
        ("WorkloadBudget", f"on {workload}", tuning.limits.budget_workload, q.state.ledger.on_workload(workload.uid, since), 0),
        (
            "NamespaceBudget",
            f"in the namespace {workload.namespace}",
            tuning.limits.budget_namespace,
            q.state.ledger.in_namespace(workload.namespace, since),
            on_its_way,
        ),
        (
            "ClusterBudget",
            "in the cluster",
            tuning.limits.budget_cluster,
            q.state.ledger.anywhere(since, tuning.limits.budget_namespace),
            q.state.ledger.in_doubt(q.incident.id),
        ),
    ):
        if len(spent) + doubtful >= most:
            until = spent[-most] + tuning.limits.budget_per if len(spent) >= most else None
            acts = counted(len(spent) + doubtful, "action")
            text = f"{acts} {where} in the last {about(tuning.limits.budget_per)}; the budget is {most}"
            return Veto(Reason(code, text), until=until)
    return None
