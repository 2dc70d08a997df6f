"""The fields of a RuleSet, healer's own resource, that healer reads and writes (healer.dev/v1alpha1)."""

from datetime import datetime

import msgspec

from healer.model.kube import KubeObject, KubeStruct

ACCEPTED = "Accepted"
"""The type of the condition that says whether the rules of a RuleSet can be used."""


LARGEST_SPEC = 64 * 1024
"""Bytes of a spec that is read: about a hundred rules. Reading more would keep the RuleSets of others waiting."""


class RuleSetCondition(KubeStruct, frozen=True):
    """metav1.Condition."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: datetime | None = None


class RuleSetStatus(KubeStruct, frozen=True):
    """What healer says of a RuleSet. `rules` and `mode` are of those in force: their number, and the furthest mode of them."""

    observed_generation: int = 0
    rules: int = 0
    mode: str = ""
    last_fired: datetime | None = None
    conditions: tuple[RuleSetCondition, ...] = ()

    @property
    def accepted(self) -> RuleSetCondition | None:
        """The condition Accepted, if it is there."""
        return next((each for each in self.conditions if each.type == ACCEPTED), None)


class RuleSet(KubeObject, frozen=True):
    """A RuleSet as an object of the cluster. Its spec is that of a rule file, and is read as one."""

    spec: msgspec.Raw = msgspec.Raw(b"{}")
    status: RuleSetStatus = RuleSetStatus()

    def __post_init__(self) -> None:
        """Keep the bytes of the spec alone, and no more than show that it is too large: what is decoded refers to the whole
        answer that it came in."""
        msgspec.structs.force_setattr(self, "spec", msgspec.Raw(bytes(memoryview(self.spec)[: LARGEST_SPEC + 1])))

    @property
    def too_large(self) -> bool:
        """Whether the spec is too large to be read; it is not kept whole then."""
        return len(self.spec_bytes) > LARGEST_SPEC

    @property
    def spec_bytes(self) -> bytes:
        """The spec as JSON."""
        return bytes(self.spec)

    @property
    def full_name(self) -> str:
        """NAMESPACE/NAME: its rules are known by NAMESPACE/NAME/RULE."""
        return f"{self.metadata.namespace}/{self.metadata.name}"
