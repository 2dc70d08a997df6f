"""With what `healer rbac` grants for an action it works, to the way back; without each single permission that is told."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from healer.actions.base import Clients, Temporary
from healer.actions.collect import CollectParams
from healer.actions.job import JobParams
from healer.actions.quarantine import QuarantineParams
from healer.actions.registry import ACTIONS
from healer.actions.scale import ScaleParams
from healer.cluster.api import ClusterError
from healer.daemon.rulefiles import vocabulary
from healer.engine.tuning import LimitSettings
from healer.lab.custom import definition
from healer.lab.faults import SeenRequest
from healer.lab.kinds import AUTOSCALER
from healer.model.action import Outcome, Permission
from healer.model.temporary import changes
from healer.operate.rbac import JOURNAL, needed
from healer.rules.loading import load_all
from healer.rules.rulebook import Rulebook
from tests.integration.test_job import template
from tests.integration.world import rule, ruleset
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench
from tests.unit.actions.rollouts import GOOD, roll_back, ship
from tests.unit.actions.test_collect import incident
from tests.unit.actions.test_quarantine import NEWER, OLDER
from tests.unit.actions.test_shift_traffic import STABLE, a_route
from tests.unit.actions.test_shift_traffic import params as route_params
from tests.unit.actions.versions import MAP, standing
from tests.unit.routes.conftest import gateway, slice_of

__all__ = ["incident"]

pytestmark = pytest.mark.slow

Said = list[str]
ON_ROUTE = {"kind": "HTTPRoute", "name": "model"}
Attempts = Callable[[Bench], Awaitable[Said]]


async def taken_back(bench: Bench, action: str) -> Said:
    """Take back all that an action has noted; returns what became of it."""
    does, said = ACTIONS[action], []
    assert isinstance(does, Temporary)
    for key, change in changes(bench.kept).items():
        try:
            way = await does.reversal(Clients(bench.api), bench.incident(), key, change)
            await way.put_back(bench.api, force=False)
        except ClusterError as error:
            said.append(str(error))
    return said


async def collected(bench: Bench) -> Said:
    """Three times: the last replaces the one before, and one whose answer was lost is found."""
    bench.look()
    told: list[Outcome] = []
    for step in (0, 1, 1):
        told.append(await bench.attempt("collect", params=CollectParams(keep=1), target=bench.workload, step=step))
    kept = bench.lab.objects("configmaps", NAMESPACE)
    return [each.text for each in told] + [text for each in kept for name, text in each["data"].items() if name == "not-read.txt"]


async def quarantined(bench: Bench) -> Said:
    """Until its expiry."""
    outcome = await bench.attempt("quarantine", params=QuarantineParams())
    return [outcome.text, *await taken_back(bench, "quarantine")]


async def cordoned(bench: Bench) -> Said:
    bench.limits = LimitSettings(cordon=True, cordon_share=50)
    outcome = await bench.attempt("cordon")
    return [outcome.text, *await taken_back(bench, "cordon")]


async def scaled(bench: Bench) -> Said:
    outcome = await bench.attempt("scale", params=ScaleParams(max=5), target=bench.workload)
    return [outcome.text, *await taken_back(bench, "scale")]


async def scaled_by_its_autoscaler(bench: Bench) -> Said:
    """By its minimum."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 6}
    bench.lab.api.create(AUTOSCALER, NAMESPACE, {"metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec})
    return await scaled(bench)


async def ran_a_job(bench: Bench) -> Said:
    outcome = await bench.attempt("job", params=JobParams(template="mend"), target=bench.workload)
    return [outcome.text]


async def silenced(bench: Bench) -> Said:
    """As far as the cluster is asked: then Alertmanager is."""
    outcome = await bench.attempt("silence", target=bench.workload)
    return [outcome.text]


async def evicted(bench: Bench) -> Said:
    return [(await bench.attempt("evict")).text]


async def restarted(bench: Bench) -> Said:
    return [(await bench.attempt("restart")).text]


async def rolled_back(bench: Bench) -> Said:
    """After a rollout, which is not healer's."""
    await ship(bench, GOOD)
    return [(await roll_back(bench)).text]


async def restarted_by_a_rollout(bench: Bench) -> Said:
    return [(await bench.attempt("rolloutRestart", target=bench.workload)).text]


async def shifted(bench: Bench) -> Said:
    await bench.lab.apply([gateway(), slice_of(STABLE, True), a_route((80, 20))])
    return [(await bench.attempt("shiftTraffic", params=route_params(), target=bench.workload)).text]


async def pinned(bench: Bench) -> Said:
    async with standing(bench) as stand:
        return [(await stand.pin()).text]


STEPS: dict[str, tuple[dict[str, Any], Sequence[Attempts]]] = {
    "collect": ({}, [collected]),
    "quarantine": ({}, [quarantined]),
    "cordon": ({}, [cordoned]),
    "scale": ({"max": 5}, [scaled, scaled_by_its_autoscaler]),
    "job": ({"template": "mend"}, [ran_a_job]),
    "silence": ({}, [silenced]),
    "evict": ({}, [evicted]),
    "restart": ({}, [restarted]),
    "rollback": ({}, [rolled_back]),
    "rolloutRestart": ({}, [restarted_by_a_rollout]),
    "shiftTraffic": ({"to": 0, "route": ON_ROUTE, "stable": {"deployment": STABLE}, "canary": {"deployment": NAME}}, [shifted]),
    "pinModelVersion": ({"configMap": MAP, "model": "ranker", "version": 41}, [pinned]),
}


def granted(action: str) -> frozenset[Permission]:
    """What a rule on Deployments is granted for its step."""
    verify = {"within": "1m", "stable": "1s"}
    step = {action: STEPS[action][0], "verify": verify}
    text = ruleset(rule("r", when={"alert": ["X"]}, scope={"namespaces": [NAMESPACE], "kinds": ["Deployment"]}, heal=[step]))
    bound, problems = load_all({"rules.yaml": text}, vocabulary())
    assert not problems
    ((params,),) = [[each.params for each in one.rule.steps] for one in bound]
    return needed(Rulebook(bound), ACTIONS) & ACTIONS[action].spec.needs(params)


def permission(seen: SeenRequest) -> Permission:
    return Permission(seen.group, seen.permission, seen.verb)


async def attempt(bench: Bench, action: str, allowed: frozenset[Permission]) -> tuple[Said, set[Permission], int]:
    """What is said of an action that may do no more than that; what it asked for, and how often it was refused."""
    asked: set[Permission] = set()
    refused = 0

    def allows(seen: SeenRequest) -> bool:
        nonlocal refused
        asked.add(permission(seen))
        granted = permission(seen) in allowed | JOURNAL
        refused += not granted
        return granted

    await bench.lab.apply([definition(NEWER), definition(OLDER), template("hang")])
    bench.lab.authorize(allows)
    said: Said = []
    for attempts in STEPS[action][1]:
        bench.kept = {}
        said += await attempts(bench)
    return said, asked, refused


@pytest.mark.usefixtures("incident")
@pytest.mark.parametrize("action", STEPS)
async def test_it_works_with_exactly_what_is_granted(bench: Bench, action: str) -> None:
    """Nothing else is asked for, and nothing is granted that is not asked for."""
    said, asked, refusals = await attempt(bench, action, granted(action))
    assert refusals == 0, said
    assert asked - JOURNAL == granted(action)


LACKING = [(action, each) for action in STEPS for each in sorted(granted(action))]


@pytest.mark.usefixtures("incident")
@pytest.mark.parametrize(("action", "lacking"), LACKING, ids=[f"{a}-{p.verb}-{p.resource}-{p.group}" for a, p in LACKING])
async def test_what_is_not_granted_fails_and_is_told(bench: Bench, action: str, lacking: Permission) -> None:
    """By the answer of the API server, wherever people look."""
    said, _, refusals = await attempt(bench, action, granted(action) - {lacking})
    assert refusals > 0
    named = f'cannot {lacking.verb} resource "{lacking.resource}" in API group "{lacking.group}"'
    assert any(named in each for each in said), said
