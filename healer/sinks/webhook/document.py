"""The template `json`: the whole incident for programs. Its keys stay; new ones may come."""

from typing import Any

from healer.model.incident import Incident
from healer.model.target import Target
from healer.sinks.site import Site
from healer.sinks.words import milestone, words

VERSION = "healer.dev/incident/v1"
_MOST_TARGETS = 100


def document(incident: Incident, site: Site) -> dict[str, Any]:
    """The body. Times are in seconds since the epoch."""
    said = words(incident, site)
    sick = incident.sick
    return {
        "version": VERSION,
        "cluster": site.cluster,
        "incident": incident.id,
        "rule": incident.rule,
        "workload": _target(incident.workload),
        "severity": incident.severity,
        "mode": incident.mode,
        "state": incident.state.value,
        "milestone": milestone(incident).value,
        "reason": {"code": incident.reason.code, "text": incident.reason.text},
        "headline": said.headline,
        "cause": said.cause,
        "verdict": said.verdict,
        "done": said.done,
        "command": said.command,
        "links": said.links,
        "description": incident.background.description,
        "asks": incident.background.asks,
        "storm": incident.storm,
        "openedAt": incident.opened_at,
        "changedAt": incident.changed_at,
        "endedAt": incident.ended_at,
        "steps": list(incident.steps),
        "step": incident.step,
        "sick": [{**_target(each.target), "what": each.what, "since": each.since} for each in sick[:_MOST_TARGETS]],
        "sickMore": max(0, len(sick) - _MOST_TARGETS),
        "history": [
            {
                "at": entry.at,
                "state": entry.state.value,
                "step": entry.step,
                "code": entry.reason.code,
                "text": entry.reason.text,
            }
            for entry in incident.history
        ],
    }


def _target(target: Target) -> dict[str, str]:
    return {"kind": target.kind, "namespace": target.namespace, "name": target.name, "uid": target.uid}
