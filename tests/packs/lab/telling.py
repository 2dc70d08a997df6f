"""What people must be told of a scene, in Slack and on the page, by the scene alone: its trouble, its action, why it holds back.

This is written from what docs/slack.md and docs/operating.md promise, and asks nothing of healer's own words.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from healer.model.incident import Incident, State
from healer.rules.schema import Mode
from healer.sinks.base import SinkMeters
from healer.sinks.memory import ProcessMemory
from healer.sinks.site import Site
from healer.sinks.slack.settings import SlackSettings
from healer.sinks.slack.sink import SlackSink
from tests.packs.troubles import Symptom, Trouble
from tests.support.processes import PATIENCE
from tests.support.reading import fields, read_message, read_thread, titles
from tests.support.slack import TOKEN, FakeSlack, Posted

_NAMES = {
    Symptom.CRASHING: "CrashLoopBackOff",
    Symptom.RESTARTING: "Restarting",
    Symptom.OUT_OF_MEMORY: "OOMKilled",
    Symptom.UNREADY: "NotReady",
    Symptom.NEVER_READY: "NotReady",
    Symptom.RETIRED: "NotReady",
    Symptom.UNSCHEDULABLE: "Unschedulable",
    Symptom.TERMINATING: "StuckTerminating",
    Symptom.DEVICE: "DeviceUnhealthy",
}
"""What troubles without a name of their own are called."""
_DONE = {
    "evict": r"pod/{workload}-\S+ is evicted",
    "rollback": r"deployment/{workload} is rolled back from revision 2 to revision 1",
    "scale": r"replicas of deployment/{workload}: 4 -> 5; taken back when the incident is healed",
    "page": r"people are paged about deployment/{workload}",
    "shiftTraffic": r"canary 20 % -> 0 %, all to \S+",
}
"""What the thread says that healer did."""
_WAITS = {
    "BelowFloor": "it would leave 0 ready replicas; minReady asks for",
    "RolloutInProgress": "a rollout is in progress",
    "ApprovalExpired": "nobody approved within",
    "UnknownVerdict": "is not known",
}
"""Why it holds back."""
_UNDONE = ("rollback", "scale", "pinModelVersion", "shiftTraffic")
"""The actions that `healer undo` takes back."""


@dataclass(frozen=True)
class Scenario:
    """A scene: the incident of its rule on its workload. `hold` is the code of why healer holds back; None where it heals."""

    workload: str
    namespace: str
    cluster: str
    mode: Mode
    severity: str
    action: str
    trouble: Trouble
    hold: str | None = None

    def faults(self, incident: Incident, posted: Posted, row: Mapping[str, Any]) -> Iterator[str]:
        """What the message, the thread and the page's row do not say, or say wrongly; a sentence each."""
        told, shown, title = read_thread(posted), read_message(posted), " > ".join(_course(titles(posted)))
        line = f"titles {title!r}, headline {shown[0]!r}"
        sign, verdict, waits_for, tone = self._standing(incident)
        if not re.fullmatch(self._titles(incident), title):
            yield f"its thread is another one: {line}"
        if not re.fullmatch(rf"{sign} {self._headline(incident)}", shown[0]):
            yield f"its headline is another one: {line}"
        (now,) = [each.removeprefix("*Now* ") for each in shown if each.startswith("*Now* ")]
        if not now.startswith(verdict):
            yield f"it stands otherwise: {now!r}, and not {verdict!r}"
        if missing := [words for words in self._words(incident) if not re.search(words, "\n".join(told))]:
            yield f"its thread does not say {missing}: {told}"
        if bare := [each for each in map(_untimed, told) if list(map(_untimed, told)).count(each) > 1]:
            yield f"its thread says twice: {bare}"
        what = told[0].partition(" is sick: ")[2]
        if not what or "\n".join(told).count(what) > 1:
            yield f"what is wrong is not said once, in the first line: {told}"
        yield from self._message_faults(incident, posted, shown)
        yield from self._row_faults(incident, row, verdict, waits_for, tone)

    def _message_faults(self, incident: Incident, posted: Posted, shown: list[str]) -> Iterator[str]:
        here = fields(posted)
        wanted = {"Workload": f"deployment/{self.workload}", "Namespace": self.namespace}
        wanted |= {"Cluster": self.cluster} if self.cluster else {}
        if {name: here.get(name) for name in wanted} != wanted:
            yield f"its message is of another place: {here}"
        paged = self.action == "page" and self.hold is None
        severities = {"critical"} if paged else {self.severity, "critical"} if self.hold == "Storm" else {self.severity}
        if here["Severity"].split()[-1] not in severities:
            yield f"its severity is {here['Severity']}, and not one of {severities}"
        over = incident.state in (State.HEALED, State.CLOSED)
        if ("Lasted" in here) is not over or ("Lasts" in here) is over:
            yield f"how long is not said: {here}"
        if ("Mode" in here) is not (self.mode is not Mode.ENFORCE):
            yield f"its mode is said wrongly: {here}"
        (following,) = [each for each in shown if each.startswith("*Next* ")]
        place = f"incident/{incident.id} -n {self.namespace}"
        commands = [f"healer explain {place}"]
        commands += [] if over else [f"healer pause deployment/{self.workload} -n {self.namespace}"]
        commands += [f"healer undo {place}"] if self.action in _UNDONE and incident.acted_at else []
        if following != f"*Next* {' or '.join(f'`{each}`' for each in commands)}":
            yield f"what to type is another command: {following}"
        alarms = [reply.text for reply in posted.replies if reply.broadcast]
        if any("Next: `healer explain" not in alarm or not alarm.startswith("<!here> ") for alarm in alarms):
            yield f"an alarm calls nobody, or does not say what to do: {alarms}"

    def _row_faults(self, incident: Incident, row: Mapping[str, Any], verdict: str, waits_for: str, tone: str) -> Iterator[str]:
        said = {"state": str(incident.state), "waitsFor": waits_for, "tone": tone, "mode": str(self.mode), "rule": incident.rule}
        if found := {key: row[key] for key, value in said.items() if row[key] != value}:
            yield f"the page says {found}, and not {said}"
        if not row["verdict"].startswith(verdict.removesuffix(": ")):
            yield f"the page's verdict is {row['verdict']!r}, and not {verdict!r}"
        if (row["workload"]["kind"], row["workload"]["name"], row["namespace"]) != ("Deployment", self.workload, self.namespace):
            yield f"the page's row is of another workload: {row}"
        if not re.fullmatch(self._headline(incident), row["cause"]):
            yield f"the page's cause is {row['cause']!r}"
        if row["cause"].partition(" on ")[0] in row["reason"]["text"]:
            yield f"the page says twice what is wrong: {row['reason']['text']!r}"
        if row["command"] != f"healer explain incident/{incident.id} -n {self.namespace}":
            yield f"the page's command is {row['command']!r}"
        if row["steps"][0] != self.action or row["storm"] is not (incident.storm and self.hold == "Storm"):
            yield f"the page's ladder is {row['steps']}, its storm {row['storm']}"

    # the oracle

    def _standing(self, incident: Incident) -> tuple[str, str, str, str]:
        """The sign, the verdict, for whom it waits, and the page's tone."""
        if self.hold is None and self.mode is Mode.OBSERVE:
            return "✅", "over, without an action of healer: ", "", "good"
        if self.hold is None and self.action == "page":
            return "✅", "over, without an action of healer: ", "", "good"
        if self.hold is None and self.action == "shiftTraffic":
            over = "over: " if incident.state is State.CLOSED else ""
            return "⛔", f"{over}taken off, the release failed: ", "", "warning"
        if self.hold is None:
            return "✅", "over: " if incident.state is State.CLOSED else "healed: ", "", "good"
        if self.hold == "ApprovalExpired":
            return "🚨", "a human is needed: ", "human", "urgent"
        if self.hold == "Storm" and incident.state is State.WAITING and incident.storm and not incident.storming:
            return "🚨", "a human is needed: ", "human", "urgent"
        signs = {State.OPEN: "(🔴|🟠|🔵)", State.ACTING: "🔧", State.VERIFYING: "⏳", State.WAITING: "⏸"}
        return signs[incident.state], "healer is on it: ", "", "warning"

    def _titles(self, incident: Incident) -> str:
        """The titles of the lines, but for what is seen or passes meanwhile."""
        action = self.action
        did = rf"(Waits \({action}\) > )*Acts \({action}\) > Done \({action}\)"
        checked = rf"( > (Looks whether it helped \({action}\)|Waits))*"  # also while its replacement is slow to come
        over = rf"( > Over \({action}\)( > Taken back)?)?"
        if self.hold == "Storm":
            called = r"A human is needed \(evict\)"
            paged = rf"Waits( \(evict\))?( > Waits)*( > Acts( > Done( > {called})?)?)?"
            return rf"Seen > ({paged}|{called}( > Waits)*|Waits \(evict\)( > Waits)*)"
        if self.hold == "ApprovalExpired":
            return rf"Seen > Waits \({action}\) > A human is needed \({action}\)"
        if self.hold is not None:
            return rf"Seen > Waits \({action}\)"
        if self.mode is Mode.OBSERVE:
            return rf"Seen > {did}{checked} > Over \({action}\)"
        if action == "page":
            return rf"Seen > {did}( > Goes on \(\w+\))? > A human is needed \(\w+\) > Over \(\w+\)"
        if action == "shiftTraffic":
            return rf"Seen > {did}{checked} > Taken off, the release failed \(shiftTraffic\){over}"
        if action == "pinModelVersion":  # loaded beside the others first, which may be all that it takes
            waits = rf"Waits \({action}\)( > Acts \({action}\))? > (Waits \({action}\) > )?"
            did = rf"Acts \({action}\) > ({waits})?(Done|Looks whether it helped) \({action}\)"
        asks = rf"Waits \({action}\) > Approved \({action}\) > " if self.mode is Mode.APPROVE else ""
        return rf"Seen > {asks}{did}{checked} > Healed \({action}\){over}"

    def _headline(self, incident: Incident) -> str:
        """What broke, and where."""
        name = self._name
        if self.hold == "Storm" and incident.storm:
            return rf"3 of 4 pods are sick at once, more than \d+%: {name}\b.*"
        place = rf"deployment/{self.workload}" if self.trouble.of_workload else rf"pod/{self.workload}-\S+"
        return rf"{name}: .*on {place}( and \d more)?"

    @property
    def _name(self) -> str:
        if self.trouble.symptom is Symptom.WAITING and self.trouble.name.endswith(("ImagePull", "ImagePullBackOff")):
            return "(ErrImagePull|ImagePullBackOff)"
        if self.trouble.symptom is Symptom.WAITING and self.trouble.name == "CreateContainerError":
            return "NotStarting"
        return _NAMES.get(self.trouble.symptom) or re.escape(self.trouble.name)

    def _words(self, incident: Incident) -> Iterator[str]:
        """What is said of what healer did, or why it holds back."""
        yield rf"\*Seen\*: (pod/{self.workload}-\S+|deployment/{self.workload}) is sick: {self._name}\b"
        if self.hold == "Storm":
            yield r"3 of 4 pods are sick at once, more than \d+%: (pods are not treated one by one|\S+ has taken over)"
        elif self.hold is not None:
            yield re.escape(_WAITS[self.hold])
        elif self.mode is Mode.OBSERVE:
            yield rf"would \(observe\) .*{self.workload}"
        elif self.action in _DONE:
            yield _DONE[self.action].format(workload=self.workload)
            if self.mode is Mode.APPROVE:
                yield r"a human must approve within .* deployment/|pod/"
                yield r"(?m)\*Approved\* \(\w+\): approved by ann$"


async def in_slack(incident: Incident, cluster: str, token: Path) -> Posted:
    """How Slack shows an incident as it is in this snapshot, with its thread, however fast the daemon goes on. `token`: a file,
    beside which one of the incident's own is written: the scenes of a stage ask at the same time."""
    token = token.with_name(f"{token.name}-{incident.id}")
    await asyncio.to_thread(token.write_text, TOKEN)
    async with FakeSlack() as slack:
        settings = SlackSettings(token_file=token, channel="#default", base_url=slack.url, mention="here")
        sink = SlackSink(settings, Site(cluster=cluster), SinkMeters(CollectorRegistry()), ProcessMemory())
        running = asyncio.create_task(sink.run())
        sink.tell(incident)
        assert await sink.flush(PATIENCE)
        running.cancel()
        await asyncio.wait((running,))
        ((posted,),) = slack.messages.values()
        return posted


async def on_page(port: int) -> Mapping[str, Mapping[str, Any]]:
    """What the page shows of the incidents, by their names."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/state") as answer:
        return {row["name"]: row for row in (await answer.json())["incidents"]}


def _course(lines: list[str]) -> list[str]:
    """The lines without those that tell what is seen, or is sick no more, after the first."""
    return lines[:1] + [line for line in lines[1:] if line not in ("Seen", "No longer sick")]


def asks_faults(scenario: Scenario, incident: Incident, posted: Posted, row: Mapping[str, Any]) -> Iterator[str]:
    """What is not said while an approval is waited for."""
    shown = read_message(posted)
    if not shown[0].startswith("⏸ "):
        yield f"its headline does not show that it waits: {shown[0]}"
    if not any(line.startswith("*Now* healer waits for your approval: a human must approve within ") for line in shown):
        yield f"it does not say that it waits for an approval: {shown}"
    command = f"healer approve incident/{incident.id} -n {scenario.namespace}"
    if not any(line.startswith(f"*Next* `{command}`") for line in shown):
        yield f"it does not say how to approve: {shown}"
    if not posted.replies[-1].text.startswith("<!here> ") or posted.replies[-1].broadcast:
        yield f"it calls nobody, or the whole channel: {posted.replies[-1].text}"
    if (row["waitsFor"], row["tone"], row["command"]) != ("approval", "urgent", command):
        yield f"the page does not ask: {row}"


def _untimed(line: str) -> str:
    return re.sub(r"^(@\S+ )?\d\d:\d\d:\d\dZ ", "", line)
