"""What is said of an API server that does not answer as it should: once, and then seldom, in one line for all who ask it."""

import pytest
from structlog.testing import capture_logs

from healer.cluster.contact import VERBS, Contact, RbacRequest, rbac_request
from healer.cluster.errors import ApiError, ApiUnavailable, ClusterError

PODS = RbacRequest("list", "", "pods", "production")
REFUSED = ApiUnavailable("GET /api/v1/pods: connection refused")
FORBIDDEN = ApiError(403, "Forbidden", 'pods is forbidden: User "healer" cannot list resource "pods" in API group "" ...')


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contact(clock: Clock) -> Contact:
    return Contact("https://10.0.0.1 (context it of kubeconfig /home/me/.kube/config)", clock)


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", {}, "list pods"),
        ("GET", "/api/v1/namespaces/a/pods", {"watch": "1"}, "watch pods in namespace a"),
        ("GET", "/api/v1/namespaces/a/pods/b", {}, "get pods in namespace a"),
        ("POST", "/api/v1/namespaces/a/pods/b/eviction", {}, "create pods/eviction in namespace a"),
        (
            "PUT",
            "/apis/healer.dev/v1alpha1/namespaces/a/incidents/b/status",
            {},
            "update incidents/status.healer.dev in namespace a",
        ),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", {}, "patch deployments.apps in namespace a"),
        ("DELETE", "/apis/apps/v1/namespaces/a/deployments/b", {}, "delete deployments.apps in namespace a"),
        ("GET", "/api/v1/namespaces", {}, "list namespaces"),
        ("GET", "/api/v1/namespaces/a", {}, "get namespaces in namespace a"),
    ],
)
def test_a_request_is_named_as_rbac_names_it(method: str, path: str, query: dict[str, str], expected: str) -> None:
    assert str(rbac_request(method, path, query)) == expected


def test_a_server_that_was_never_heard_is_one_line_that_says_which_and_why(contact: Contact, clock: Clock) -> None:
    with capture_logs() as logs:
        for _ in range(500):
            contact.failed(PODS, REFUSED)
            clock.now += 0.1
    (line,) = logs
    assert line["cluster"] == contact.where
    assert (line["error"], line["since"]) == (str(REFUSED), "never heard")
    assert "never heard, for 50 s" in contact.summary()


def test_the_line_is_repeated_ever_more_seldom(contact: Contact, clock: Clock) -> None:
    with capture_logs() as logs:
        for _ in range(4 * 3600):
            contact.failed(PODS, REFUSED)
            clock.now += 1
    assert 6 <= len(logs) <= 9


def test_one_lost_request_is_no_trouble_and_lasting_failures_are(contact: Contact, clock: Clock) -> None:
    contact.answered(PODS)
    with capture_logs() as logs:
        contact.failed(PODS, REFUSED)
        clock.now += 1
        assert contact.trouble == ""
        contact.answered(PODS)
        contact.failed(PODS, REFUSED)
        clock.now += 6
        assert "connection refused" in contact.trouble
        contact.failed(PODS, REFUSED)
        contact.answered(PODS)
        assert contact.trouble == ""
    assert [line["event"] for line in logs] == [
        "the cluster cannot be reached: nothing is healed until it can",
        "the cluster answers again",
    ]


@pytest.mark.parametrize("error", [ApiError(500), ApiError(503), ApiError(401), REFUSED])
def test_every_answer_an_error_is_trouble(contact: Contact, error: ClusterError) -> None:
    contact.failed(PODS, error)
    assert contact.trouble == str(error)


@pytest.mark.parametrize("status", [403, 404, 409, 410, 422])
def test_a_refusal_by_a_server_that_knows_what_it_says_is_an_answer(contact: Contact, status: int) -> None:
    contact.failed(PODS, ApiError(status))
    assert contact.heard
    assert contact.trouble == ""


def test_a_server_that_throttles_is_neither_well_nor_ill(contact: Contact) -> None:
    contact.failed(PODS, ApiError(429))
    assert not contact.heard
    assert contact.trouble == ""


def test_a_missing_permission_is_named_once_with_what_to_apply(contact: Contact) -> None:
    with capture_logs() as logs:
        for _ in range(50):
            contact.failed(PODS, FORBIDDEN)
        contact.failed(RbacRequest("list", "", "pods", "staging"), FORBIDDEN)
    assert [line["permission"] for line in logs] == ["list pods in namespace production", "list pods in namespace staging"]
    assert "healer rbac" in logs[0]["hint"]
    assert "may not list pods in namespace production" in contact.summary()
    contact.answered(PODS)
    assert "namespace production" not in contact.summary()


def test_an_admission_policys_no_is_no_missing_permission(contact: Contact) -> None:
    denied = ApiError(403, "Forbidden", "admission webhook denied the request: not on Fridays")
    with capture_logs() as logs:
        contact.failed(RbacRequest("create", "", "pods/eviction", "production"), denied)
    assert logs == []


def test_requests_are_counted_in_series_that_stand_from_the_beginning(contact: Contact) -> None:
    """An alert on a rate sees nothing of a counter that is born at 1; and no answer makes a series of its own."""
    before = {(verb, code): count for verb, code, count in contact.numbers()}
    contact.answered(PODS)
    for status in (500, 503, 418, 404, 999):
        contact.failed(PODS, ApiError(status))
    contact.failed(PODS, REFUSED)
    after = {(verb, code): count for verb, code, count in contact.numbers()}
    assert before.keys() == after.keys()
    assert {verb for verb, _ in before} == set(VERBS)
    assert {key[1]: count for key, count in after.items() if count} == {"2xx": 1, "5xx": 2, "4xx": 2, "404": 1, "none": 1}
    assert {key[0] for key, count in after.items() if count} == {"list"}
