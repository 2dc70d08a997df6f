"""`cordon` over HTTP against the lab: one node at a time, never somebody else's, and the way back."""

import pytest

from healer.actions.base import Clients, NotUndone, Reversal
from healer.actions.cordon import Cordon, CordonParams
from healer.daemon.unusable import unusable
from healer.engine.tuning import LimitSettings
from healer.lab.kinds import NODE
from healer.lab.objects import Object
from healer.model.action import Outcome, OutcomeKind
from healer.model.incident import Reason
from healer.model.temporary import TemporaryChange, changes
from healer.settings import Settings
from tests.support.world import rule, rulebook
from tests.unit.actions.conftest import NAMESPACE, Bench

pytestmark = pytest.mark.slow

ON = LimitSettings(cordon=True, cordon_share=50)
BY = "healer.dev/cordoned-by"


def node(bench: Bench) -> Object:
    """The node that the pod is on."""
    pod = bench.pod()
    assert pod is not None
    (found,) = [each for each in bench.lab.objects("nodes") if each["metadata"]["name"] == pod["spec"]["nodeName"]]
    return found


def mark(bench: Bench, *, name: str = "", unschedulable: bool | None = None, by: str | None = None) -> None:
    """Somebody changes a node: the pod's, unless another is named."""

    def change(obj: Object) -> None:
        if unschedulable is not None:
            obj["spec"]["unschedulable"] = unschedulable
        if by is not None:
            obj["metadata"]["annotations"] = {BY: by}

    bench.lab.api.modify(NODE, "", name or node(bench)["metadata"]["name"], change)


async def cordon(bench: Bench, limits: LimitSettings = ON, *, dry_run: bool = False, sick: bool = True) -> Outcome:
    """One attempt."""
    bench.limits = limits
    return await bench.attempt("cordon", params=CordonParams(), dry_run=dry_run, sick=sick)


def verdict(outcome: Outcome) -> tuple[OutcomeKind, str]:
    return outcome.kind, outcome.reason


def mine(bench: Bench) -> str:
    """The incident of the attempts, as a node names it."""
    return f"{NAMESPACE}/{bench.incident().id}"


async def back(bench: Bench) -> Reversal:
    """The way back, as the node stands now."""
    ((key, change),) = changes(bench.kept).items()
    return await Cordon().reversal(Clients(bench.api), bench.incident(), key, change)


async def test_the_node_takes_no_new_pods_and_says_for_whom(bench: Bench) -> None:
    """One patch, of what was just read; and a second attempt finds it done."""
    assert verdict(await cordon(bench)) == (OutcomeKind.DONE, "Cordoned")
    assert bench.writes == ["patch nodes"]
    assert node(bench)["spec"]["unschedulable"] is True
    assert node(bench)["metadata"]["annotations"] == {BY: mine(bench)}
    assert bench.untouched
    assert changes(bench.kept) == {
        f"node/{node(bench)['metadata']['name']}": TemporaryChange("", node(bench)["metadata"]["uid"], "0", lasts=3600.0)
    }
    assert verdict(await cordon(bench)) == (OutcomeKind.DONE, "FoundDone")
    assert bench.writes == []


async def test_a_dry_run_changes_and_keeps_nothing(bench: Bench) -> None:
    """The API server checks the patch all the same."""
    assert verdict(await cordon(bench, dry_run=True)) == (OutcomeKind.DONE, "WouldCordon")
    assert bench.writes == ["patch nodes"]
    assert "unschedulable" not in node(bench)["spec"]
    assert bench.kept == {}


async def test_it_is_off_unless_the_settings_say_otherwise(bench: Bench) -> None:
    """An older daemon's incident finds it off as well as a rule that is loaded."""
    assert verdict(await cordon(bench, LimitSettings())) == (OutcomeKind.REFUSED, "CordonOff")
    assert bench.writes == []


def test_a_rule_that_uses_it_is_an_error_without_the_setting() -> None:
    """The message names the setting; a rule without it is none of its business."""
    rules = rulebook(rule(heal=[{"cordon": {}}, {"evict": {}}]))
    (problem,) = unusable(rules, Settings())
    assert problem.message.endswith("uses the action cordon, which needs the setting HEALER_LIMITS__CORDON")
    assert problem.hint == "set HEALER_LIMITS__CORDON, or limits.cordon in the settings file"
    assert unusable(rules, Settings(limits=ON)) == []
    assert unusable(rulebook(rule()), Settings()) == []


async def test_what_somebody_else_has_cordoned_or_treats_is_left_as_it_is(bench: Bench) -> None:
    """A person, or a remediator by its taint."""
    mark(bench, unschedulable=True)
    assert verdict(await cordon(bench)) == (OutcomeKind.REFUSED, "CordonedByOther")
    mark(bench, unschedulable=False)
    taint = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
    bench.lab.api.modify(NODE, "", node(bench)["metadata"]["name"], lambda obj: obj["spec"].update(taints=[taint]))
    outcome = await cordon(bench)
    assert verdict(outcome) == (OutcomeKind.REFUSED, "NodeRemediated")
    assert "Karpenter (karpenter.sh/disrupted)" in outcome.text
    assert bench.writes == []


async def test_so_many_nodes_of_healers_and_no_more(bench: Bench) -> None:
    """Another incident has one already; and of three nodes a quarter is none."""
    (other, *_) = [each["metadata"]["name"] for each in bench.lab.objects("nodes") if each != node(bench)]
    assert verdict(await cordon(bench, LimitSettings(cordon=True))) == (OutcomeKind.REFUSED, "CordonLimit")
    mark(bench, name=other, unschedulable=True, by="production/other")
    outcome = await cordon(bench, ON.model_copy(update={"cordon_share": 100}))
    assert verdict(outcome) == (OutcomeKind.REFUSED, "CordonLimit")
    assert outcome.text == f"healer has cordoned {other}, and may cordon 1 (HEALER_LIMITS__CORDON_NODES)"
    more = ON.model_copy(update={"cordon_nodes": 2, "cordon_share": 100})
    assert verdict(await cordon(bench, more)) == (OutcomeKind.DONE, "Cordoned")


@pytest.mark.parametrize("what", ["replaced", "recovered", "unwanted", "paused"])
async def test_the_pod_is_looked_at_right_before(bench: Bench, what: str) -> None:
    """It is the same, sick, wanted, and healer is not paused for it."""
    bench.limits = ON
    wanted = Reason("Resolved", "it has ended")
    if what == "replaced":
        bench.replace()
    if what == "paused":
        bench.change(**{"healer.dev/paused": "true"})
    outcome = await bench.attempt(
        "cordon",
        params=CordonParams(),
        sick=what != "recovered",
        wanted=lambda: wanted if what == "unwanted" else None,
    )
    expected = {"replaced": "Replaced", "recovered": "Recovered", "unwanted": "Resolved", "paused": "Paused"}
    assert outcome.reason == expected[what]
    assert bench.writes == []


async def test_what_changes_between_the_look_and_the_request_is_looked_at_again(bench: Bench) -> None:
    """Somebody cordons it at that moment: the patch does not apply."""
    bench.limits = ON
    outcome = await bench.attempt("cordon", params=CordonParams(), meanwhile=lambda: mark(bench, unschedulable=True))
    assert verdict(outcome) == (OutcomeKind.DEFERRED, "Changed")
    assert verdict(await cordon(bench)) == (OutcomeKind.REFUSED, "CordonedByOther")


async def test_the_last_incident_has_the_node_take_pods_again(bench: Bench) -> None:
    """Two incidents have it cordoned: the first to end only goes from the note."""
    mark(bench, unschedulable=True, by="production/other")
    assert verdict(await cordon(bench)) == (OutcomeKind.DONE, "Cordoned")
    assert node(bench)["metadata"]["annotations"] == {BY: f"production/other,{mine(bench)}"}
    await (await back(bench)).put_back(bench.api, force=False)
    assert node(bench)["spec"]["unschedulable"] is True
    assert node(bench)["metadata"]["annotations"] == {BY: "production/other"}
    mark(bench, by=mine(bench))
    await (await back(bench)).put_back(bench.api, force=False)
    assert "unschedulable" not in node(bench)["spec"]
    assert (await back(bench)).done


async def test_who_takes_healers_note_away_has_the_node_for_himself(bench: Bench) -> None:
    """It stays cordoned, unless forced."""
    await cordon(bench)
    mark(bench, by="")
    way = await back(bench)
    with pytest.raises(NotUndone, match=r"does not name .*: somebody else wants it so. --force"):
        way.check(force=False)
    with pytest.raises(NotUndone, match="somebody else wants it so"):
        await way.put_back(bench.api, force=False)
    assert node(bench)["spec"]["unschedulable"] is True
    await way.put_back(bench.api, force=True)
    assert "unschedulable" not in node(bench)["spec"]


async def test_a_node_that_a_remediator_treats_by_now_stays_cordoned(bench: Bench) -> None:
    """kured drains it: to let it take pods again would be to work against that."""
    await cordon(bench)

    def reboot(obj: Object) -> None:
        obj["metadata"]["annotations"]["weave.works/kured-reboot-in-progress"] = "now"

    bench.lab.api.modify(NODE, "", node(bench)["metadata"]["name"], reboot)
    way = await back(bench)
    with pytest.raises(NotUndone, match=r"is treated by kured .* and stays cordoned"):
        await way.put_back(bench.api, force=False)
    assert node(bench)["spec"]["unschedulable"] is True


async def test_a_node_that_was_made_anew_is_another_one(bench: Bench) -> None:
    """Its name alone says nothing."""
    await cordon(bench)
    ((key, change),) = changes(bench.kept).items()
    other = TemporaryChange(change.before, "another-uid", change.step)
    assert (await Cordon().reversal(Clients(bench.api), bench.incident(), key, other)).done


@pytest.mark.parametrize("key", ["pod/x", "node/", "node/../secrets/x", "x"])
async def test_a_note_that_names_no_node_is_an_error(bench: Bench, key: str) -> None:
    """Nothing else is ever patched by it."""
    with pytest.raises(ValueError, match="is no node"):
        await Cordon().reversal(Clients(bench.api), bench.incident(), key, TemporaryChange("", "u", "0"))
