"""What people have the running healer do for them, on the page and in chats: the verbs of `healer`, by healer's own account."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from healer.actions.base import NotUndone
from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ClusterError
from healer.engine.incidents.approval import step_asked
from healer.http.answer import Refused
from healer.http.control import ControlBody, Controls
from healer.journal.base import Undecodable
from healer.journal.codec import decode
from healer.model.text import one_line
from healer.operate.approve import ApprovalRequest, NotWaiting, approve, waiting
from healer.operate.explain.story import next_of
from healer.operate.objects import EVERYTHING, ObjectRef, OperateError, get, lease_ref, object_ref, valid
from healer.operate.pause import parse_pause_ref, pause, pause_lines, resume
from healer.operate.undo import Undoing, changes, undo
from healer.sinks.commands import CommandRefused

_LONGEST = 200


class Commands:
    """Each command returns what it has done, in lines for people, or raises CommandRefused.

    `by` names who asks, and stands in the audit. `shown` is what the person has seen of what the command would do, as
    `look_approve` and `look_undo` return it: anything else is not done. Without it, whatever there is now is done. `home` and
    `lease` are the namespace and the name of healer's Lease.
    """

    def __init__(self, api: Api, home: str, lease: str) -> None:
        self._api = api
        self._home = home
        self._lease = lease

    async def look_approve(self, namespace: str, name: str) -> str:
        """What `approve` would approve."""
        with _refusals():
            return str(await waiting(self._api, namespace, name))

    async def approve(self, namespace: str, name: str, by: str, shown: str = "", *, step: str = "") -> str:
        """Approve the action that an incident waits with; with `step`, only if it is that one (`step_asked`)."""

        def check(asked: ApprovalRequest) -> None:
            if (shown and str(asked) != shown) or (step and step_asked(asked.incident) != step):
                raise NotWaiting(f"incident {name} changed meanwhile, nothing was approved: look again")

        with _refusals():
            await approve(self._api, namespace, name, _name(by), check)
        return f"approved by {_name(by)}: healer asks its guards once more, and goes on"

    async def look_undo(self, namespace: str, name: str) -> str:
        """What `undo` would undo."""
        with _refusals():
            return str(await changes(self._api, namespace, name))

    async def undo(self, namespace: str, name: str, by: str, shown: str = "") -> str:
        """Undo what healer changed for an incident, as far as nobody else has changed it since."""

        def check(undoing: Undoing) -> None:
            if shown and str(undoing) != shown:
                raise NotUndone(f"incident {name} changed meanwhile, nothing was undone: look again")

        with _refusals():
            done = await undo(self._api, namespace, name, _name(by), check)
        return f"undone by {_name(by)}:\n{done}"

    async def pause(self, what: str, namespace: str, by: str, reason: str = "", seconds: float | None = None) -> str:
        """Pause healer for `deployment/NAME`, `namespace/NAME` or `everything`, until somebody resumes it or for a while."""
        until = None if seconds is None else self._api.clock.wall() + seconds
        with _refusals():
            ref = self._ref(what, namespace)
            text = one_line(reason)[:_LONGEST]
            done = await pause(self._api, ref, _name(by), text, self._home, until=until, lease=self._lease)
        return "\n".join(pause_lines(done))

    async def resume(self, what: str, namespace: str, by: str) -> str:
        """End such a pause."""
        with _refusals():
            done = await resume(self._api, self._ref(what, namespace), self._home, by=_name(by), lease=self._lease)
        return "\n".join(pause_lines(done))

    async def explain(self, namespace: str, name: str) -> str:
        """Why an incident is as it is, and what happens next."""
        with _refusals():
            ref = object_ref("Incident", valid(namespace, "a namespace"), valid(name, "the name of an incident"))
            body = await get(self._api, ref)
            if body is None:
                raise OperateError(f"there is no {ref}: it may be too old to be kept")
            incident = decode(body)
        lines = [f"{incident.rule} on {incident.workload}: {incident.state}, because {incident.reason.text}"]
        lines += [f"sick: {sick.target}: {sick.what}" for sick in incident.sick]
        return "\n".join([*lines, f"next: {next_of(incident, self._api.clock.wall())}"])

    def _ref(self, what: str, namespace: str) -> ObjectRef:
        return lease_ref(self._home, self._lease) if what == EVERYTHING else parse_pause_ref(what, namespace, self._home)


def _name(by: str) -> str:
    """Who asks, as it can stand in an annotation."""
    return one_line(by).strip()[:_LONGEST]


@contextmanager
def _refusals() -> Iterator[None]:
    """Every way in which a command fails, in words for who asked."""
    try:
        yield
    except (OperateError, ClusterError) as error:
        cause = error.__cause__ if isinstance(error, OperateError) else error
        if isinstance(cause, ApiError) and cause.is_forbidden:
            way = "`healer rbac` prints what it needs for the page and for buttons, when it has healer's settings"
            raise CommandRefused(f"healer's own account may not do that: {cause.message}. {way}") from error
        raise CommandRefused(str(error)) from error
    except (NotWaiting, NotUndone, Undecodable) as error:
        raise CommandRefused(str(error)) from error


def controls(commands: Commands) -> Controls:
    """The commands for the page."""

    async def carry_out(verb: str, asked: ControlBody, by: str) -> str:
        try:
            return await _carry_out(commands, verb, asked, by)
        except CommandRefused as error:
            raise Refused(HTTPStatus.CONFLICT, str(error), "look again at what healer shows now") from error

    return carry_out


async def _carry_out(commands: Commands, verb: str, asked: ControlBody, by: str) -> str:
    place = asked.namespace, asked.name
    match verb, asked.look:
        case "approve", True:
            return await commands.look_approve(*place)
        case "approve", False:
            return await commands.approve(*place, by, asked.shown)
        case "undo", True:
            return await commands.look_undo(*place)
        case "undo", False:
            return await commands.undo(*place, by, asked.shown)
        case "pause", True:
            return f"no further action is sent for {asked.name}; one that was sent already is still verified"
        case "pause", False:
            return await commands.pause(asked.name, asked.namespace, by, asked.reason, asked.seconds)
        case "resume", True:
            return f"healer goes on for {asked.name}: what waits is asked again"
        case _:
            return await commands.resume(asked.name, asked.namespace, by)
