"""What the tests say of the world: rules in a hurry, a serving workload in the lab, what became of its pods."""

from collections.abc import Callable
from typing import Any

import aiohttp
import yaml

from healer.lab import Lab, serving
from healer.lab.apiserver.store import StoreEvent
from healer.lab.objects import Object, is_ready
from healer.model.incident import State
from healer.sinks.slack.reply import SAYS, TAKEN_OFF
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

NAMESPACE = "production"
LAB_TOKEN = "a-token-of-the-service-account"
CHANNEL = "#ml-oncall"

Rule = dict[str, Any]


def rule(name: str, *, when: Rule, mode: str = "enforce", **more: Any) -> Rule:
    """A rule in a hurry: evict, then verified within seconds."""
    return {
        "name": name,
        "when": when,
        "heal": [{"evict": {}, "verify": {"within": "30s", "stable": "300ms"}}],
        "limits": {"cooldown": "10m"},
        "mode": mode,
        "severity": "critical",
        "notify": [CHANNEL],
    } | more


def ruleset(*rules: Rule, name: str = "test") -> str:
    """A rule file."""
    scope = {"namespaces": [NAMESPACE], "selector": {"matchLabels": {"app": "tensorflow-serving"}}}
    document = {"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": name}}
    return yaml.safe_dump(document | {"spec": {"scope": scope, "rules": list(rules)}}, sort_keys=False)


CRASH_LOOP = rule("crash-loop", when={"pod": ["CrashLoopBackOff"], "for": "300ms"})
SLOW = rule("slow", when={"alert": ["HighLatency"]})


def pods(lab: Lab) -> dict[str, Object]:
    """The pods of the namespace, by name."""
    return {pod["metadata"]["name"]: pod for pod in lab.objects("pods", NAMESPACE)}


def serves(replicas: int = 3, without: str = "") -> Callable[[Lab], bool]:
    """Whether so many pods are ready, none is on its way out, and none has the uid `without`."""

    def holds(lab: Lab) -> bool:
        found = list(pods(lab).values())
        going = [pod for pod in found if "deletionTimestamp" in pod["metadata"] or pod["metadata"]["uid"] == without]
        return len(found) == replicas and not going and all(is_ready(pod) for pod in found)

    return holds


async def serve(lab: Lab, **how: Any) -> list[str]:
    """Have the serving workload run; returns the names of its pods."""
    await lab.apply(serving(**how))
    await lab.wait_for(serves(how.get("replicas", 3)), PATIENCE)
    return list(pods(lab))


def uid(lab: Lab, pod: str) -> str:
    """A pod's uid."""
    return str(pods(lab)[pod]["metadata"]["uid"])


def evictions(lab: Lab) -> list[str]:
    """The names of the pods whose eviction was asked for, in that order."""
    return [seen.name for seen in lab.requests if (seen.verb, seen.permission) == ("create", "pods/eviction")]


def told(state: str) -> Callable[[FakeSlack], bool]:
    """Whether a thread of the channel has a line of that state."""
    words = {SAYS[State(state)], "Done" if state == "verifying" else "", TAKEN_OFF if state == "healed" else ""} - {""}
    return lambda slack: any(f"*{word}*" in line for word in words for thread in slack.threads(CHANNEL) for line in thread)


async def patch(lab: Lab, path: str, change: object) -> None:
    """Change an object as kubectl patch --type=merge does; the path is that below the API server's URL."""
    headers = {"Content-Type": "application/merge-patch+json", "Authorization": f"Bearer {LAB_TOKEN}"}
    async with aiohttp.ClientSession() as session, session.patch(f"{lab.url}{path}", json=change, headers=headers) as answer:
        assert answer.ok, await answer.text()


class Floor:
    """Watches a workload from now on: `lowest` is the fewest pods that were ready, and not on their way out, at any moment."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.lowest = self._ready()
        lab.store.listeners.append(self._look)

    def _look(self, collection: str, _: StoreEvent) -> None:
        if collection == "pods":
            self.lowest = min(self.lowest, self._ready())

    def _ready(self) -> int:
        return sum(is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods(self._lab).values())
