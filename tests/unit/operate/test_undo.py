"""`healer undo`, against the lab: the very weights from before come back, and only those that are healer's to take back."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from healer.actions.base import NotUndone
from healer.actions.shift_traffic import ShiftTraffic
from healer.actions.undo_shift import ShiftReversal
from healer.lab import Lab
from healer.lab.kinds import DEPLOYMENT
from healer.lab.objects import Object
from healer.model.incident import State
from healer.operate.objects import OperateError, object_ref
from healer.operate.undo import Undoing, undo
from healer.routes.base import CanaryRoute, Weights
from healer.routes.note import Note
from healer.rules.named_workload import NamedWorkload
from tests.support.healer import HEALER, environment, verb
from tests.support.processes import PATIENCE
from tests.unit.operate.conftest import NAME, SPACE, Place
from tests.unit.routes.conftest import gateway, slice_of

pytestmark = pytest.mark.slow

ID = "crash-loop-1"
STABLE, CANARY = "serving-stable", "serving-canary"
ROUTE = CanaryRoute(SPACE, "HTTPRoute", "model", STABLE, CANARY)
NOTE = Note("80:20", "100:0", "0", 0)
BY = {"healer.dev/undone-by": "alice"}

KEPT_BY = ShiftTraffic.spec.name
OF = "kubernetes.io/service-name"

Pair = tuple[int, int]


def rules(*weights: Pair) -> list[Object]:
    return [
        {"backendRefs": [{"name": STABLE, "weight": stable}, {"name": CANARY, "weight": canary}, {"name": "third", "weight": 7}]}
        for stable, canary in weights
    ]


class Shifted:
    """The place, with an incident that has shifted all traffic off a canary that had 20 percent."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.lab = place.lab
        self.api = place.api

    async def set_up(self) -> None:
        await self.lab.apply([gateway(), slice_of(STABLE, True), slice_of(CANARY, True)])
        head = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": CANARY, "namespace": SPACE}}
        await self.lab.apply(head | {"spec": {"selector": {"app": NAME}, "ports": [{"port": 8501}]}})
        await self.route("model", (100, 0))
        await self.kept(NOTE)

    async def route(self, name: str, *weights: Pair) -> None:
        head = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
        await self.lab.apply(head | {"metadata": {"name": name, "namespace": SPACE}, "spec": {"rules": rules(*weights)}})

    async def kept(self, *notes: Note, state: State = State.HEALED) -> None:
        """An incident with what the action has kept beside it, a route each: "model", "model-1", ..."""
        await self.place.keep(self.place.incident(state, rule="canaries/bad"))
        keys = [ROUTE.key.replace("/model/", f"/model{f'-{number}' if number else ''}/") for number in range(len(notes))]
        status = {"notices": {KEPT_BY: {key: str(note) for key, note in zip(keys, notes, strict=True)}}}
        await self.status(status)

    async def status(self, status: Object) -> None:
        path = f"{object_ref('Incident', SPACE, ID).path}/status"
        await self.api.request("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")

    def set(self, *weights: Pair, name: str = "model") -> None:
        """As somebody else does it."""
        kind = self.lab.api.kinds.named("httproutes")
        self.lab.api.modify(kind, SPACE, name, lambda obj: obj["spec"].update(rules=rules(*weights)))

    def weights(self, name: str = "model") -> list[Pair]:
        """As the cluster has them."""
        (route,) = [obj for obj in self.lab.objects("httproutes") if obj["metadata"]["name"] == name]
        found = [{ref["name"]: ref["weight"] for ref in rule["backendRefs"]} for rule in route["spec"]["rules"]]
        assert all(each["third"] == 7 for each in found)
        return [(each[STABLE], each[CANARY]) for each in found]

    @property
    def signed(self) -> dict[str, str]:
        """The annotations of the incident."""
        return self.place.annotations("incidents", ID)

    async def undo(self, *, force: bool = False, by: str = "alice", show: Callable[[Undoing], None] = lambda _: None) -> Undoing:
        self.lab.requests.clear()
        return await undo(self.api, SPACE, ID, by, show, force=force)

    async def type(self, *arguments: str) -> tuple[int, str]:
        """The verb as a process."""
        return await verb("undo", *arguments, home=self.place.home, KUBECONFIG=self.place.kubeconfig)

    async def type_on_a_terminal(self, answer: str, *arguments: str) -> tuple[int, str]:
        """The verb as a process whose standard input is a terminal on which that was typed."""
        ours, theirs = os.openpty()
        try:
            os.write(ours, f"{answer}\n".encode())
            program = await asyncio.create_subprocess_exec(
                HEALER,
                "undo",
                *arguments,
                stdin=theirs,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=environment(self.place.home, {"KUBECONFIG": self.place.kubeconfig}),
            )
            async with asyncio.timeout(PATIENCE):
                said, _ = await program.communicate()
        finally:
            os.close(ours)
            os.close(theirs)
        assert program.returncode is not None
        return program.returncode, said.decode()

    @property
    def patched(self) -> list[str]:
        return [seen.permission for seen in self.lab.requests if seen.verb == "patch"]


@pytest.fixture
async def shifted(place: Place) -> Shifted:
    shifted = Shifted(place)
    await shifted.set_up()
    return shifted


def _endpoints(lab: Lab) -> list[bool]:
    """Whether each endpoint of the canary is ready."""
    slices = [each for each in lab.objects("endpointslices", SPACE) if each["metadata"]["labels"].get(OF) == CANARY]
    return [bool(endpoint["conditions"]["ready"]) for each in slices for endpoint in each.get("endpoints") or ()]


async def test_the_weights_from_before_come_back_and_it_is_written_who_did_it(shifted: Shifted) -> None:
    shown: list[str] = []
    undoing = await shifted.undo(by="  alice ", show=lambda found: shown.append(str(found)))
    assert shifted.weights() == [(80, 20)]
    assert shifted.signed == BY
    assert (undoing.by, undoing.needed) == ("alice", True)
    assert shown == [
        f"incident {ID} (canaries/bad, healed) on {shifted.place.workload} in production\n"
        f"  httproute/model: canary 0 % -> 20 %, weights 100:0 -> 80:20 ({STABLE}:{CANARY})"
    ]


async def test_a_second_time_there_is_nothing_left_to_do(shifted: Shifted) -> None:
    await shifted.undo()
    undoing = await shifted.undo(by="bob")
    assert (undoing.needed, undoing.by, shifted.patched) == (False, "alice", [])


async def test_one_that_was_cut_off_before_it_was_signed_is_signed(shifted: Shifted) -> None:
    dry_run = iter([True, False])
    shifted.lab.faults.answer(500, verb="patch", resource="incidents", match=lambda _: not next(dry_run))
    with pytest.raises(Exception, match="500"):
        await shifted.undo()
    assert shifted.weights() == [(80, 20)]
    await shifted.undo()
    assert (shifted.patched, shifted.signed) == (["incidents"], BY)


async def test_every_split_and_every_route(shifted: Shifted) -> None:
    shifted.set((100, 0), (5, 0))
    await shifted.route("model-1", (9, 1))
    await shifted.kept(Note("80:20,3:2", "100:0,5:0", "0", 0), Note("5:5", "9:1", "1", 10))
    await shifted.undo()
    assert (shifted.weights(), shifted.weights("model-1")) == ([(80, 20), (3, 2)], [(5, 5)])


async def test_what_was_journaled_and_never_sent_needs_nothing(shifted: Shifted) -> None:
    shifted.set((80, 20))
    assert not (await shifted.undo()).needed
    assert shifted.patched == ["incidents"]


@pytest.mark.parametrize("weights", [(50, 50), (0, 0), (99, 1)])
async def test_weights_that_somebody_has_changed_since_stay_unless_forced(shifted: Shifted, weights: Pair) -> None:
    shifted.set(weights)
    with pytest.raises(NotUndone, match=r"httproute/model has weights .*, and healer set 100:0: somebody .* --force puts 80:20"):
        await shifted.undo()
    assert (shifted.weights(), shifted.patched, shifted.signed) == ([weights], [], {})
    await shifted.undo(force=True)
    assert (shifted.weights(), shifted.signed) == ([(80, 20)], BY)


async def test_weights_that_somebody_changes_while_it_is_shown_stay(shifted: Shifted) -> None:
    with pytest.raises(NotUndone, match="has weights 60:40"):
        await shifted.undo(show=lambda _: shifted.set((60, 40)))
    assert (shifted.weights(), shifted.signed) == ([(60, 40)], {})


async def test_one_route_that_somebody_changed_leaves_all_as_they_are(shifted: Shifted) -> None:
    await shifted.route("model-1", (1, 1))
    await shifted.kept(NOTE, Note("5:5", "9:1", "1", 10))
    with pytest.raises(NotUndone, match="httproute/model-1 has weights 1:1"):
        await shifted.undo()
    assert (shifted.weights(), shifted.patched) == ([(100, 0)], [])


@pytest.mark.parametrize("force", [False, True])
async def test_splits_that_came_or_went_cannot_be_told_apart(shifted: Shifted, force: bool) -> None:
    shifted.set((100, 0), (100, 0))
    with pytest.raises(NotUndone, match=r"2 splits, not 1 as before: set its weights by hand \(they were 80:20\)"):
        await shifted.undo(force=force)
    assert shifted.patched == []


async def test_no_traffic_for_a_canary_without_ready_endpoints(shifted: Shifted) -> None:
    """Neither by hand nor by its pods: the Deployment is scaled to 0."""
    shifted.lab.api.modify(DEPLOYMENT, SPACE, NAME, lambda obj: obj["spec"].update(replicas=0))
    kind = shifted.lab.api.kinds.named("endpointslices")
    slices = slice_of(CANARY, False)
    shifted.lab.api.modify(kind, SPACE, slices["metadata"]["name"], lambda obj: obj.update(endpoints=slices["endpoints"]))
    await shifted.lab.wait_for(lambda lab: not lab.objects("pods", SPACE) and _endpoints(lab) == [False], PATIENCE)
    with pytest.raises(NotUndone, match=f"service/{CANARY} has no ready endpoints"):
        await shifted.undo(force=True)
    assert (shifted.weights(), shifted.signed) == ([(100, 0)], {})


async def test_a_route_that_is_gone(shifted: Shifted) -> None:
    shifted.lab.store.remove(shifted.lab.api.kinds.named("httproutes").stored_in, (SPACE, "model"))
    with pytest.raises(NotUndone, match="there is no httproute/model in production"):
        await shifted.undo()


@pytest.mark.parametrize("notices", [{}, {KEPT_BY: {}}, {"slack": {"ts": "1"}}])
async def test_nothing_was_shifted(shifted: Shifted, notices: Any) -> None:
    await shifted.kept()
    await shifted.status({"notices": None})
    await shifted.status({"notices": notices})
    with pytest.raises(NotUndone, match=f"healer has taken no action for incident/{ID} in production that can be undone"):
        await shifted.undo()


@pytest.mark.parametrize("force", [False, True])
async def test_a_note_for_a_route_of_another_namespace_is_not_believed(shifted: Shifted, force: bool) -> None:
    """Whoever may write incidents in one namespace must move no traffic of another."""
    key = ROUTE.key.replace(SPACE, "elsewhere", 1)
    await shifted.status({"notices": {KEPT_BY: {key: str(NOTE)}}})
    with pytest.raises(NotUndone, match="a note for httproute/model in namespace elsewhere"):
        await shifted.undo(force=force)
    assert (shifted.weights(), shifted.patched) == ([(100, 0)], [])


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("selector", [{"app": "other"}, {"app": NAME, "version": "v9"}, {}])
async def test_a_note_for_a_service_of_another_workload_is_not_believed(
    shifted: Shifted, selector: dict[str, str], force: bool
) -> None:
    """Whoever writes an incident of his own workload must move no traffic of another one."""
    service = shifted.lab.api.kinds.named("services")
    shifted.lab.api.modify(service, SPACE, CANARY, lambda obj: obj["spec"].update(selector=selector))
    refused = f"about {shifted.place.workload}, and its note is for httproute/model: its canary service/{CANARY} does not lead"
    with pytest.raises(NotUndone, match=refused):
        await shifted.undo(force=force)
    assert (shifted.weights(), shifted.patched) == ([(100, 0)], [])


async def test_a_note_for_a_subset_of_another_workload_is_not_believed(shifted: Shifted) -> None:
    """A subset is told apart by its Deployment, which the note names."""
    key = replace(ROUTE, counted_by=(NamedWorkload("stable"), NamedWorkload("other"))).key
    await shifted.status({"notices": {KEPT_BY: {ROUTE.key: None, key: str(NOTE)}}})
    with pytest.raises(NotUndone, match="its canary is deployment/other"):
        await shifted.undo()
    assert shifted.patched == []


async def test_a_service_that_is_gone_leaves_it_unknown_whose_traffic_it_is(shifted: Shifted) -> None:
    """What cannot be looked at is not put back."""
    shifted.lab.store.remove(shifted.lab.api.kinds.named("services").stored_in, (SPACE, CANARY))
    with pytest.raises(NotUndone, match=f"service/{CANARY} leads to .* is not known, because one of them is gone"):
        await shifted.undo()
    assert shifted.patched == []


async def test_a_note_of_a_workload_of_another_kind_is_not_believed(shifted: Shifted) -> None:
    """Only Deployments can be looked at: whether the Service leads to what an incident calls a Job is not known."""
    incident = shifted.place.incident(State.HEALED, rule="canaries/bad")
    shifted.lab.store.remove(shifted.lab.api.kinds.named("incidents").stored_in, (SPACE, ID))
    await shifted.place.keep(replace(incident, workload=replace(incident.workload, kind="Job")))
    await shifted.status({"notices": {KEPT_BY: {ROUTE.key: str(NOTE)}}})
    with pytest.raises(NotUndone, match="is not known, because healer does not act on a Job"):
        await shifted.undo()
    assert shifted.patched == []


def test_a_route_of_another_namespace_is_shown_with_it() -> None:
    """A rule may name a route elsewhere; whoever puts its weights back sees where it is."""
    move = ShiftReversal(replace(ROUTE, apart="gateways"), Weights.parse("100:0"), Weights.parse("100:0"), Weights.parse("80:20"))
    assert str(move).startswith("httproute/model in namespace gateways: canary 0 % -> 20 %")


async def test_what_cannot_be_read_or_is_not_there(shifted: Shifted) -> None:
    await shifted.status({"notices": {KEPT_BY: {"x": "y"}}})
    with pytest.raises(OperateError, match=f"incident/{ID} in production cannot be read"):
        await shifted.undo()
    with pytest.raises(OperateError, match="there is no incident/typo in production"):
        await undo(shifted.api, SPACE, "typo", "alice", lambda _: None)
    with pytest.raises(OperateError, match="--by"):
        await shifted.undo(by=" ")


@pytest.mark.parametrize("state", [State.VERIFYING, State.ESCALATED])
async def test_an_open_incident_may_shift_again_and_that_is_said(shifted: Shifted, state: State) -> None:
    await shifted.kept(NOTE, state=state)
    shown: list[str] = []
    await shifted.undo(show=lambda found: shown.append(str(found)))
    assert f"the incident is {state}: healer may act again; healer pause {shifted.place.workload}" in shown[0]


# as it is typed


async def test_typed(shifted: Shifted) -> None:
    code, said = await shifted.type(f"incident/{ID}")
    assert code == 0
    assert said.splitlines()[0].startswith(f"incident {ID} (canaries/bad, healed)")
    assert said.splitlines()[-1] == "undone by alice"
    assert (shifted.weights(), shifted.signed) == ([(80, 20)], BY)
    code, said = await shifted.type(f"incident/{ID}", "--by", "bob")
    assert (code, said.splitlines()[-1]) == (0, "nothing was left to do: undone by alice")


async def test_typed_for_programs(shifted: Shifted) -> None:
    code, said = await shifted.type(f"incident/{ID}", "-n", SPACE, "-o", "json", "--by", "pipeline")
    route = {"kind": "HTTPRoute", "name": "model", "stable": STABLE, "canary": CANARY}
    weights = {"found": "100:0", "setByHealer": "100:0", "before": "80:20"}
    assert (code, json.loads(said)) == (
        0,
        {"incident": ID, "namespace": SPACE, "undone": True, "by": "pipeline", "routes": [route | weights]},
    )


async def test_typed_in_vain(shifted: Shifted) -> None:
    shifted.set((50, 50))
    code, said = await shifted.type(f"incident/{ID}")
    assert code == 1
    assert "healer: nothing was undone: httproute/model has weights 50:50" in said
    assert (await shifted.type(f"incident/{ID}", "--force"))[0] == 0
    for arguments in (("incident/typo",), ("pod/x",), (f"incident/{ID}", "--context", "away")):
        code, said = await shifted.type(*arguments)
        assert (code, said.startswith("healer: ")) == (2, True)


@pytest.mark.parametrize("options", [(), ("-o", "json")], ids=["text", "json"])
@pytest.mark.parametrize(("answer", "code", "weights"), [("n", 1, (100, 0)), ("y", 0, (80, 20))])
async def test_on_a_terminal_it_asks_first(
    shifted: Shifted, answer: str, code: int, weights: Pair, options: tuple[str, ...]
) -> None:
    """A person sees what is put back before it is; "no" leaves the route and the incident as they are."""
    ended, said = await shifted.type_on_a_terminal(answer, f"incident/{ID}", *options)
    assert (ended, shifted.weights()) == (code, [weights])
    assert said.index("canary 0 % -> 20 %") < said.index("Put this back?")
    assert shifted.signed == (BY if code == 0 else {})


async def test_on_a_terminal_yes_is_not_asked(shifted: Shifted) -> None:
    """Scripts that run under a terminal pass --yes."""
    ended, said = await shifted.type_on_a_terminal("n", f"incident/{ID}", "--yes")
    assert (ended, shifted.weights()) == (0, [(80, 20)])
    assert "Put this" not in said


async def test_who_may_not_say_so_on_the_incident_undoes_nothing(shifted: Shifted) -> None:
    """The server is asked first: healer would shift again after a change that it did not hear of."""
    shifted.lab.admission.policy("to undo takes the verb undo", reason="Forbidden", resource="incidents")
    code, said = await shifted.type(f"incident/{ID}")
    assert (code, "to undo takes the verb undo" in said, "--clusterrole=healer-approver" in said) == (2, True, True), said
    assert (shifted.weights(), shifted.signed) == ([(100, 0)], {})


async def test_the_name_is_the_one_that_the_server_knows(shifted: Shifted) -> None:
    shifted.place.known_as("oidc:alice")
    assert (await shifted.type(f"incident/{ID}"))[0] == 0
    assert (shifted.weights(), shifted.signed) == ([(80, 20)], {"healer.dev/undone-by": "oidc:alice"})
