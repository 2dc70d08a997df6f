"""Admission control: the checks before a write or a deletion that are not rules of the API server itself.

A test registers denials, which answer as a webhook or a ValidatingAdmissionPolicy does. They apply to the lab's controllers
too. ResourceQuotas are checked in `quota`.

Sources: apiserver/pkg/admission/plugin/webhook/errors/statuserror.go and plugin/policy/validating/dispatcher.go, Kubernetes 1.36.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from healer.lab.apiserver import status
from healer.lab.kinds import Kind
from healer.lab.objects import Object

_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
"""The reasons that a policy's validation may give, with their status codes."""


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """One admission request. `resource` is `pods` or `pods/eviction`; `obj` is the object to write, evict or delete."""

    verb: str
    """create, update or delete."""
    kind: Kind
    resource: str
    namespace: str
    name: str
    obj: Object


@dataclass(eq=False, slots=True)
class Denial:
    """Which requests to deny, and how many more; None: until `allow`. `hits` counts them; `await met(3)` waits for the third."""

    match: Callable[[AdmissionRequest], bool]
    error: Callable[[AdmissionRequest], status.ApiRefusal]
    left: int | None
    hits: int = 0
    _hit: asyncio.Event = field(default_factory=asyncio.Event)

    async def met(self, hits: int = 1) -> None:
        """Return when at least `hits` requests have been denied."""
        while self.hits < hits:
            self._hit.clear()
            await self._hit.wait()

    def deny(self, asked: AdmissionRequest) -> status.ApiRefusal:
        """Count one request. Returns the refusal to answer with."""
        self.hits += 1
        self.left = None if self.left is None else self.left - 1
        self._hit.set()
        return self.error(asked)


class Admission:
    """The registered denials.

    All filters are optional: `verb`, `resource`, `name`, `match` (any predicate of the request), `times`.
    """

    def __init__(self) -> None:
        self._denials: list[Denial] = []

    def webhook(
        self,
        message: str,
        *,
        webhook: str = "validate.example.com",
        code: int = 400,
        reason: str = "",
        verb: str = "",
        resource: str = "",
        name: str = "",
        match: Callable[[AdmissionRequest], bool] = lambda _: True,
        times: int | None = None,
    ) -> Denial:
        """Deny as a validating webhook does. Without a code of the webhook the answer is 400 without a reason."""
        explanation = f": {message or reason}" if message or reason else " without explanation"
        text = f'admission webhook "{webhook}" denied the request{explanation}'
        return self._add(lambda _: status.ApiRefusal(max(code, 400), reason, text), verb, resource, name, match, times)

    def policy(
        self,
        message: str,
        *,
        policy: str = "house-rules",
        binding: str = "house-rules-binding",
        reason: str = "Invalid",
        verb: str = "",
        resource: str = "",
        name: str = "",
        match: Callable[[AdmissionRequest], bool] = lambda _: True,
        times: int | None = None,
    ) -> Denial:
        """Deny as a ValidatingAdmissionPolicy does. `reason`: Invalid (422), Forbidden, Unauthorized or RequestEntityTooLarge."""
        text = f"ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}"

        def error(asked: AdmissionRequest) -> status.ApiRefusal:
            return status.denied_by_policy(asked.kind, asked.name, text, _CODES[reason], reason)

        return self._add(error, verb, resource, name, match, times)

    def allow(self, denial: Denial) -> None:
        """Remove a denial."""
        self._denials.remove(denial)

    def check(self, asked: AdmissionRequest) -> None:
        """Raises ApiRefusal if a denial matches the request."""
        for denial in self._denials:
            if denial.left != 0 and denial.match(asked):
                raise denial.deny(asked)

    def _add(
        self,
        error: Callable[[AdmissionRequest], status.ApiRefusal],
        verb: str,
        resource: str,
        name: str,
        match: Callable[[AdmissionRequest], bool],
        times: int | None,
    ) -> Denial:
        def matches(asked: AdmissionRequest) -> bool:
            named = (verb in ("", asked.verb), resource in ("", asked.resource), name in ("", asked.name))
            return all(named) and match(asked)

        denial = Denial(matches, error, times)
        self._denials.append(denial)
        return denial
