"""How long is waited: doubled, capped, jittered in full, and forgotten when all is well."""

from healer.cluster.errors import Backoff


def test_doubles_to_the_cap() -> None:
    backoff = Backoff(0.8, 30.0, 120.0, clock=lambda: 0.0, random=lambda: 1.0)
    assert [backoff.next() for _ in range(8)] == [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert backoff.failures == 8


def test_jitter_is_full() -> None:
    backoff = Backoff(0.8, 30.0, 120.0, clock=lambda: 0.0, random=iter([0.0, 0.5, 0.25]).__next__)
    assert [backoff.next() for _ in range(3)] == [0.0, 0.8, 0.8]


def test_is_forgotten_after_the_time_without_failures() -> None:
    now = [0.0]
    backoff = Backoff(1.0, 30.0, 120.0, clock=lambda: now[0], random=lambda: 1.0)
    waits = []
    for now[0] in (10.0, 129.0, 249.0, 250.0):
        waits.append(backoff.next())
    assert waits == [1.0, 2.0, 1.0, 2.0]


def test_a_day_of_failures_does_not_overflow() -> None:
    backoff = Backoff(0.8, 30.0, 120.0, clock=lambda: 0.0, random=lambda: 1.0)
    assert [backoff.next() for _ in range(3000)][-1] == 30.0
