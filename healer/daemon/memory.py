"""The state that sinks keep in the journal, sealed: a journal is input, and anybody may have written it."""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping

import structlog

from healer.journal.base import Journal, JournalError, Unkept
from healer.secret import SecretError, SecretFile
from healer.sinks.memory import NotKept

_SEAL = "seal"
"""The key beside a sink's own in which the seal stands."""


class SinkMemory:
    """A memory in which a state counts only for the incident (by its object's uid) and the sink that healer kept it for.

    So nobody who may write incidents can have healer post into another incident's thread. `journal` gives the present journal,
    `is_leader` says whether we lead. `key` is a secret that all replicas share, and nobody else knows; without one, nothing is
    sealed. A state that was sealed with another secret is not recalled either: what a sink does then stands in the sink.
    """

    def __init__(self, journal: Callable[[], Journal], is_leader: Callable[[], bool], key: SecretFile | None) -> None:
        self._journal = journal
        self._is_leader = is_leader
        self._key = key
        self._said: set[str] = set()
        self._log = structlog.get_logger("healer.sinks")

    def recall(self, incident: str, sink: str) -> Mapping[str, str]:
        """The state that a sink has kept beside an incident; empty if it has kept none."""
        journal = self._journal()
        found = journal.recall(incident).get(sink, {})
        if not found or self._key is None:
            return found
        state = self.claimed(incident, sink)
        uid = journal.uid_of(incident)
        try:
            if uid is not None and hmac.compare_digest(found.get(_SEAL, "").encode(), self._seal(uid, sink, state).encode()):
                return state
            why = "it was not sealed with the present secret for this object of the incident"
        except SecretError as error:
            why = str(error)
        say = self._log.debug if why in self._said else self._log.warning  # of a thousand incidents, once
        self._said.add(why)
        say(
            "what the journal says was told is not believed: it is told anew where that is needed",
            incident=incident,
            sink=sink,
            error=why,
        )
        return {}

    def claimed(self, incident: str, sink: str) -> Mapping[str, str]:
        """What stands there without its seal, whether the seal is valid or not."""
        return {name: value for name, value in self._journal().recall(incident).get(sink, {}).items() if name != _SEAL}

    async def remember(self, incident: str, sink: str, state: Mapping[str, str]) -> None:
        """Keep a state for a sink beside an incident. Raises NotKept."""
        journal = self._journal()
        try:
            if self._key is not None:
                if journal.uid_of(incident) is None:  # its object does not exist yet
                    await journal.durable((incident,))
                if (uid := journal.uid_of(incident)) is not None:
                    state = {**state, _SEAL: self._seal(uid, sink, state)}
            journal.remember(incident, sink, state)
            await journal.remembered(incident)
        except SecretError as error:
            raise NotKept(str(error)) from error
        except JournalError as error:
            if not isinstance(error, Unkept) or error.refused:
                raise NotKept(str(error)) from error
        if not self._is_leader():  # we may have been stopped since it was written
            raise NotKept("the lease is lost: the next leader tells what is left")

    def _seal(self, uid: str, sink: str, state: Mapping[str, str]) -> str:
        """Raises SecretError."""
        key = b"" if self._key is None else self._key.read().encode()
        sealed = json.dumps(["healer keeps this for a sink", uid, sink, sorted(state.items())]).encode()
        return hmac.new(key, sealed, hashlib.sha256).hexdigest()[:32]
