"""Promise 12: personal data and secrets leave in no message, and what operators need does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.model.incident import Incident, State
from healer.model.redact import redact, redact_event
from tests.unit.sinks.incidents import incident, then

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("ask jane.doe+ml@example.co.uk.", "ask [email]."),
        ("mail:jürgen@bücher.example", "mail:[email]"),
        ("<a@b.io>,<c@d.io>", "<[email]>,<[email]>"),
        ("call +49 30 1234567 now", "call [phone] now"),
        ("call +14155552671", "call [phone]"),
        ("call (415) 555-2671, ext. 5", "call [phone], ext. 5"),
        ("call 415-555-2671.", "call [phone]."),
        ("call 1-415-555-2671", "call [phone]"),
        ("ssn 078-05-1120", "ssn [ssn]"),
        ("Authorization: Bearer abc", "Authorization: [secret]"),
        ('{"authorization": "Basic dXNlcjpwYXNz"}', '{"authorization": "[secret]"}'),
        ("sent bearer 0123456789abcdef to it", "sent bearer [token] to it"),
        (f"token is {JWT}", "token is [token]"),
        ("GET https://bob:hunter2@db.internal:5432/x failed", "GET https://[credentials]@db.internal:5432/x failed"),
        ("postgres://u:p@ss@db/x", "postgres://[credentials]@db/x"),
        ("redis://:secret@cache", "redis://[credentials]@cache"),
        ("key AKIAIOSFODNN7EXAMPLE", "key [aws key]"),
        (f"and {AWS_SECRET}", "and [secret]"),
        (f"aws_secret_access_key={AWS_SECRET}", "aws_secret_access_key=[secret]"),
        ("xoxb-123456789012-abcDEF", "[slack token]"),
        ("xapp-1-A012345-987-abcdef", "[slack token]"),
        ("https://hooks.slack.com/services/T000/B000/XXXX", "https://hooks.slack.com/services/[secret]"),
        ("?access_token=abcdef123&x=1", "?access_token=[secret]&x=1"),
        ('{"password": "correct horse", "user": "x"}', '{"password": [secret], "user": "x"}'),
        ("password: hunter2 rejected", "password: [secret] rejected"),
        ("DB_PASSWORD='a b c' set", "DB_PASSWORD=[secret] set"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[token]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- end", "[private key] end"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", "[private key]"),
    ],
)
def test_is_cut_out(text: str, safe: str) -> None:
    assert redact(text) == safe


@pytest.mark.parametrize(
    "text",
    [
        "pod tensorflow-serving-7b5b8c9d4-xyz12 in production",
        "pod/xapp-serving-7b5b8c9d45-abcde and pod/sk-learn-server-7b5b8c9d45-abcde",
        "pod svc-415-555-2671 and svc-078-05-1120-x",
        "10.244.100.123 and 192.168.100.100:8501 and fd00::1:2",
        "ip-10-0-123-45.eu-west-1.compute.internal",
        "registry.example.com/ml/serving:2.16.1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "uid 123e4567-e89b-12d3-a456-426614174000",
        "at 2026-08-01T10:00:00.123456789+02:00 and 2026-08-01 10:00:00",
        "used 1073741824 of 2147483648 bytes, 4155552671 requests",
        'secret "model-credentials" not found',
        "couldn't find key API_KEY in Secret production/model-credentials",
        "system:serviceaccount:healer:healer cannot create resource pods/eviction",
        "back-off 5m0s restarting failed container=serving pod=x_production(123e4567)",
        "exit code 137: OOMKilled; 3 of 3 ready; 40 % of 12; v1.30.2+k3s1",
        "http://10.0.0.1:9090/graph?g0.expr=up",
        "path/to/a/rather/long/directory/with/more/than/forty/characters/in/it",
    ],
)
def test_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=300))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit",
    ["a", "1", "-", "@", "a@", "a.", "a@b.", "eyJ", "eyJ-", "eyJa.", "+1", "(1", "://", "://a", "://a@", "bearer ", "token=",
     "token='", "Authorization: x ", "-----BEGIN PRIVATE KEY-----", "xoxb-", "AKIA", "aA1/", "078-05-", "415-555-", "password: ",
     " ", "\n"],
)  # fmt: skip
def test_the_time_is_linear_in_the_length(unit: str) -> None:
    """Linear takes well below a second here; one scan of the rest from every character would not end before the time-out."""
    redact((unit * 400_000)[:400_000])


def secretive() -> Incident:
    story = incident()
    for state in list(type(story.state))[1:]:
        story = then(story, state, f"told bob@example.com {JWT}")
    sick = {
        uid: type(target)(target.target, target.signals, target.since, "by bob@example.com")
        for uid, target in story.targets.items()
    }
    return type(story)(**{**{name: getattr(story, name) for name in story.__slots__}, "targets": sick})


def test_every_free_text_of_an_incident_is_redacted() -> None:
    told = str(secretive())
    assert "bob" not in told
    assert "eyJ" not in told
    assert told.count("[email]") == len(State) + 1  # its reason and its target, and a line for each state but the first
    assert told.count("[token]") == len(State)


def test_log_events_are_redacted_by_the_processor() -> None:
    assert redact_event(None, "info", {"event": "bob@example.com", "n": 1}) == {"event": "[email]", "n": 1}
