"""Scenarios of tests, and how they are played."""

from typing import Any

import yaml

from healer.daemon.rulefiles import vocabulary
from healer.rehearsal.simulate.life import Life, live
from healer.rehearsal.simulate.loading import parse
from healer.rehearsal.simulate.scenario import Scenario
from healer.rules.loading import load
from healer.rules.rulebook import Rulebook
from healer.settings import isolated

EVICT = """
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: test}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: sick
      when: {pod: [NotReady, CrashLoopBackOff], for: 1m}
      heal:
        - evict: {}
          verify: {within: 5m, stable: 1m}
      mode: enforce
    - name: alerts
      when: {alert: [Hangs]}
      heal:
        - evict: {}
          verify: {within: 5m, stable: 1m}
      mode: enforce
"""
"""A rule for pods, and one for an alert: each evicts."""


def written(*, faults: list[dict[str, Any]], workload: dict[str, Any] | None = None, **spec: Any) -> str:
    """A scenario file: an hour of one workload of two pods, each for 10 requests a second, which gets 15, with these faults."""
    one = {"name": "llm", "replicas": 2, "starts": "10s", "loads": "20s", "stops": "0s", "traffic": {"rate": 15}}
    cluster = {"nodes": 2, "workloads": [one | (workload or {})]}
    whole = {"about": "a test", "lasts": "1h", "cluster": cluster, "faults": faults} | spec
    document = {"apiVersion": "healer.dev/v1alpha1", "kind": "Scenario", "metadata": {"name": "test"}, "spec": whole}
    return yaml.safe_dump(document, sort_keys=False)


def scenario(**spec: Any) -> Scenario:
    """The same, read."""
    return parse(written(**spec), "test.yaml")


def rules(text: str = EVICT) -> Rulebook:
    """The rules of a file."""
    bound, problems = load(text, "rules.yaml", vocabulary())
    assert not problems, "\n".join(map(str, problems))
    return Rulebook(bound)


def play(read: Scenario, policy: str = "healer", *, seed: int = 1, text: str = EVICT) -> Life:
    """One life."""
    return live(read, rules(text), isolated(read.spec.settings, "test.yaml"), policy=policy, seed=seed)
