"""What `healer explain -o json` prints, and its JSON Schema. The two are made from the same types, so that neither can lie.

A later healer may add keys. It removes none, and gives none another meaning, as long as `apiVersion` stays.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from healer.http.decisions import plain_decision
from healer.journal.codec import SPEC, STATUS, encode
from healer.model.effects import Verb
from healer.model.incident import Incident
from healer.operate.explain.facts import Guarding, LeaseHolder, SubjectFacts
from healer.operate.explain.story import last_by_rule, next_of, next_steps, verdict
from healer.operate.pause import plain_pause
from healer.rules.schema import Mode

API_VERSION: Literal["healer.dev/v1alpha1"] = "healer.dev/v1alpha1"
KIND: Literal["Explanation"] = "Explanation"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Code = Literal["unknown", "well", "seen", "healed", "escalated", "open", "approval", "waiting", "healing", "observed"]


class ExplainedTarget(msgspec.Struct):
    kind: str
    namespace: str
    name: str
    uid: str


class ExplainedReason(msgspec.Struct):
    code: str
    text: str


class ExplainedPlace(msgspec.Struct):
    kind: str
    namespace: str
    name: str


class ExplainedPause(msgspec.Struct):
    on: ExplainedPlace
    by: str
    reason: str
    until: str
    healer: str


class ExplainedVerdict(msgspec.Struct):
    code: Code
    text: str


class ExplainedRule(msgspec.Struct, rename="camel"):
    rule: str
    mode: Mode
    in_scope: bool
    differs: str
    description: str


class ExplainedCondition(msgspec.Struct, rename="camel"):
    type: str
    status: Literal["True", "False"]
    reason: str
    message: str
    last_transition_time: datetime


def _kept(form: Any) -> list[Any]:
    """The fields of a part of an incident as its object has it: what may be left out there may be left out here."""
    fields = msgspec.structs.fields(form)
    return [(f.name, f.type) if f.required else (f.name, f.type | msgspec.UnsetType, msgspec.UNSET) for f in fields]


_OWN = [("name", str), ("next", str), ("doing", str), ("conditions", list[ExplainedCondition])]
_INCIDENT: Any = msgspec.defstruct("ExplainedIncident", [*_OWN, *_kept(SPEC), *_kept(STATUS)], rename="camel", kw_only=True)
"""An incident: the keys of its object's spec and status, its name, and what happens next."""


class ExplainedDecision(msgspec.Struct):
    at: datetime
    decision: Verb
    rule: str
    incident: str
    target: ExplainedTarget
    reason: ExplainedReason


class ExplanationDocument(msgspec.Struct, rename="camel"):
    api_version: Literal["healer.dev/v1alpha1"]
    kind: Literal["Explanation"]
    target: ExplainedTarget
    found: bool
    condition: str
    workload: ExplainedTarget | None
    verdict: ExplainedVerdict
    pauses: list[ExplainedPause]
    incidents: list[_INCIDENT]
    rules: list[ExplainedDecision]
    decisions: list[ExplainedDecision] | None
    guards: list[ExplainedRule] | None
    next: list[str]
    leader: LeaseHolder | None
    notes: list[str]
    at: datetime


def document(facts: SubjectFacts) -> dict[str, Any]:
    """The explanation in plain values. Incidents have the keys of their objects' spec and status; times are RFC 3339."""
    explanation = verdict(facts)
    made = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "target": facts.subject,
        "found": facts.found,
        "condition": facts.condition,
        "workload": facts.workload,
        "verdict": {"code": explanation.code, "text": explanation.text},
        "pauses": [plain_pause(pause) for pause in facts.pauses],
        "incidents": [_plain_incident(incident, facts.at) for incident in facts.incidents],
        "rules": [plain_decision(last) for last in last_by_rule(facts.decisions or ())],
        "decisions": None if facts.decisions is None else [plain_decision(each) for each in facts.decisions],
        "guards": None if facts.guards is None else [_plain_guard(guard) for guard in facts.guards],
        "next": next_steps(facts),
        "leader": facts.leader,
        "notes": facts.notes,
        "at": datetime.fromtimestamp(facts.at, UTC),
    }
    plain: dict[str, Any] = msgspec.to_builtins(made)
    return plain


def explanation_schema() -> dict[str, Any]:
    """The JSON Schema of an explanation."""
    (whole,), definitions = msgspec.json.schema_components([ExplanationDocument], ref_template="#/$defs/{name}")
    return {"$schema": _DIALECT, "title": "An explanation of healer", **whole, "$defs": definitions}


def _plain_guard(guard: Guarding) -> dict[str, Any]:
    rule = guard.rule
    return {
        "rule": rule.name,
        "mode": rule.mode,
        "inScope": not guard.differs,
        "differs": guard.differs,
        "description": rule.description,
    }


def _plain_incident(incident: Incident, now: float) -> dict[str, Any]:
    spec, status = encode(incident)
    return {"name": incident.id, **spec, **status, "next": next_of(incident, now)}
