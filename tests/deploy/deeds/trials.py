"""A trial of a deed: a lab that enforces RBAC, a client of healer's, and what a deed is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from healer import shipped
from healer.cluster.api import Api
from healer.lab import Lab
from healer.lab.custom import CLONESET, definition
from healer.lab.custom import ROLLOUT as LAB_ROLLOUT
from healer.lab.faults import SeenRequest
from healer.lab.groups import LEADER_WORKER_SET
from healer.model.action import Permission, Permissions
from tests.unit.actions.conftest import NAMESPACE

HOME = "healer"


@dataclass
class Trial:
    """One lab with a client of healer's; what was let in and what was refused since `begin`."""

    lab: Lab
    api: Api
    kubeconfig: str
    within: str
    """The namespace that healer is confined to; empty for the whole cluster."""
    asked: set[Permission] = field(default_factory=set)
    let_in: list[Permission] = field(default_factory=list)
    may: Callable[[SeenRequest], bool] = lambda _: True

    def begin(self, allows: Callable[[SeenRequest], bool]) -> None:
        """Enforce these permissions from now on."""

        def authorized(seen: SeenRequest) -> bool:
            permission, allowed = Permission(seen.group, seen.permission, seen.verb), allows(seen)
            self.asked.add(permission)
            if allowed:
                self.let_in.append(permission)
            return allowed

        self.may = authorized
        self.lab.authorize(authorized)

    @property
    def missing(self) -> set[Permission]:
        """What the client has told to be missing: in the log, in /readyz and in `healer status`."""
        return {Permission(each.group, each.resource, each.verb) for each in self.api.contact.missing}

    async def until(self, holds: Callable[[], bool]) -> bool:
        """Whether that holds before the client tells of a missing permission. A client has no event for what it was answered."""
        while not holds():
            if self.missing:
                return False
            await asyncio.sleep(0.002)
        return True


Run = Callable[[Trial], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that is done, and the permissions that it asks for: no more, no less."""

    name: str
    asks: Permissions
    run: Run
    prepare: Run | None = None
    """Makes what there is before; not by healer."""


@asynccontextmanager
async def trial(folder: Path, within: str = "") -> AsyncIterator[Trial]:
    """A lab in which everything is allowed until the deed begins."""
    async with Lab(start_delay=0.002, termination_delay=0.002) as lab:
        await lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each}} for each in (NAMESPACE, HOME)])
        await lab.apply([definition(LAB_ROLLOUT), definition(CLONESET), definition(LEADER_WORKER_SET)])
        await lab.apply_yaml(shipped.DEFINITION.read_text("utf-8"))
        lab.write_kubeconfig(folder / "config")
        api = await Api.connect(kubeconfig=str(folder / "config"))
        try:
            yield Trial(lab, api, str(folder / "config"), within)
        finally:
            await api.aclose()


@asynccontextmanager
async def running(forever: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(forever)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
