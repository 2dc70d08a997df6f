"""Alertmanager's webhook, version 4, as it is really sent: all alerts of a group, their targets, and clear errors."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.model.kube import Meta, OwnerReference, Pod
from healer.model.signal import WebhookError
from healer.model.target import Target
from healer.model.text import MOST
from healer.model.view import View
from healer.sources.alertmanager.alert import Untargeted
from healer.sources.alertmanager.webhook import parse, signals
from healer.sources.targets import TargetLabels
from healer.workloads.deployment import Deployment
from healer.workloads.registry import WORKLOADS

NOW = 1_785_585_600.0
BORN = datetime(2026, 8, 1, 9, 0, tzinfo=UTC)
DEFAULT = TargetLabels()


GENERATOR = "http://prometheus:9090/graph?g0.expr=histogram_quantile&g0.tab=1"


def alert(pod: str = "tensorflow-serving-7b5b8c9d4-abcde", **changes: Any) -> dict[str, Any]:
    """One alert as Alertmanager 0.27 sends it; a change to None leaves the key out."""
    sent = {
        "status": "firing",
        "labels": {
            "alertname": "ModelLatencyHigh",
            "instance": "10.244.1.7:8501",
            "job": "tensorflow-serving",
            "namespace": "production",
            "pod": pod,
            "severity": "critical",
        },
        "annotations": {"description": "p99 is 812 ms, the objective is 250 ms", "summary": f"{pod} is slow"},
        "startsAt": "2026-08-01T10:00:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": GENERATOR,
        "fingerprint": "c6eadffa33fcdf37",
    }
    return {key: value for key, value in (sent | changes).items() if value is not None}


def body(*alerts: dict[str, Any], **changes: Any) -> bytes:
    """A whole POST."""
    return json.dumps(
        {
            "receiver": "healer",
            "status": "firing",
            "alerts": list(alerts),
            "groupLabels": {"alertname": "ModelLatencyHigh"},
            "commonLabels": {"alertname": "ModelLatencyHigh", "namespace": "production"},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager:9093",
            "version": "4",
            "groupKey": '{}/{severity="critical"}:{alertname="ModelLatencyHigh"}',
            "truncatedAlerts": 0,
        }
        | changes
    ).encode()


@pytest.fixture
def view() -> View:
    held = View(WORKLOADS)
    for suffix in ("abcde", "fghij"):
        name = f"tensorflow-serving-7b5b8c9d4-{suffix}"
        held.put(Pod(Meta(name=name, uid=f"uid-{suffix}", namespace="production", creation_timestamp=BORN)))
    held.put(Deployment(Meta(name="tensorflow-serving", uid="uid-d", namespace="production", creation_timestamp=BORN)))
    return held


def only(view: View, sent: dict[str, Any], labels: TargetLabels = DEFAULT) -> Target | Untargeted:
    found, lost = signals(parse(body(sent)), view, labels, NOW)
    assert len(found) + len(lost) == 1
    return found[0].target if found else lost[0]


@pytest.mark.parametrize(
    ("sent", "links"),
    [
        ({}, {"alert": GENERATOR}),
        (
            {"annotations": {"runbook_url": "https://r.example.com", "dashboard": "https://d.example.com"}},
            {"runbook": "https://r.example.com", "dashboard": "https://d.example.com", "alert": GENERATOR},
        ),
        (
            {"dashboardURL": "https://grafana.example.com/d/x"},
            {"dashboard": "https://grafana.example.com/d/x", "alert": GENERATOR},
        ),
        ({"generatorURL": 7, "dashboardURL": None}, {}),
    ],
)
def test_where_people_read_on_comes_with_the_alert(view: View, sent: dict[str, Any], links: dict[str, str]) -> None:
    """What is no text is no link, and no reason to refuse the alert."""
    (signal,), _ = signals(parse(body(alert(**sent))), view, DEFAULT, NOW)
    assert signal.links == links


def test_an_alert_becomes_a_signal(view: View) -> None:
    (signal,), lost = signals(parse(body(alert())), view, DEFAULT, NOW)
    assert lost == []
    assert signal.source == "alert"
    assert signal.name == "ModelLatencyHigh"
    assert signal.target == Target("Pod", "production", "tensorflow-serving-7b5b8c9d4-abcde", "uid-abcde")
    assert signal.firing
    assert signal.at == NOW
    assert signal.key == "c6eadffa33fcdf37"
    assert signal.message == "tensorflow-serving-7b5b8c9d4-abcde is slow"
    assert signal.labels["severity"] == "critical"
    assert signal.annotations["description"] == "p99 is 812 ms, the objective is 250 ms"


def test_every_alert_of_a_group_counts_firing_and_resolved(view: View) -> None:
    sent = body(
        alert(fingerprint="1" + "f" * 15),
        alert("tensorflow-serving-7b5b8c9d4-fghij", fingerprint="2" + "f" * 15, status="resolved", endsAt="2026-08-01T10:05:00Z"),
        alert("gone", fingerprint="3" + "f" * 15),
        truncatedAlerts=7,
    )
    notification = parse(sent)
    found, lost = signals(notification, view, DEFAULT, NOW)
    assert [(signal.key, signal.firing, signal.target.uid) for signal in found] == [
        ("1" + "f" * 15, True, "uid-abcde"),
        ("2" + "f" * 15, False, "uid-fghij"),
        ("3" + "f" * 15, True, ""),
    ]
    assert lost == []
    assert notification.truncated_alerts == 7


def test_the_key_lasts_and_the_occurrence_is_one_time_that_it_fires(view: View) -> None:
    def identity(**changes: Any) -> tuple[str, str]:
        (signal,), _ = signals(parse(body(alert(**changes))), view, DEFAULT, NOW)
        return signal.key, signal.occurrence

    key, occurrence = identity()
    assert identity(status="resolved", endsAt="2026-08-01T10:05:00Z") == (key, occurrence)
    again, later = identity(startsAt="2026-08-01T11:00:00Z")
    assert again == key
    assert later != occurrence


def test_without_a_fingerprint_the_key_is_made_of_the_labels(view: View) -> None:
    def key(sent: dict[str, Any]) -> str:
        (signal,), _ = signals(parse(body(sent)), view, DEFAULT, NOW)
        return signal.key

    sent = alert(fingerprint=None)
    turned = sent | {"labels": dict(reversed(sent["labels"].items())), "status": "resolved"}
    assert key(sent) == key(turned) == key(sent | {"fingerprint": ""})
    assert key(sent) != key(alert("other", fingerprint=None))


def test_what_healer_does_not_need_may_be_missing_and_what_it_does_not_know_may_be_there(view: View) -> None:
    bare = alert(endsAt=None, generatorURL=None, annotations=None, silenceURL="http://x", values={"B": 44.2}, extra=[{"a": None}])
    sent = json.dumps({"version": "4", "alerts": [bare, alert()], "orgId": 1, "notificationReason": "x"}).encode()
    found, lost = signals(parse(sent), view, DEFAULT, NOW)
    assert [signal.message for signal in found] == ["ModelLatencyHigh", "tensorflow-serving-7b5b8c9d4-abcde is slow"]
    assert lost == []


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"summary": "s", "description": "d"}, "s"),
        ({"summary": "", "description": "d"}, "d"),
        ({"runbook_url": "http://x"}, "ModelLatencyHigh"),
        ({"summary": "x" * 5000}, "x" * (MOST - 1) + "…"),
    ],
)
def test_the_message_is_the_summary_else_the_description_else_the_name(
    view: View, annotations: dict[str, str], message: str
) -> None:
    (signal,), _ = signals(parse(body(alert(annotations=annotations))), view, DEFAULT, NOW)
    assert signal.message == message


def labelled(**labels: str) -> dict[str, Any]:
    return alert(labels={"alertname": "A"} | labels)


POD = "tensorflow-serving-7b5b8c9d4-abcde"
HELD = Target("Pod", "production", POD, "uid-abcde")
DEPLOYED = Target("Deployment", "production", "tensorflow-serving", "uid-d")


def test_the_target_is_a_pod_or_a_deployment_even_when_it_is_gone(view: View) -> None:
    assert only(view, labelled(namespace="production", deployment="tensorflow-serving")) == DEPLOYED
    assert only(view, labelled(namespace="production", deployment="tensorflow-serving", pod="")) == DEPLOYED
    assert only(view, labelled(namespace="production", pod="gone")) == Target("Pod", "production", "gone", "")
    assert only(view, labelled(namespace="staging", pod=POD)) == Target("Pod", "staging", POD, "")
    assert only(view, labelled(namespace="production", deployment="gone")) == Target("Deployment", "production", "gone", "")


def test_an_alert_older_than_the_pod_is_about_its_predecessor(view: View) -> None:
    soon = BORN + timedelta(minutes=5)
    assert uid_of(view, alert(startsAt="2026-08-01T11:00:00+02:00"), soon) == "uid-abcde"
    for before in ("2026-08-01T08:58:59.999Z", "0001-01-01T00:00:00Z"):
        assert uid_of(view, alert(startsAt=before), soon) == ""


@pytest.mark.parametrize("kind", ["", "StatefulSet"])
def test_a_clock_that_is_behind_does_not_part_a_pod_from_its_alert(view: View, kind: str) -> None:
    """Of a bare pod and of one whose name comes again too; what fires long after is about it in any case."""
    name, uid = ("db-0", owned(view, "db-0", kind)) if kind else (POD, "uid-abcde")
    assert uid_of(view, alert(name, startsAt="2026-08-01T08:59:30Z"), BORN + timedelta(minutes=1)) == uid
    assert uid_of(view, alert(name, startsAt="2026-08-01T08:58:30Z"), BORN + timedelta(minutes=1)) == ""
    assert uid_of(view, alert(name, startsAt="2026-08-01T08:58:30Z"), BORN + timedelta(minutes=15)) == uid


def owned(view: View, name: str, kind: str) -> str:
    """A pod of a controller of that kind, made at BORN; returns its uid."""
    owner = (OwnerReference(kind=kind, name="owner", uid="owner", controller=True),)
    meta = Meta(name=name, uid=f"uid-{name}", namespace="production", creation_timestamp=BORN, owner_references=owner)
    view.put(Pod(meta))
    return meta.uid


def uid_of(view: View, sent: dict[str, Any], now: datetime) -> str:
    """The uid of the target that an alert gets at a time."""
    (signal,), _ = signals(parse(body(sent)), view, DEFAULT, now.timestamp())
    return signal.target.uid


@pytest.mark.parametrize("kind", ["ReplicaSet", "Job", "DaemonSet"])
def test_a_pod_with_a_random_name_has_no_predecessor(view: View, kind: str) -> None:
    """Prometheus' clock may be behind by any time."""
    uid = owned(view, "random-x2c4v", kind)
    assert uid_of(view, alert("random-x2c4v", startsAt="2026-08-01T08:00:00Z"), BORN) == uid


def test_what_still_fires_long_after_a_name_was_given_again_is_about_who_has_it_now(view: View) -> None:
    """At first it is about the predecessor, for a rate keeps an alert alive; the healthy successor must not be taken."""
    uid = owned(view, "db-0", "StatefulSet")
    before = alert("db-0", startsAt="2026-08-01T08:58:50Z")
    assert uid_of(view, before, BORN + timedelta(minutes=14)) == ""
    assert uid_of(view, before, BORN + timedelta(minutes=15)) == uid


def test_a_clock_that_is_behind_does_not_part_a_deployment_from_its_alert(view: View) -> None:
    def sent(starts_at: str) -> str:
        labels = {"alertname": "A", "namespace": "production", "deployment": "tensorflow-serving"}
        return uid_of(view, alert(labels=labels, startsAt=starts_at), BORN + timedelta(minutes=5))

    assert sent("2026-08-01T08:59:00Z") == "uid-d"
    assert sent("2026-08-01T08:58:59Z") == "", "a Deployment of that name was there before"


def test_a_key_is_as_long_as_the_journal_allows_and_stays_the_same(view: View) -> None:
    def key(**changes: Any) -> str:
        (signal,), _ = signals(parse(body(alert(**changes))), view, DEFAULT, NOW)
        return signal.key

    long = "f" * 2000
    assert len(key(fingerprint=long)) == 16
    assert key(fingerprint=long) == key(fingerprint=long, status="resolved") != key(fingerprint=long + "0")


@pytest.mark.parametrize(
    "odd", ["password: hunter2", "\u202e\n\x00", "jane.doe@example.com", "4111111111111111", "C6EADFFA33FCDF37"]
)
def test_a_fingerprint_that_no_alertmanager_makes_is_kept_as_a_digest(view: View, odd: str) -> None:
    """The journal keeps the key, and a secret or a control character must not get there; the end of the alert still matches."""
    (began,), _ = signals(parse(body(alert(fingerprint=odd))), view, DEFAULT, NOW)
    (ended,), _ = signals(parse(body(alert(fingerprint=odd, status="resolved"))), view, DEFAULT, NOW)
    assert odd not in began.key + began.occurrence
    assert (len(began.key), began.key) == (16, ended.key)


def test_what_is_longer_than_anything_real_is_no_signal(view: View) -> None:
    """It would be kept, told and shown."""
    sent = [
        labelled(namespace="production", pod="p" * 254),
        labelled(namespace="production", pod=POD, pad="x" * 40_000),
        alert(labels={"alertname": "A" * 2000, "namespace": "production", "pod": POD}),
    ]
    found, lost = signals(parse(body(*sent)), view, DEFAULT, NOW)
    assert found == []
    assert [each.code for each in lost] == ["NoObject", "TooLong", "TooLong"]
    assert all(len(each.name) <= 1024 and len(each.reason) < 200 for each in lost)


def test_times_are_those_of_the_sender_and_an_end_is_none_of_the_future(view: View) -> None:
    def times(**changes: Any) -> tuple[float | None, float | None]:
        (signal,), _ = signals(parse(body(alert(startsAt="2026-08-01T10:00:00Z", **changes))), view, DEFAULT, NOW)
        return signal.began, signal.ended

    began = datetime(2026, 8, 1, 10, tzinfo=UTC).timestamp()
    assert times() == (began, None)
    assert times(status="resolved", endsAt="2026-08-01T10:05:00Z") == (began, began + 300)
    assert times(status="resolved", endsAt="9999-12-31T23:59:59Z") == (began, NOW)
    for nonsense in ("0001-01-01T00:00:00Z", "soon", 5, None):
        assert times(status="resolved", endsAt=nonsense) == (began, began)


def test_replicas_of_a_prometheus_report_one_trouble(view: View) -> None:
    def trouble(**more: str) -> str:
        labels = {"alertname": "A", "namespace": "production", "pod": POD, **more}
        (signal,), _ = signals(parse(body(alert(labels=labels, fingerprint=None))), view, DEFAULT, NOW)
        return signal.trouble

    assert trouble(prometheus_replica="0") == trouble(prometheus_replica="1") != ""
    assert trouble(replica="0", prometheus="a") == trouble(replica="1", prometheus="b")
    assert trouble(replica="0", severity="page") != trouble(replica="0")
    assert trouble() == ""


GRAFANA = {
    "receiver": "healer",
    "status": "firing",
    "orgId": 1,
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "High latency", "grafana_folder": "Serving", "namespace": "production", "pod": POD},
            "annotations": {"summary": "p99 is 812 ms"},
            "startsAt": "2026-08-01T10:00:40Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "https://grafana.example/alerting/grafana/be7q/view?orgId=1",
            "fingerprint": "57c6d9296de2ad39",
            "silenceURL": "https://grafana.example/alerting/silence/new?alertmanager=grafana",
            "dashboardURL": "",
            "panelURL": "",
            "values": {"B": 44.23943737541908, "C": 1},
            "valueString": "[ var='B' labels={pod=a} value=44.23943737541908 ], [ var='C' labels={pod=a} value=1 ]",
        }
    ],
    "groupLabels": {"alertname": "High latency", "grafana_folder": "Serving"},
    "commonLabels": {"alertname": "High latency"},
    "commonAnnotations": {},
    "externalURL": "https://grafana.example/",
    "version": "1",
    "groupKey": '{}:{alertname="High latency", grafana_folder="Serving"}',
    "truncatedAlerts": 0,
    "title": "[FIRING:1] High latency Serving",
    "state": "alerting",
    "message": "**Firing**\n\nValue: B=44.239, C=1\n",
}
"""What Grafana-managed alerting posts, as its documentation shows it."""


def test_grafana_managed_alerting_is_taken(view: View) -> None:
    (signal,), lost = signals(parse(json.dumps(GRAFANA).encode()), view, DEFAULT, NOW)
    assert lost == []
    assert (signal.name, signal.target, signal.firing, signal.message) == ("High latency", HELD, True, "p99 is 812 ms")


def test_the_labels_can_be_others(view: View) -> None:
    labels = TargetLabels(namespace="kubernetes_namespace", pod="kubernetes_pod_name")
    sent = labelled(kubernetes_namespace="production", kubernetes_pod_name=POD, namespace="monitoring", pod="exporter")
    assert only(view, sent, labels) == HELD


@pytest.mark.parametrize(
    ("labels", "code", "reason"),
    [
        ({"alertname": "A", "pod": POD}, "NoLabel", "'namespace'"),
        ({"alertname": "A", "namespace": "production"}, "NoLabel", "'pod' or 'deployment'"),
        ({"alertname": "A", "namespace": "", "pod": ""}, "NoLabel", "'namespace'"),
        ({"namespace": "production", "pod": POD}, "NoName", "'alertname'"),
        ({"alertname": "A", "namespace": "production", "pod": "ksm-0", "exported_pod": POD}, "Ambiguous", "'exported_pod'"),
        (
            {"alertname": "A", "namespace": "mon", "exported_namespace": "production", "pod": POD},
            "Ambiguous",
            "'exported_namespace'",
        ),
    ],
)
def test_an_alert_that_names_no_target_is_told_apart_and_takes_no_other_with_it(
    view: View, labels: dict[str, str], code: str, reason: str
) -> None:
    found, lost = signals(parse(body(alert(labels=labels, fingerprint="1057" * 3 + "beef"), alert())), view, DEFAULT, NOW)
    assert [signal.target for signal in found] == [HELD]
    (untargeted,) = lost
    assert (untargeted.key, untargeted.code) == ("1057" * 3 + "beef", code)
    assert reason in untargeted.reason


@pytest.mark.parametrize("status", ["firing", "resolved"])
@pytest.mark.parametrize(("ahead", "taken"), [(600, True), (3599, True), (3601, False), (10**9, False)])
def test_a_clock_that_is_far_ahead_is_not_believed(view: View, ahead: int, taken: bool, status: str) -> None:
    """What such an alert says would be remembered for as long; one of minutes is everyday."""
    starts = datetime.fromtimestamp(NOW + ahead, UTC).isoformat()
    said = only(view, alert(startsAt=starts, endsAt=starts, status=status))
    assert isinstance(said, Target) is taken
    if isinstance(said, Untargeted):
        assert said.code == "FromTheFuture"
        assert "look at the clock of the Prometheus" in said.reason


def test_an_exported_label_that_agrees_is_no_ambiguity(view: View) -> None:
    assert only(view, labelled(namespace="production", exported_namespace="production", pod=POD)) == HELD


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "the body is not JSON"),
        (b"not json", "the body is not JSON"),
        (body(alert())[:-20], "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (body(alert()).replace(b"ModelLatencyHigh", b"\xff\xfe", 1), "the body is not JSON"),
        (body(alert()) + b"{}", "the body is not JSON"),
        (b'{"version": "4", "x": ' + b"[" * 100_000, "nested too deeply"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "version is None"),
        (body(version="3"), "version is '3', but healer understands only '4'"),
        (body(version=4), "version is 4"),
        (body(version="4" * 10_000), "version is '4444"),
        (json.dumps({"version": "4"}).encode(), "`alerts`"),
        (body(alerts={}), "$.alerts"),
        (body(alert(), truncatedAlerts=-1), "$.truncatedAlerts"),
        (body(alert(status="pending")), "$.alerts[0].status"),
        (body(alert(status="p" * 10_000), alert(startsAt=None)), "$.alerts[0].status"),
        (body(alert(startsAt=None)), "`startsAt` - at `$.alerts[0]`"),
        (body(alert(startsAt="yesterday")), "$.alerts[0].startsAt"),
        (body(alert(startsAt="2026-08-01T10:00:00")), "$.alerts[0].startsAt"),
        (body(alert(labels={"alertname": 1})), "$.alerts[0].labels[...]"),
        (body(alert(labels=["alertname"])), "$.alerts[0].labels"),
    ],
)
def test_a_malformed_body_is_refused_whole_and_the_error_says_where(sent: bytes, message: str) -> None:
    with pytest.raises(WebhookError) as refused:
        parse(sent)
    assert refused.value.status == 400
    assert message in refused.value.message
    assert len(refused.value.message) < 300
    assert "webhook_config" in refused.value.hint


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (alert(status="pending", fingerprint="b6eadffa33fcdf37"), "$.alerts[1].status"),
        (alert(status="p" * 10_000, fingerprint="b6eadffa33fcdf37"), "$.alerts[1].status"),
        (alert(startsAt=None, fingerprint="b6eadffa33fcdf37"), "`startsAt` - at `$.alerts[1]`"),
        (alert(startsAt="yesterday", fingerprint="b6eadffa33fcdf37"), "$.alerts[1].startsAt"),
        (alert(labels={"alertname": "ModelLatencyHigh", "pod": 5}, fingerprint="b6eadffa33fcdf37"), "$.alerts[1].labels[...]"),
        (alert(annotations=[], fingerprint="b6eadffa33fcdf37"), "$.alerts[1].annotations"),
    ],
)
def test_an_alert_that_cannot_be_read_is_named_and_its_neighbours_are_decided(
    view: View, bad: dict[str, Any], reason: str
) -> None:
    """Alertmanager never repeats what was answered 400: the good alerts of the group would be lost."""
    good = alert("tensorflow-serving-7b5b8c9d4-fghij", fingerprint="g")
    notification = parse(body(alert(), bad, good))
    found, _ = signals(notification, view, DEFAULT, NOW)
    assert [signal.target.uid for signal in found] == ["uid-abcde", "uid-fghij"]
    (lost,) = notification.ill_formed
    assert (lost.name, lost.key, lost.code) == ("ModelLatencyHigh", "b6eadffa33fcdf37", "IllFormed")
    assert reason in lost.reason
    assert len(lost.reason) < 300


@pytest.mark.parametrize("bad", [None, "x", 7, [], {"labels": None}, {"labels": ["alertname"], "fingerprint": 7}])
def test_what_is_no_alert_at_all_takes_no_other_with_it(view: View, bad: object) -> None:
    """It has no name to be told by, but a place."""
    notification = parse(body(alert(), alerts=[bad, alert()]))
    assert [each.key for each in notification.alerts] == ["c6eadffa33fcdf37"]
    assert [(each.name, each.key) for each in notification.ill_formed] == [("", "")]
    assert "$.alerts[0]" in notification.ill_formed[0].reason


def test_bytes_that_are_no_text_take_no_other_alert_with_them() -> None:
    """A label that is not UTF-8 is a fault of its alert alone."""
    notification = parse(body(alert(), alert(fingerprint="b6eadffa33fcdf37")).replace(b"critical", b"\xff\xfe", 1))
    assert [each.key for each in notification.alerts] == ["b6eadffa33fcdf37"]
    assert "$.alerts[0]" in notification.ill_formed[0].reason


def test_a_sender_of_many_that_are_none_is_refused() -> None:
    """To tell each of them would hold the loop: a body has room for half a million."""
    assert len(parse(body(alert(), *[{}] * 100)).ill_formed) == 100
    for many in ([alert(), *[{}] * 101], [alert()] * 5_000 + [{}], [alert(), *[0] * 100_000]):
        with pytest.raises(WebhookError, match="not an Alertmanager notification"):
            parse(body(*many))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*alert(), "version", "alerts", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.binary(max_size=64) | st.builds(lambda alerts, more: body(**({"alerts": alerts} | more)), json_values, st.just({})))
def test_nothing_but_a_webhook_error_comes_of_any_body(sent: bytes) -> None:
    try:
        parse(sent)
    except WebhookError as refused:
        assert refused.status == 400  # noqa: PT017  # a body may also be right
