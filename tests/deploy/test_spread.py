"""An upgrade of healer goes through on small clusters: the controller and the scheduler, over the shipped constraints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.deploy.test_healer import FOLDER, one
from tests.support.kustomize import built

Pod = tuple[str, str]
"""Its version and its node."""
ZONES = {"a": "z1", "b": "z2", "c": "z2"}


def _pods(overlay: str) -> tuple[int, Sequence[Mapping[str, Any]]]:
    """How many replicas there are, and how they are spread."""
    spec = one(built(FOLDER / "overlays" / overlay), "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    return spec["replicas"], spec["template"]["spec"]["topologySpreadConstraints"]


def _takes(node: str, version: str, pods: Sequence[Pod], nodes: Sequence[str], tainted: str, spread: Mapping[str, Any]) -> bool:
    """Whether a constraint lets a pod onto a node: its domain has at most `maxSkew` pods more then than the one with the fewest.

    The domains are those of all nodes, and with nodeTaintsPolicy those of the nodes whose taints the pod tolerates. The pods are
    all that the selector matches, and with matchLabelKeys those of this version.
    """
    if spread["whenUnsatisfiable"] != "DoNotSchedule":
        return True
    domain = {each: each if spread["topologyKey"] == "kubernetes.io/hostname" else ZONES[each] for each in nodes}
    eligible = [each for each in nodes if each != tainted or spread.get("nodeTaintsPolicy", "Ignore") == "Ignore"]
    counted = [where for its, where in pods if its == version or "pod-template-hash" not in spread.get("matchLabelKeys", ())]
    found = Counter({domain[each]: 0 for each in eligible})
    found.update(domain[where] for where in counted if where in eligible)
    most: int = spread["maxSkew"]
    return found[domain[node]] + 1 - min(found.values()) <= most


def _outcomes(
    replicas: int, spread: Sequence[Mapping[str, Any]], before: Sequence[Pod], nodes: Sequence[str], tainted: str = ""
) -> set[tuple[Pod, ...]]:
    """How a rolling update may end, whichever node the scheduler and whichever pod the controller chooses."""
    ends, seen, waiting = set(), set(), [tuple(sorted(before))]
    while waiting:
        pods = waiting.pop()
        if pods in seen:
            continue
        seen.add(pods)
        new = sum(version == "new" for version, _ in pods)
        following = []
        if len(pods) > replicas:
            following = [pods[:each] + pods[each + 1 :] for each in range(len(pods)) if pods[each][0] == "old"]
        elif new < replicas:
            fits = [
                node for node in nodes if node != tainted and all(_takes(node, "new", pods, nodes, tainted, s) for s in spread)
            ]
            following = [(*pods, ("new", node)) for node in fits]
        waiting += [tuple(sorted(each)) for each in following]
        if not following:
            ends.add(pods)
    return ends


@pytest.mark.parametrize("overlay", ["observe", "production"])
@pytest.mark.parametrize(
    ("nodes", "tainted", "before"),
    [
        ("a", "", "aa"),
        ("ab", "", "ab"),
        ("ab", "b", "aa"),
        ("ab", "b", "ab"),
        ("ab", "", "aa"),
        ("abc", "", "bc"),
        ("abc", "a", "bc"),
        ("abc", "c", "bc"),
    ],
)
def test_an_upgrade_goes_through(overlay: str, nodes: str, tainted: str, before: str) -> None:
    """With one node, with two, and with one that takes no pods; in production it ends on two nodes where there are two."""
    replicas, spread = _pods(overlay)
    free = {*nodes} - {tainted}
    for end in _outcomes(replicas, spread, [("old", node) for node in before], nodes, tainted):
        assert [version for version, _ in end] == ["new"] * replicas, f"it waits for ever with {end}"
        if overlay == "production":
            assert len({node for _, node in end}) == min(replicas, len(free))


def test_without_what_is_said_about_taints_an_upgrade_would_wait() -> None:
    """The node that takes no pod is the emptiest."""
    replicas, spread = _pods("production")
    ignoring = [{key: value for key, value in each.items() if key != "nodeTaintsPolicy"} for each in spread]
    ends = _outcomes(replicas, ignoring, [("old", "a"), ("old", "a")], "ab", "b")
    assert any("old" in {version for version, _ in end} for end in ends)
