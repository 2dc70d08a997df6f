"""A replay as JSON."""

from datetime import UTC, datetime
from typing import Any

from healer.model.target import Target
from healer.rehearsal.replay.diff import Difference, differences
from healer.rehearsal.replay.replaying import Replayed
from healer.rehearsal.replay.show import OPEN_LOOP
from healer.rehearsal.replay.story import Hold, Story, ToldAct


def document(result: Replayed) -> dict[str, Any]:
    """The replay in plain values; times are RFC 3339."""
    return {
        "apiVersion": "healer.dev/v1alpha1",
        "kind": "Replay",
        "from": _time(max(result.began, result.story.since)),
        "to": _time(result.story.until if result.goes_on else result.ended),
        "record": {"from": _time(result.began), "to": _time(result.ended), "goesOn": result.goes_on},
        "lines": result.lines,
        "gaps": [{"from": _time(gap.began), "to": _time(gap.ended), "why": gap.why} for gap in result.gaps],
        "rulesAsRecorded": sorted(result.same),
        **_story(result.story),
        "differences": None if result.other is None else [_difference(each) for each in differences(result.story, result.other)],
        "comparedWith": None if result.other is None else _story(result.other),
        "unjudged": [{"rule": each.rule, "why": each.why, "whole": each.whole} for each in result.unjudged],
        "remarks": result.remarks,
        "openLoop": OPEN_LOOP,
    }


def _story(story: Story) -> dict[str, Any]:
    return {
        "acts": [_deed(deed) for deed in story.told],
        "held": [_hold(hold) for hold in sorted(story.holds.values(), key=lambda hold: hold.at)],
        "totals": {
            "acts": len(story.counted),
            "furtherActs": sum(deed.echo for deed in story.told),
            "refusedAttempts": sum(deed.times for deed in story.told if deed.refused and not deed.echo),
            "incidentsActedOn": len({deed.incident for deed in story.counted}),
            "incidents": {str(state): count for state, count in story.by_state.items()},
        },
    }


def _deed(deed: ToldAct) -> dict[str, Any]:
    outcome = deed.outcome
    return {
        "at": _time(deed.at),
        "action": deed.action,
        "target": _target(deed.target),
        "workload": _target(deed.workload),
        "rule": deed.rule,
        "incident": deed.incident,
        "step": deed.step + 1,
        "dryRun": deed.dry_run,
        "why": deed.why,
        "further": deed.echo,
        "recorded": deed.recorded,
        "times": deed.times,
        "refused": deed.refused,
        "outcome": None if outcome is None else {"kind": str(outcome.kind), "reason": outcome.reason, "text": outcome.text},
    }


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        "at": _time(hold.at),
        "rule": hold.rule,
        "target": _target(hold.target),
        "decision": str(hold.verb),
        "reason": hold.code,
        "text": hold.text,
        "times": hold.times,
    }


def _difference(each: Difference) -> dict[str, Any]:
    return {
        "at": _time(each.at),
        "how": str(each.how),
        "act": None if each.deed is None else _deed(each.deed),
        "before": None if each.before is None else _deed(each.before),
        "held": None if each.hold is None else _hold(each.hold),
        "why": each.why,
    }


def _target(target: Target) -> dict[str, str]:
    return {"kind": target.kind, "namespace": target.namespace, "name": target.name, "uid": target.uid}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
