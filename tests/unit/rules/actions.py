"""A small registry of actions for rules to be checked against."""

from dataclasses import replace

from pydantic import BaseModel, ConfigDict

from healer.actions.page import Page
from healer.daemon.rulefiles import vocabulary
from healer.model.action import ActionSpec
from healer.model.target import ActsOn


class Nothing(BaseModel):
    """No parameters."""

    model_config = ConfigDict(extra="forbid")


class Scaling(BaseModel):
    """One parameter."""

    model_config = ConfigDict(extra="forbid")

    replicas: int


ACTIONS = {
    "evict": ActionSpec("evict", Nothing, frozenset({ActsOn.POD}), True, "evict"),
    "restart": ActionSpec("restart", Nothing, frozenset({ActsOn.POD}), True, "restart"),
    "page": Page.spec,
    "scale": ActionSpec("scale", Scaling, frozenset({ActsOn.WORKLOAD}), False, "scale"),
}

VOCABULARY = replace(vocabulary(), actions=ACTIONS)
"""These actions, with the router kinds and the model servers that there are."""
