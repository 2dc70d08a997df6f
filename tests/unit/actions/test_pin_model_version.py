"""`pinModelVersion` over HTTP against the lab and servers that report their status: make before break, nothing else touched."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from aiohttp import web
from pydantic import ValidationError

from healer.actions.base import Call
from healer.actions.pin_model_version import PinModelVersion, PinModelVersionParams
from healer.actions.registry import ACTIONS
from healer.cluster.managed import manager_of
from healer.lab.objects import Object
from healer.model.action import Outcome, OutcomeKind
from healer.model.annotations import MODEL_HISTORY
from healer.model.incident import Reason
from healer.model_servers.versions import ConfiguredModel, specific
from healer.workloads.base import WholeMeta
from tests.unit.actions.conftest import NAMESPACE, Bench
from tests.unit.actions.versions import ADDRESSES, FILE, MAP, Stand, place_pods, standing

pytestmark = pytest.mark.slow


@pytest.fixture
async def stand(bench: Bench) -> AsyncIterator[Stand]:
    async with standing(bench) as stand:
        yield stand


async def test_pinned_to_the_stable_version_with_its_labels(stand: Stand) -> None:
    outcome = await stand.pin(more={"label": "stable"})
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "Pinned")
    assert outcome.text == (
        "model ranker in configmap/models is pinned to version 41: it was specific 41, 42; label canary moves from version 42, "
        "which is not loaded any more, to 41"
    )
    assert stand.served() == ConfiguredModel("ranker", "/models/ranker", specific([41]), {"stable": 41, "canary": 41})
    assert stand.bench.writes == ["patch configmaps"]
    assert stand.bench.sent == ["pinModelVersion"]
    assert stand.map["data"]["monitoring.config"] == "prometheus_config { enable: true }"
    assert (
        stand.text.replace("versions: 41 }", "versions: 41 versions: 42 }").replace(
            'key: "canary" value: 41', 'key: "canary" value: 42'
        )
        == FILE
    )


async def test_what_the_file_said_is_kept_before_and_the_history_tells_it(stand: Stand) -> None:
    await stand.pin()
    kept = stand.bench.kept
    assert {key: kept[key] for key in ("configMap", "key", "model", "version")} == {
        "configMap": MAP,
        "key": "models.config",
        "model": "ranker",
        "version": "41",
    }
    before = {"policy": "specific 41, 42", "versions": [41, 42], "labels": {"canary": 42, "stable": 41}}
    assert msgspec.json.decode(kept["from"]) == before
    (entry,) = msgspec.json.decode(stand.map["metadata"]["annotations"][MODEL_HISTORY])
    assert entry["from"] == before
    assert entry["to"] == {"policy": "specific 41", "versions": [41], "labels": {"canary": 41, "stable": 41}}
    assert (entry["what"], entry["model"], entry["key"]) == ("pinModelVersion", "ranker", "models.config")
    assert entry["who"].startswith("healer (crash-loop-")


async def test_nothing_is_sent_when_nothing_can_be_kept(stand: Stand) -> None:
    stand.bench.unkept = Outcome(OutcomeKind.DEFERRED, "NotJournaled", "no journal")
    assert await stand.pin() == stand.bench.unkept
    assert stand.bench.writes == []
    assert stand.text == FILE


async def test_a_second_try_finds_it_done(stand: Stand) -> None:
    await stand.pin()
    again = await stand.pin()
    assert (again.kind, again.reason) == (OutcomeKind.DONE, "FoundDone")
    assert stand.bench.writes == []


async def test_what_somebody_else_pinned_is_done_already(stand: Stand) -> None:
    await stand.pin()
    stand.bench.kept = {}
    again = await stand.pin()
    assert (again.kind, again.reason) == (OutcomeKind.DONE, "AlreadyPinned")
    assert stand.bench.writes == []


async def test_a_version_that_is_not_loaded_is_loaded_beside_the_others_first(stand: Stand) -> None:
    stand.all_say((42, "AVAILABLE"), (41, "END"))
    first = await stand.pin("free")
    assert (first.kind, first.reason, first.begun) == (OutcomeKind.DEFERRED, "Loading", True)
    assert "41 END" in first.text
    assert "latest 1 -> specific 41, 42" in first.text
    assert stand.served("free").policy == specific([41, 42])
    stand.all_say((42, "AVAILABLE"), (41, "LOADING"))
    waits = await stand.pin("free")
    assert (waits.kind, waits.reason) == (OutcomeKind.DEFERRED, "Loading")
    assert stand.bench.writes == []
    stand.all_say((42, "AVAILABLE"), (41, "AVAILABLE"))
    done = await stand.pin("free")
    assert (done.kind, done.reason) == (OutcomeKind.DONE, "Pinned")
    assert stand.served("free").policy == specific([41])
    assert msgspec.json.decode(stand.bench.kept["from"])["policy"] == "latest 1", "that of before the first write stays"


async def test_one_server_without_the_version_is_enough_to_wait(stand: Stand) -> None:
    stand.servers.say(ADDRESSES[1], (42, "AVAILABLE"), (41, "LOADING"))
    outcome = await stand.pin()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "Loading")
    assert stand.bench.writes == []


async def test_a_label_never_moves_to_a_version_that_is_not_available(stand: Stand) -> None:
    stand.all_say((41, "AVAILABLE"), (42, "AVAILABLE"))
    outcome = await stand.pin(more={"version": 40})
    assert outcome.kind is OutcomeKind.DEFERRED
    assert stand.served() == ConfiguredModel("ranker", "/models/ranker", specific([40, 41, 42]), {"stable": 41, "canary": 42})


async def test_a_version_that_cannot_be_loaded_is_refused(stand: Stand) -> None:
    stand.servers.say(ADDRESSES[0], (42, "AVAILABLE"), (41, "END", "NOT_FOUND", "no such file"))
    outcome = await stand.pin()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "CannotLoad")
    assert "41 END (NOT_FOUND: no such file)" in outcome.text
    assert stand.text == FILE


async def test_a_version_that_is_not_on_the_disk_is_refused(stand: Stand) -> None:
    outcome = await stand.pin("every", more={"version": 7})
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "NotOnDisk")
    assert stand.text == FILE


async def test_servers_that_say_nothing_hold_it(stand: Stand) -> None:
    stand.servers.say(ADDRESSES[2], raw=web.Response(text="<html>", status=502))
    outcome = await stand.pin()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "ServersUnknown")
    assert "502" in outcome.text
    assert stand.text == FILE


async def test_servers_that_serve_nothing_have_nothing_to_lose(stand: Stand) -> None:
    stand.all_say((42, "END"))
    outcome = await stand.pin("free")
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "Pinned")
    assert stand.served("free").policy == specific([41])


async def test_but_they_would_refuse_a_label_that_moves(stand: Stand) -> None:
    stand.all_say((42, "END"))
    outcome = await stand.pin(more={"version": 40})
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "Loading")
    assert stand.served() == ConfiguredModel("ranker", "/models/ranker", specific([40, 41, 42]), {"stable": 41, "canary": 42})


async def test_without_a_ready_pod_there_is_nothing_to_lose(stand: Stand) -> None:
    place_pods(stand.bench, ready=0)
    outcome = await stand.pin()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "Pinned")
    assert stand.servers.asked == []


@pytest.mark.parametrize(("ready", "reason"), [(True, "ServersUnknown"), (False, "Pinned")])
async def test_a_server_that_refuses_holds_it_where_its_pod_is_ready_and_else_has_nothing_to_lose(
    stand: Stand, ready: bool, reason: str
) -> None:
    """One that starts is not asked. A ready one serves, and what it would lose is not known."""
    one = stand.bench.view.pods_of(stand.bench.workload)[0]
    status = msgspec.structs.replace(one.status, pod_ip="127.0.0.9", conditions=one.status.conditions if ready else ())
    stand.bench.view.put(msgspec.structs.replace(one, status=status))
    outcome = await stand.pin()
    assert outcome.reason == reason
    assert (stand.text == FILE) is ready


async def test_observe_changes_nothing(stand: Stand) -> None:
    outcome = await stand.pin(dry_run=True)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "WouldPin")
    assert "would be pinned to version 41" in outcome.text
    assert stand.bench.writes == ["patch configmaps"], "a dry run of the server"
    assert stand.text == FILE
    assert MODEL_HISTORY not in (stand.map["metadata"].get("annotations") or {})
    assert stand.bench.kept == {}


async def test_observe_says_what_would_come_first(stand: Stand) -> None:
    outcome = await stand.pin(dry_run=True, more={"version": 40})
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "WouldPin")
    assert "loaded beside the others first" in outcome.text
    assert stand.text == FILE


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": f"shop:/ConfigMap:{NAMESPACE}/{MAP}"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}, "Flux"),
    ],
)
async def test_a_file_that_git_manages_is_left_alone_unless_told(stand: Stand, metadata: Object, said: str) -> None:
    stand.modify_map(lambda obj: obj["metadata"].update(metadata))
    outcome = await stand.pin()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "Managed")
    assert said in outcome.text
    assert "evenIfManaged" in outcome.text
    assert stand.text == FILE
    assert (await stand.pin(more={"version": 41, "even_if_managed": True})).reason == "Pinned"


def test_a_controller_that_has_set_the_data_manages_it_labels_or_not() -> None:
    def by(fields: Object) -> str | None:
        meta = {"name": MAP, "uid": "u", "managedFields": [{"manager": "kustomize-controller", "fieldsV1": fields}]}
        return manager_of(msgspec.convert(meta, WholeMeta), kind="ConfigMap", part=("f:data",))

    assert by({"f:data": {"f:models.config": {}}}) == "Flux (a Kustomization)"
    assert by({"f:metadata": {"f:labels": {}}}) is None


async def test_a_file_that_the_pods_do_not_mount(stand: Stand) -> None:
    stand.template(lambda spec: spec.pop("volumes"))
    outcome = await stand.pin()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "NotMounted")
    assert stand.text == FILE


async def test_what_people_must_know_of_the_servers_is_said(stand: Stand) -> None:
    def bare(spec: Object) -> None:
        spec["containers"][0]["args"] = []
        spec["containers"][0]["volumeMounts"] = [{"name": "config", "mountPath": "/m", "subPath": "models.config"}]

    stand.template(bare)
    outcome = await stand.pin()
    for words in ("subPath", "--model_config_file_poll_wait_seconds", "--allow_version_labels_for_unavailable_models"):
        assert words in outcome.text


async def test_another_write_in_between_is_met_and_kept(stand: Stand) -> None:
    def comment() -> None:
        if "meanwhile" not in stand.text:
            stand.modify_map(lambda obj: obj["data"].update({"models.config": "# meanwhile\n" + obj["data"]["models.config"]}))

    outcome = await stand.pin(meanwhile=comment)
    assert outcome.reason == "Pinned"
    assert stand.bench.writes == ["patch configmaps"] * 2
    assert stand.text.startswith("# meanwhile\n")
    assert stand.served().policy == specific([41])


async def test_one_who_writes_all_the_time_is_given_way_to(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healer.model_servers.store.TRIES", 2)
    number = iter(range(10))

    def comment() -> None:
        stand.modify_map(lambda obj: obj["data"].update({"other": str(next(number))}))

    outcome = await stand.pin(meanwhile=comment)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "Contended")
    assert stand.text == FILE


async def test_a_signal_that_ended_meanwhile_stops_it(stand: Stand) -> None:
    outcome = await stand.pin(wanted=lambda: Reason("Resolved", "the alert is over"))
    assert outcome == Outcome(OutcomeKind.RECOVERED, "Resolved", "the alert is over")
    assert stand.bench.writes == []
    assert stand.bench.sent == []


async def test_one_who_leads_no_longer_sends_nothing(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Outcome(OutcomeKind.DEFERRED, "NotLeading", "the lease is lost")

    class Deposed(PinModelVersion):
        async def run(self, call: Call) -> Outcome:
            return await super().run(replace(call, sending=lambda: lost))

    monkeypatch.setitem(ACTIONS, PinModelVersion.spec.name, Deposed())
    assert await stand.pin() == lost
    assert stand.bench.writes == []


async def test_a_config_map_that_is_gone(stand: Stand) -> None:
    stand.bench.lab.store.remove("configmaps", (NAMESPACE, MAP))
    outcome = await stand.pin()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "NoConfigMap")
    assert f"there is no configmap/{MAP} in namespace {NAMESPACE}: create it there, or write the name" in outcome.text


@pytest.mark.parametrize("where", ["deployment", "everywhere"])
async def test_paused(stand: Stand, where: str) -> None:
    if where == "everywhere":
        stand.bench.view.paused_everywhere = "ann"
    else:
        stand.bench.change("deployment", **{"healer.dev/paused": "true"})
    outcome = await stand.pin()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "Paused")
    assert stand.text == FILE


async def test_another_deployment_of_that_name(stand: Stand) -> None:
    stand.bench.workload = replace(stand.bench.workload, uid="before")
    outcome = await stand.pin()
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "WorkloadReplaced")
    assert stand.text == FILE


@pytest.mark.parametrize(
    ("more", "model", "reason", "said"),
    [
        ({"version": 41}, "rank", "ConfigUnusable", "no model 'rank' in it; there are 'ranker', 'free', 'every'"),
        ({"label": "stable"}, "free", "NoStableLabel", "label stable"),
        ({"version": 41, "key": "models.conf"}, "ranker", "ConfigUnusable", "no key 'models.conf' .it has: models.config, mon"),
    ],
)
async def test_what_is_not_there(stand: Stand, more: dict[str, Any], model: str, reason: str, said: str) -> None:
    outcome = await stand.pin(model, more=more)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, reason)
    assert re.search(said, outcome.text)
    assert stand.text == FILE


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "exactly one of version, label"),
        ({"version": 3, "label": "stable"}, "exactly one of version, label"),
        ({"version": 0}, "greater than or equal to 1"),
        ({"version": "2023_10_01"}, "valid integer"),
        ({"label": "canary"}, "stable"),
        ({"version": 3, "dir": 1}, "Extra inputs"),
    ],
)
def test_parameters_that_make_no_sense(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PinModelVersionParams.model_validate({"configMap": MAP, "model": "m"} | params)
