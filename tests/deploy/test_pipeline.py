"""deploy/pipelines/rollout.sh in the lab, with the real kubectl: what a roll-out leaves, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from healer.lab import Lab
from healer.lab.canary import CANARY, ROUTE, STABLE
from healer.lab.objects import Object
from tests.deploy.rendered import ROOT, overlay
from tests.integration.world import NAMESPACE, Floor, serves
from tests.support.kustomize import KUBECTL
from tests.support.processes import PATIENCE, Process, program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = ROOT / "deploy" / "pipelines" / "rollout.sh"
OLD = "tensorflow/serving:2.20.0"
NEW = "registry.example/ranker:9@sha256:" + "9" * 64
UNPULLABLE = "registry.example/ranker:bad@sha256:" + "6" * 64
SERVED = {"Deployment", "Service", "HTTPRoute", "VirtualService", "Ingress"}
"""The kinds of the overlays that the lab has, and that a roll-out is about."""
KINDS = {"httproute": "httproutes", "istio": "virtualservices", "nginx-canary": "ingresses"}
ROUTES = {"httproute": "httproute", "istio": "virtualservice", "nginx-canary": "ingress"}
ROW = {"name": "canary/bad-canary", "mode": "enforce", "scope": {"namespaces": [NAMESPACE]}, "workloads": 2}
GUARDED = {"rules": [ROW], "pauses": [], "pausesUnread": [], "notes": []}
"""What `healer status` answers where the canary's rule is in force."""
STAND_IN = """#!/usr/bin/env bash
# Stands in for healer: each verb prints what the file of its name says, and ends with the code of its first line.
verb=$1 home=$(dirname "$0")
echo "$*" >>"$home/asked"
echo "healer $verb was asked" >&2
until [[ -e $home/$verb ]]; do kill -0 $PPID || exit; sleep 0.05; done
tail -n +2 "$home/$verb"
exit "$(head -1 "$home/$verb")"
"""
SLOW = """#!/usr/bin/env bash
# kubectl, but a patch of the route begins when the file `go` is there.
home=$(dirname "$0")
if [[ $* == *" patch httproute/"* && ! -e $home/go ]]; then
  echo "kubectl waits" >&2
  until [[ -e $home/go ]]; do kill -0 $PPID || exit; sleep 0.05; done
fi
exec REAL "$@"
"""


@dataclass
class Site:
    """A lab with an overlay of deploy/serving, and a healer that says what the test has it say."""

    lab: Lab
    home: Path
    name: str = "httproute"
    environ: dict[str, str] = field(default_factory=dict)

    def says(self, verb: str, code: int, answer: Any = "") -> None:
        """What healer answers from now on."""
        (self.home / f"{verb}.new").write_text(f"{code}\n{json.dumps(answer)}\n", "utf-8")
        (self.home / f"{verb}.new").rename(self.home / verb)

    @property
    def asked(self) -> list[str]:
        """The verbs that healer was asked, in their order."""
        path = self.home / "asked"
        return [line.split()[0] for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def rollout(self, *arguments: str, image: str = NEW) -> Process:
        """The script as a process; options of the test come last, and so win."""
        given = ["--image", image, "--rules", str(self.home / "rules.yaml"), "--prometheus", "http://127.0.0.1:1"]
        route = ["--route", f"{ROUTES[self.name]}/{ROUTE}", "--weight", "20", "--watch", "0.2"]
        return Process("rollout.sh", ["bash", str(SCRIPT), *given, *route, *arguments], self.environ)

    async def run(self, *arguments: str, image: str = NEW) -> tuple[int, str]:
        """Run it to its end; its exit code, and what it printed."""
        async with self.rollout(*arguments, image=image) as process:
            return await process.ended(), "\n".join(process.lines)

    def route(self) -> Object:
        (found,) = [each for each in self.lab.objects(KINDS[self.name], NAMESPACE) if each["metadata"]["name"] == ROUTE]
        return found

    def weights(self) -> list[list[int]]:
        """Of stable and canary, in each rule of the route; of an Ingress, the canary's."""
        route = self.route()
        if self.name == "nginx-canary":
            return [[int(route["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"])]]
        splits = route["spec"].get("rules") or route["spec"]["http"]
        return [[each["weight"] for each in split.get("backendRefs") or split["route"]] for split in splits]

    def images(self) -> dict[str, str]:
        """Of the two Deployments."""
        found = {each["metadata"]["name"]: each for each in self.lab.objects("deployments", NAMESPACE)}
        return {name: found[name]["spec"]["template"]["spec"]["containers"][0]["image"] for name in (STABLE, CANARY)}

    def change(self, collection: str, name: str, change: Any) -> None:
        """As somebody else changes it."""
        kind = self.lab.api.kinds.named(collection)
        self.lab.api.modify(kind, NAMESPACE if kind.namespaced else "", name, change)

    def shift(self, share: int = 0) -> None:
        """As healer's rule, or a person, sets the share of the canary."""

        def shifted(route: Object) -> None:
            for rule in route["spec"]["rules"]:
                rule["backendRefs"][0]["weight"], rule["backendRefs"][1]["weight"] = 100 - share, share

        self.change("httproutes", ROUTE, shifted)


async def gate(process: Process) -> None:
    """Return when the script waits for the gate."""
    await process.until(lambda: "healer gate was asked" in process.lines, "the gate")


class Open:
    """Makes sites, which end with the test."""

    def __init__(self, stack: AsyncExitStack, home: Path) -> None:
        self._stack = stack
        self._home = home

    async def __call__(self, name: str = "httproute") -> Site:
        """With this overlay."""
        program("jq", "jq")
        lab = await self._stack.enter_async_context(Lab(time_scale=0.02))  # kubectl sends no token without TLS
        for definition in ("httproutes", "virtualservices"):
            await lab.apply_yaml((ROOT / f"tests/contract/crds/{definition}.yaml").read_text("utf-8"))
        await lab.apply_yaml((ROOT / "deploy/healer/crd.yaml").read_text("utf-8"))
        await lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        objects = [each for each in overlay(name) if each["kind"] in SERVED]
        for each in objects:
            if each["kind"] == "Deployment":
                each["spec"]["replicas"] = 2
        await lab.apply(objects)
        await lab.wait_for(serves(4), PATIENCE)
        lab.write_kubeconfig(self._home / "kubeconfig")
        (self._home / "healer").write_text(STAND_IN, "utf-8")
        (self._home / "healer").chmod(0o755)
        (self._home / "rules.yaml").touch()
        environ = {"PATH": os.environ["PATH"], "HOME": str(self._home), "KUBECONFIG": str(self._home / "kubeconfig")}
        site = Site(lab, self._home, name, environ | {"KUBECTL": str(KUBECTL), "HEALER": str(self._home / "healer")})
        site.says("compare", 0, {"rule": "canary/bad-canary"})
        site.says("status", 0, GUARDED)
        return site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:
        yield Open(stack, tmp_path)


@pytest.mark.parametrize("name", KINDS)
async def test_a_good_canary_is_promoted_and_a_second_run_changes_nothing(name: str, site: Open) -> None:
    """By each router."""
    here = await site(name)
    given: list[Any] = []
    here.lab.store.listeners.append(lambda kind, _: given.append(here.weights()) if KINDS[name] in kind else None)
    here.says("gate", 0)
    code, printed = await here.run()
    assert (code, here.images()) == (0, {STABLE: NEW, CANARY: NEW}), printed
    none, some = ([[0]], [[20]]) if name == "nginx-canary" else ([[100, 0]] * 2, [[80, 20]] * 2)
    assert given == [some, none]
    assert here.asked == ["compare", "status", "gate"]

    given.clear()
    code, printed = await here.run()
    assert code == 0, printed
    assert (here.weights(), given) == (none, [])
    assert here.asked == ["compare", "status", "gate"], "nothing is judged that is promoted"


async def test_a_bad_canary_loses_its_traffic_and_gets_none_again(site: Open) -> None:
    here = await site()
    here.says("gate", 1)
    code, printed = await here.run()
    assert (code, here.weights()) == (1, [[100, 0]] * 2), printed
    assert here.images() == {STABLE: OLD, CANARY: NEW}, "its pods stay, for people to look at"

    here.says("gate", 0)
    code, printed = await here.run()
    assert (code, here.weights(), here.images()[STABLE]) == (1, [[100, 0]] * 2, OLD), "a pipeline that is tried again"
    assert "--again" in printed
    code, printed = await here.run("--again")
    assert (code, here.images()[STABLE]) == (0, NEW), printed


async def test_without_a_verdict_the_canary_keeps_its_share_and_the_next_run_goes_on(site: Open) -> None:
    here = await site()
    here.says("gate", 2)
    code, printed = await here.run()
    assert (code, here.weights()) == (2, [[80, 20]] * 2)
    assert printed.splitlines()[-1].startswith(f"not judged in time: {CANARY} keeps 20 % of the requests on httproute/{ROUTE}")
    here.says("gate", 0)
    code, printed = await here.run()
    assert (code, here.images()[STABLE]) == (0, NEW), printed
    assert here.asked == ["compare", "status", "gate", "gate"], "the share that it has is not given again"


async def test_without_a_verdict_the_share_is_taken_back_where_that_is_asked_for(site: Open) -> None:
    here = await site()
    here.says("gate", 2)
    code, printed = await here.run("--unjudged", "rollback")
    assert (code, here.weights(), here.images()[STABLE]) == (2, [[100, 0]] * 2, OLD), printed


@pytest.mark.parametrize(("number", "ending"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
async def test_a_pipeline_that_is_stopped_leaves_a_share_that_it_has_named(
    number: signal.Signals, ending: int, site: Open
) -> None:
    """While the gate waits; the next run goes on from there."""
    here = await site()
    async with here.rollout() as process:
        await gate(process)
        process.send(number)
        assert await process.ended() == ending
    named = [line for line in process.lines if line.startswith("weight: ")]
    assert named[-1].startswith(f"weight: {CANARY} gets 20 %")
    assert here.weights() == [[80, 20]] * 2
    if number != signal.SIGKILL:
        assert process.lines[-1].startswith(f"ended with exit code {ending}: {CANARY} keeps 20 %")
    here.says("gate", 0)
    code, printed = await here.run()
    assert (code, here.images()[STABLE], here.weights()) == (0, NEW, [[100, 0]] * 2), printed


async def test_what_healer_takes_while_the_gate_waits_is_a_roll_back(site: Open) -> None:
    """The gate sees no more requests, and would wait for hours."""
    here = await site()
    async with here.rollout() as process:
        await gate(process)
        here.shift()
        assert await process.ended() == 1
    assert f"{CANARY} was given 20 % of the requests for {NEW}, and has 0 %" in process.printed
    assert (here.weights(), here.images()[STABLE]) == ([[100, 0]] * 2, OLD)


async def test_a_good_verdict_does_not_promote_what_healer_has_taken(site: Open) -> None:
    here = await site()
    async with here.rollout("--watch", "600") as process:
        await gate(process)
        here.shift()
        here.says("gate", 0)
        assert await process.ended() == 1
    assert here.images()[STABLE] == OLD


@pytest.mark.parametrize(("verdict", "share", "code", "left"), [(None, 5, 3, 5), (1, 50, 1, 0)])
async def test_a_weight_that_changes_in_the_same_moment_is_lowered_and_never_raised(
    verdict: int | None, share: int, code: int, left: int, site: Open
) -> None:
    """Between the script's look and its write: before the canary gets its share, and when that is taken back."""
    here = await site()
    if verdict is not None:
        here.says("gate", 2)
        assert (await here.run())[0] == 2
        here.says("gate", verdict)
    (here.home / "kubectl").write_text(SLOW.replace("REAL", str(KUBECTL)), "utf-8")
    (here.home / "kubectl").chmod(0o755)
    here.environ["KUBECTL"] = str(here.home / "kubectl")
    async with here.rollout() as process:
        await process.until(lambda: "kubectl waits" in process.lines, "the write")
        here.shift(share)
        (here.home / "go").touch()
        assert await process.ended() == code
    assert here.weights() == [[100 - left, left]] * 2


async def test_what_somebody_else_rolls_out_is_neither_promoted_nor_taken_back(site: Open) -> None:
    here = await site()
    async with here.rollout() as process:
        await gate(process)
        here.change("deployments", CANARY, lambda each: each["spec"]["template"]["spec"]["containers"][0].update(image="other:1"))
        here.says("gate", 1)
        assert await process.ended() == 3
    assert "somebody else rolls out" in process.lines[-1]
    assert (here.weights(), here.images()[STABLE]) == ([[80, 20]] * 2, OLD)


def hurry(deployment: Object) -> None:
    """A rollout of it counts as failed after 0.4 s."""
    deployment["spec"] |= {"progressDeadlineSeconds": 20, "minReadySeconds": 0}


async def test_a_canary_that_does_not_start_gets_no_requests(site: Open) -> None:
    here = await site()
    here.change("deployments", CANARY, hurry)
    code, printed = await here.run(image=UNPULLABLE)
    assert (code, here.weights(), here.images()[STABLE]) == (1, [[100, 0]] * 2, OLD), printed
    assert here.asked == []


async def test_a_stable_that_does_not_start_gets_its_old_image_back(site: Open) -> None:
    """As where no node has room for one pod more: its old pods serve all the while."""
    here = await site()
    here.change("deployments", STABLE, hurry)
    floor = Floor(here.lab)
    async with here.rollout() as process:
        await gate(process)
        for node in here.lab.objects("nodes"):
            here.change("nodes", node["metadata"]["name"], lambda each: each["spec"].update(unschedulable=True))
        here.says("gate", 0)
        assert await process.ended() == 1
    assert re.search("rolled back: the rollout of .* failed", process.lines[-1])
    assert here.images() == {STABLE: OLD, CANARY: NEW}
    assert here.weights() == [[100, 0]] * 2
    assert floor.lowest == 4


@pytest.mark.parametrize(
    ("verb", "code", "answer", "says"),
    [
        ("compare", 2, "", "healer cannot judge"),
        ("status", 1, "", "no healer in the cluster leads"),
        ("status", 0, {"rules": [{"name": "canary/bad-canary", "mode": "observe"}]}, "no rule canary/bad-canary in mode enforce"),
    ],
)
async def test_a_canary_that_nobody_would_judge_or_guard_gets_no_requests(
    verb: str, code: int, answer: Any, says: str, site: Open
) -> None:
    here = await site()
    here.says(verb, code, answer)
    here.says("gate", 0)
    ended, printed = await here.run()
    assert (ended, here.weights()) == (3, [[100, 0]] * 2)
    assert says in printed.splitlines()[-1]
    if code == 1:
        ended, printed = await here.run("--unguarded")
        assert (ended, here.images()[STABLE]) == (0, NEW), printed
