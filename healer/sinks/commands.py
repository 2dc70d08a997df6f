"""What a sink may do for a person who asks it there: the verbs of `healer`. The daemon gives them to the sinks that take them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, runtime_checkable

SignedReceiver = Callable[[Mapping[str, str], bytes], Awaitable[str]]
"""Takes a request that others sign: its headers, in lower case, and its body. Returns what to answer. Raises PostRefused."""


class PostRefused(Exception):
    """A request is not believed, or cannot be taken; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class CommandRefused(Exception):
    """Nothing was done. The message says what, and what to do."""


class PeopleCommands(Protocol):
    """Each returns what it has done, in lines for people, or raises CommandRefused. `by` names the person in the audit."""

    async def approve(self, namespace: str, name: str, by: str, shown: str = "", *, step: str = "") -> str:
        """Approve the action that an incident waits with; with `step`, only if it is that one (`step_asked`)."""

    async def undo(self, namespace: str, name: str, by: str) -> str:
        """Undo what healer changed for an incident."""

    async def pause(self, what: str, namespace: str, by: str, reason: str = "") -> str:
        """Pause healer for a workload."""

    async def resume(self, what: str, namespace: str, by: str) -> str:
        """End such a pause."""

    async def explain(self, namespace: str, name: str) -> str:
        """Why an incident is as it is, and what happens next."""


@runtime_checkable
class TakesCommands(Protocol):
    """A sink that people can ask for something."""

    def use(self, commands: PeopleCommands) -> None:
        """Carry out by these what people ask for."""

    @property
    def posts(self) -> Mapping[str, SignedReceiver]:
        """What takes what is posted for the sink, by path."""
