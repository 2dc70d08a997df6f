"""What people do: approve, pause, resume."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from healer.engine.incidents.approval import waits
from healer.engine.safety.wide import is_breaker
from healer.model.duration import Duration
from healer.model.kube import KubeObject
from healer.rehearsal.statuses import moment
from healer.rehearsal.testing.events.base import Played
from healer.rehearsal.testing.stage import CaseError, CaseStage
from healer.rules.form import Text, fault


class ApproveEvent(Played):
    """A human approves whatever waits for it."""

    by: Text = "ann"
    """Who."""
    rule: Text | None = None
    """Only of that rule."""

    def play(self, stage: CaseStage) -> str:
        """Approve. Raises CaseError where nothing waits."""
        rule = None if self.rule is None else stage.rule(self.rule).name
        waiting = [
            each for each in stage.driver.engine.incidents() if (waits(each) or is_breaker(each)) and rule in (None, each.rule)
        ]
        if not waiting:
            raise CaseError("nothing waits for an approval at that time", "look at the timeline: does the rule ask?")
        for incident in waiting:
            stage.driver.approve(incident.id, self.by)
        return f"{self.by} approves {', '.join(incident.rule for incident in waiting)}"


class Place(Played):
    """Where healer is paused: exactly one of these is needed."""

    workload: Text | None = None
    """A workload."""
    pod: Text | None = None
    """A pod."""
    namespace: Text | None = None
    """A namespace."""
    everywhere: Literal[True] | None = None
    """The whole cluster."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in Place.model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"{' and '.join(given)} are given" if given else "none is given"
            raise fault(f"exactly one of {', '.join(Place.model_fields)} is needed, {found}", "say where: workload: NAME")
        return self

    def annotate(self, stage: CaseStage, *, paused: bool, by: str = "", reason: str = "", until: str = "") -> str:
        """Write the pause, or take it away. Returns where, in words."""
        if self.everywhere:
            stage.world.view.paused_everywhere = (f"{by}: {reason}" if reason else by) if paused else ""
            return "everywhere"
        found: KubeObject | None
        if self.namespace is not None:
            found, where = stage.world.view.namespace(self.namespace), f"namespace {self.namespace}"
        elif self.workload is not None:
            found, where = stage.kept(self.workload).obj, self.workload
        else:
            found, where = stage.world.view.pod(stage.target(self.pod or "").uid), f"{self.pod}"
        if found is None:
            raise CaseError(f"there is no {where}", "name one of the cluster")
        flag = "true" if paused else ""
        stage.world.annotate(found, paused=flag, paused_by=by, paused_reason=reason, paused_until=until)
        return where


class PauseEvent(Place):
    """Somebody pauses healer."""

    by: Text = "ann"
    """Who."""
    reason: Text | None = None
    """Why."""
    lasts: Annotated[Duration, Field(gt=0)] | None = None
    """For how long; by default until it is resumed. Not `everywhere`."""

    def play(self, stage: CaseStage) -> str:
        """Pause."""
        until = "" if self.lasts is None else moment(stage.driver.now + self.lasts).isoformat()
        where = self.annotate(stage, paused=True, by=self.by, reason=self.reason or "", until=until)
        return f"{self.by} pauses healer: {where}"


class ResumeEvent(Place):
    """Somebody ends a pause."""

    def play(self, stage: CaseStage) -> str:
        """Resume."""
        return f"healer is resumed: {self.annotate(stage, paused=False)}"
