"""Executes the actions that the engine decides on: it claims them in the journal, runs them, and reports their outcomes."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import structlog

from healer.actions.base import Action, Call, Recheck
from healer.cluster.api import Api
from healer.daemon.audit import Standing, standing
from healer.daemon.metrics import Metrics
from healer.engine.incidents.approval import is_undone
from healer.engine.tuning import LimitSettings
from healer.journal.base import ClaimLost, Journal, JournalError
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act
from healer.model.incident import Reason
from healer.model.kube import Pod
from healer.model.silence import Silences
from healer.model.view import View
from healer.model.workload import Workload

_EARLIER = 3600.0
"""Seconds for which the actions of an incident count for the next one."""


class Executor:
    """Runs attempts as tasks, at most `at_once` at a time. An incident has at most one under way, which bounds the tasks.

    `rechecks` are asked in their order before the action runs; the first outcome counts. `timeout` is in seconds.
    `ended` is called with each attempt, its outcome, and what it found and left.
    """

    def __init__(
        self,
        *,
        api: Api,
        view: View,
        actions: Mapping[str, Action],
        journal: Journal,
        metrics: Metrics,
        still_sick: Callable[[Pod, Act], bool],
        still_wanted: Callable[[Act, Pod | Workload | None], Reason | None],
        rechecks: Sequence[Recheck] = (),
        is_leader: Callable[[], bool],
        at_once: int,
        timeout: float,
        reaches_people: bool = True,
        silences: Silences | None = None,
        limits: LimitSettings | None = None,
        ended: Callable[[Act, Outcome, Standing, Standing], None] = lambda _act, _outcome, _before, _after: None,
    ) -> None:
        self._api = api
        self._view = view
        self._actions = actions
        self._journal = journal
        self._metrics = metrics
        self._still_sick = still_sick
        self._still_wanted = still_wanted
        self._rechecks = rechecks
        self._is_leader = is_leader
        self._slots = asyncio.Semaphore(at_once)
        self._timeout = timeout
        self._reaches_people = reaches_people
        self._silences = silences
        self._limits = LimitSettings() if limits is None else limits
        self._ended = ended
        self._turns = {name: asyncio.Lock() for name, action in actions.items() if action.spec.one_by_one}
        self._under_way: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("healer.executor")

    def start(self, act: Act, report: Callable[[Act, Outcome], None], group: asyncio.TaskGroup) -> None:
        """Begin an attempt; `report` is called with its outcome."""
        task = group.create_task(self._execute(act, report), name=f"{act.action} for {act.incident.id}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def finish(self, within: float) -> bool:
        """Wait for the attempts under way, at most `within` seconds; returns whether all ended."""
        if not self._under_way:
            return True
        _, pending = await asyncio.wait(self._under_way, timeout=within)
        return not pending

    async def _execute(self, act: Act, report: Callable[[Act, Outcome], None]) -> None:
        async with self._slots:
            before = self._standing(act)
            outcome = await self._claim_and_run(act)
        self._metrics.outcome(act.action, outcome, dry_run=act.dry_run)
        self._ended(act, outcome, before, self._standing(act))
        report(act, outcome)

    def _standing(self, act: Act) -> Standing:
        return standing(act.incident.workload, self._view, self._journal.recall(act.incident.id).get(act.action, {}))

    async def _claim_and_run(self, act: Act) -> Outcome:
        """Write the intent, then act. Nothing is done for an incident that somebody else has written."""
        try:
            await self._journal.claim(act.incident)
        except JournalError as error:
            return _not_journaled(error, f"the intent to {act.action} {act.target} cannot be written")
        eviction_sent = False

        def sending() -> Outcome | None:
            nonlocal eviction_sent
            forbidden = self._before_sending(act)
            eviction_sent = forbidden is None
            return forbidden

        call = Call(
            act=act,
            api=self._api,
            view=self._view,
            still_sick=self._still_sick,
            still_wanted=self._still_wanted,
            sending=sending,
            kept=self._journal.recall(act.incident.id).get(act.action, {}),
            keep=partial(self._keep, act),
            earlier=self._earlier(act),
            reaches_people=self._reaches_people,
            silences=self._silences,
            limits=self._limits,
        )
        try:
            async with asyncio.timeout(self._timeout):
                for recheck in self._rechecks:
                    if (outcome := await recheck(act)) is not None:
                        return outcome
                async with self._turns.get(act.action) or contextlib.nullcontext():
                    outcome = await self._actions[act.action].run(call)
        except TimeoutError:
            outcome = Outcome(OutcomeKind.FAILED, "TimedOut", f"{act.action} {act.target}: no end after {self._timeout:g} s")
        except ClaimLost:
            raise
        except Exception as error:  # noqa: BLE001 - an error in one attempt must end that attempt, and not the daemon
            self._log.exception("an action failed by an error of healer's own", action=act.action, incident=act.incident.id)
            text = f"{act.action} {act.target}: an error of healer's own ({error!r}): its log has the traceback; please report it"
            outcome = Outcome(OutcomeKind.FAILED, "InternalError", text)
        granted = outcome.kind in (OutcomeKind.DONE, OutcomeKind.GONE)
        return replace(outcome, denied=eviction_sent and self._actions[act.action].spec.evicts and not granted)

    def _earlier(self, act: Act) -> list[Mapping[str, str]]:
        """What the action has kept beside incidents of the last hour on the same workload and revision (see `Call`)."""
        before, this = act.seen_at - _EARLIER, act.incident
        return [
            self._journal.recall(each.id).get(act.action, {})
            for each in self._journal.incidents()
            if each.id != this.id
            and (each.workload.uid, each.revision) == (this.workload.uid, this.revision)
            and any(at > before for at in each.acted_at)
            and not is_undone(each)
        ]

    async def _keep(self, act: Act, state: Mapping[str, str]) -> Outcome | None:
        """Journal the state that an action needs later, before it acts."""
        try:
            self._journal.remember(act.incident.id, act.action, state)
            await self._journal.remembered(act.incident.id)
        except JournalError as error:
            return _not_journaled(error, f"what {act.action} is about to change cannot be written down")
        return None

    def _before_sending(self, act: Act) -> Outcome | None:
        if not self._is_leader():
            return Outcome(OutcomeKind.DEFERRED, "NotLeading", f"the lease is lost: {act.action} was not sent, nothing was done")
        self._metrics.reaction(max(0.0, self._api.clock.wall() - act.seen_at), act.incident)
        return None


def _not_journaled(error: JournalError, what: str) -> Outcome:
    return Outcome(OutcomeKind.DEFERRED, "NotJournaled", f"{what}: nothing was done ({error})")
