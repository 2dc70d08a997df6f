"""Every recorded exchange of a real API server, replayed against the lab."""

from __future__ import annotations

import pytest

from tests.contract.replay import exchanges, replay

_NAMES = [exchange["name"] for exchange in exchanges()]


@pytest.fixture(scope="module")
def differences() -> dict[str, list[str]]:
    """What differs, by the name of the exchange; the exchanges are played once, in their order."""
    return replay()


def test_every_exchange_has_a_name_of_its_own() -> None:
    assert len(set(_NAMES)) == len(_NAMES) == 80


@pytest.mark.xdist_group("replay")
@pytest.mark.parametrize("name", _NAMES)
def test_the_lab_answers_as_recorded(differences: dict[str, list[str]], name: str) -> None:
    assert differences[name] == []
