"""The tables of docs/manifests.md, from the checks that the tests make."""

from collections.abc import Mapping

from tests.support.manifest_checks import CHECKS, LEFT_OUT


def tables() -> Mapping[str, str]:
    """The checks, and those that are left out."""
    made = ["| check | what it asks for | kube-score | Polaris |", "|---|---|---|---|"]
    made += [f"| `{each.name}` | {each.asks} | {each.kube_score} | {each.polaris} |" for each in CHECKS]
    left = ["| check | why it is not made |", "|---|---|"] + [f"| {names} | {why} |" for names, why in LEFT_OUT]
    return {"checks": "\n".join(made), "unchecked": "\n".join(left)}
