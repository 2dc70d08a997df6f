"""`collect` over HTTP against the lab: what it keeps, what it leaves out, how little it waits, and what it removes."""

from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from healer.actions.collect import CollectParams
from healer.actions.shared.evidence import LogBounds, Part, fitted, of_pod, redacted
from healer.cluster.api import METADATA_LIST
from healer.lab.kinds import DEPLOYMENT, POD
from healer.lab.objects import Object, condition, is_ready
from healer.model.action import Outcome, OutcomeKind
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("incident")]

KEY = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\n" * 40 + "-----END PRIVATE KEY-----\n"


@pytest.fixture
async def incident(bench: Bench) -> str:
    """The incident of the attempts is an object in the cluster; returns its uid."""
    names = {"plural": "incidents", "kind": "Incident"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "incidents.healer.dev"},
        "spec": {"group": "healer.dev", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    await bench.lab.apply(definition)
    metadata = {"name": bench.incident().id, "namespace": NAMESPACE}
    await bench.lab.apply({"apiVersion": "healer.dev/v1alpha1", "kind": "Incident", "metadata": metadata})
    return str(bench.lab.objects("incidents.healer.dev")[0]["metadata"]["uid"])


async def collect(bench: Bench, *, dry_run: bool = False, step: int = 0, **params: Any) -> Outcome:
    """One attempt, with the pods as they are now."""
    bench.look()
    return await bench.attempt("collect", params=CollectParams(**params), target=bench.workload, dry_run=dry_run, step=step)


def verdict(outcome: Outcome) -> tuple[OutcomeKind, str]:
    return outcome.kind, outcome.reason


def kept(bench: Bench) -> list[Object]:
    """What was collected, by name."""
    return bench.lab.objects("configmaps", NAMESPACE)


def log_of(bench: Bench) -> str:
    """The log of the first container that is kept."""
    (found,) = kept(bench)
    return str(found["data"][f"{bench.target.name}.{NAME}.log"])


async def crash(bench: Bench) -> None:
    """The pod has restarted, and runs."""

    def change(obj: Object) -> None:
        died = {"exitCode": 1, "reason": "Error"}
        obj["status"]["containerStatuses"][0] |= {"restartCount": 2, "lastState": {"terminated": died}}

    await bench.lab.behave(NAMESPACE, bench.target.name, "manual")
    bench.lab.api.modify(POD, NAMESPACE, bench.target.name, change, subresource="status")


async def test_it_keeps_both_runs_and_the_state_and_belongs_to_its_incident(bench: Bench, incident: str) -> None:
    """One ConfigMap; a second attempt, after an answer that was lost, finds it done."""
    await crash(bench)
    outcome = await collect(bench)
    assert verdict(outcome) == (OutcomeKind.DONE, "Collected")
    assert bench.writes == ["create configmaps"]
    (found,) = kept(bench)
    name = bench.target.name
    assert found["metadata"]["ownerReferences"] == [
        {"apiVersion": "healer.dev/v1alpha1", "kind": "Incident", "name": bench.incident().id, "uid": incident}
    ]
    assert found["metadata"]["annotations"] == {"healer.dev/collected-for": bench.incident().id}
    files = [f"{name}.{NAME}.log", f"{name}.{NAME}.previous.log", f"{name}.events.txt", f"{name}.node.yaml", f"{name}.pod.yaml"]
    assert sorted(found["data"]) == sorted([*files, "workload.yaml"])
    assert "starts for the 3. time" in found["data"][f"{name}.{NAME}.log"]
    assert "starts for the 2. time" in found["data"][f"{name}.{NAME}.previous.log"]
    assert outcome.text.endswith("starts for the 2. time")
    assert verdict(await collect(bench)) == (OutcomeKind.DONE, "Collected")
    assert kept(bench) == [found]
    assert bench.untouched


async def test_somebody_elses_config_map_of_that_name_is_left_alone(bench: Bench) -> None:
    name = f"{bench.incident().id}-collected-0"
    await bench.lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}})
    before = kept(bench)
    assert verdict(await collect(bench)) == (OutcomeKind.DONE, "NotCollected")
    assert kept(bench) == before


async def test_a_dry_run_keeps_nothing(bench: Bench) -> None:
    """The API server checks the request all the same."""
    assert verdict(await collect(bench, dry_run=True)) == (OutcomeKind.DONE, "WouldCollect")
    assert bench.writes == ["create configmaps"]
    assert kept(bench) == []


async def test_the_last_lines_and_bytes_are_kept_and_no_secret(bench: Bench) -> None:
    """`limitBytes` of the API would keep the first of them; half a key is no less a secret."""
    bench.lab.log(NAMESPACE, bench.target.name, "\n".join(f"line {n} password=hunter{n}" for n in range(200)) + f"\n{KEY}the end")
    await collect(bench, lines=30, bytes=1024)
    text = log_of(bench)
    assert text.endswith("the end\n")
    assert text.startswith("[earlier lines are left out]")
    assert "MIIE" not in text
    await collect(bench, step=1, lines=200)
    text = kept(bench)[-1]["data"][f"{bench.target.name}.{NAME}.log"]
    assert "[private key]" in text
    assert "line 199 password=[secret]" in text
    assert "hunter" not in text


async def test_neither_variables_nor_arguments_nor_annotations_are_kept(bench: Bench) -> None:
    def change(obj: Object) -> None:
        obj["metadata"]["annotations"] = {"note": "tellnobody"}
        container = obj["spec"]["template"]["spec"]["containers"][0]
        container |= {"args": ["--key=tellnobody"], "env": [{"name": "KEY", "value": "tellnobody"}]}

    bench.lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, change)
    bench.change("pod", note="tellnobody")
    await collect(bench)
    (found,) = kept(bench)
    assert "tellnobody" not in str(found)
    assert yaml.safe_load(found["data"]["workload.yaml"])["spec"]["template"]["spec"]["containers"][0]["image"]


async def test_a_kubelet_that_does_not_answer_is_said_and_the_rest_is_kept(bench: Bench) -> None:
    pod = bench.pod()
    assert pod is not None
    bench.lab.lose_node(pod["spec"]["nodeName"])
    outcome = await collect(bench)
    (found,) = kept(bench)
    assert "i/o timeout" in outcome.text
    assert "i/o timeout" in found["data"]["not-read.txt"]
    assert condition(yaml.safe_load(found["data"][f"{bench.target.name}.pod.yaml"]), "Ready") is not None


async def test_a_request_without_an_answer_is_not_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is kept, and the ladder goes on."""
    monkeypatch.setattr("healer.actions.shared.evidence._EACH", 0.1)
    bench.lab.faults.delay(3600, resource="pods/log")
    outcome = await collect(bench)
    (found,) = kept(bench)
    assert verdict(outcome) == (OutcomeKind.DONE, "Collected")
    assert "no answer in time" in found["data"]["not-read.txt"]
    assert f"{bench.target.name}.events.txt" in found["data"]


async def test_what_cannot_be_kept_holds_nothing_up(bench: Bench) -> None:
    """DONE, so that the next step follows."""
    bench.lab.forbid("create", "configmaps")
    outcome = await collect(bench)
    assert verdict(outcome) == (OutcomeKind.DONE, "NotCollected")
    assert "cannot create resource" in outcome.text


async def test_a_workload_without_pods_has_nothing_to_say(bench: Bench) -> None:
    bench.lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, lambda obj: obj["spec"].update(replicas=0))
    await bench.lab.wait_for(lambda lab: not lab.objects("pods", NAMESPACE))
    assert verdict(await collect(bench)) == (OutcomeKind.DONE, "NothingToCollect")
    assert bench.writes == []


async def test_the_oldest_go_and_nothing_of_others(bench: Bench, incident: str) -> None:
    """So many are kept; a ConfigMap with the label that no incident owns is somebody's own."""
    labels = {"healer.dev/collected": "true"}
    foreign = {"name": "my-own", "namespace": NAMESPACE, "labels": labels}
    await bench.lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": foreign})
    for step in range(3):
        await collect(bench, step=step, keep=2)
    asked = [seen.accept for seen in bench.lab.requests if (seen.verb, seen.resource) == ("list", "configmaps")]
    assert asked == [METADATA_LIST], "the logs in them are not read"
    assert bench.writes == ["delete configmaps", "create configmaps"]
    assert [each["metadata"]["name"].rpartition("-")[2] for each in kept(bench)] == ["1", "2", "own"]


def test_more_than_fits_is_cut_to_fit() -> None:
    """The short texts are whole, and of the long ones the ends; what is missing is listed."""
    long = "x" * 600_000 + "the end"
    parts = [Part("a.log", text=long), Part("b.log", text=long), Part("c.yaml", text="short"), Part("d.log", missing="gone")]
    texts = fitted(parts, 900_000)
    assert 899_000 < sum(map(len, texts.values())) <= 900_000
    assert (texts["c.yaml"], texts["not-read.txt"]) == ("short", "d.log: gone\n")
    assert all(texts[name].endswith("the end") for name in ("a.log", "b.log"))


async def test_no_more_is_redacted_than_there_is_room_for() -> None:
    """However many pods and bytes a rule asks for; the end of each text stays."""
    raw = b"started\n" * 100_000 + b"password=hunter2 the end"
    logs = [Part("a.log", raw), Part("b.log", raw), Part("c.log", b"short"), Part("d.log", missing="gone")]
    parts = await redacted(logs, 30_000)
    assert [part.text[-33:] for part in parts[:2]] == ["started\npassword=[secret] the end"] * 2
    assert [part.text for part in parts[2:]] == ["short", ""]
    assert 29_000 < sum(len(part.text) for part in parts) <= 30_000 + 2 * len("[earlier lines are left out]\n")
    assert not any(part.raw for part in parts)


async def test_a_container_that_never_ran_is_not_asked_for_a_log(bench: Bench) -> None:
    """The API would answer 400."""
    await bench.lab.behave(NAMESPACE, bench.target.name, "creating")
    await bench.lab.wait_for(lambda lab: not all(map(is_ready, lab.objects("pods", NAMESPACE))))
    bench.look()
    pod = bench.view.pod(bench.target.uid)
    assert pod is not None
    parts = await of_pod(bench.api, pod, LogBounds(10, 1024))
    assert sorted(part.name.rpartition(".")[2] for part in parts) == ["txt", "yaml", "yaml"]
    assert not [part for part in parts if part.missing]


async def test_few_logs_of_a_pod_are_read_at_the_same_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may be a mebibyte: while those that are read do not come, no other is asked for."""
    monkeypatch.setattr("healer.actions.shared.evidence._EACH", 0.3)
    bench.lab.faults.delay(3600, resource="pods/log", times=6)
    bench.look()
    pod = next(iter(bench.view.pods()))
    many = replace(pod, status=replace(pod.status, container_statuses=6 * pod.status.container_statuses))
    parts = await of_pod(bench.api, many, LogBounds(10, 1024))
    missing = [part.missing for part in parts if part.name.endswith(".log")]
    assert missing == ["no answer in time"] * 6
    assert sum(seen.permission == "pods/log" for seen in bench.lab.requests) == 2
