"""What a record holds, as healer has it: objects of the kinds that it watches, and settings."""

from typing import Any

import msgspec

from healer.cluster.resources import AUTOSCALERS, EVENTS, NODES, Resource
from healer.daemon.recording.lines import HeadLine
from healer.daemon.recording.reading import RecordError
from healer.model.kube import KubeObject
from healer.settings import Isolated, Settings
from healer.workloads.registry import core_resources


class RecordedObjects:
    """Decodes objects by their kind."""

    def __init__(self) -> None:
        self._resources = {each.name: each for each in (*core_resources(), AUTOSCALERS, EVENTS, NODES)}

    def resource(self, kind: str) -> Resource:
        """What is known of a kind. Raises RecordError."""
        try:
            return self._resources[kind]
        except KeyError:
            raise RecordError(f"the record holds objects of the kind {kind}, which this healer does not know") from None

    def object(self, kind: str, written: Any) -> KubeObject:
        """An object as it was written, or as it is known already. Raises RecordError."""
        if isinstance(written, KubeObject):
            return written
        try:
            return msgspec.convert(written, self.resource(kind).kind)
        except msgspec.ValidationError as error:
            raise RecordError(f"an object of the kind {kind} in the record cannot be read: {error}") from error


def settings_of(head: HeadLine) -> Settings:
    """The settings that the record was made with, as far as decisions depend on them. Raises RecordError."""
    sections: Any = head.settings
    try:
        return Isolated(**sections)
    except ValueError as error:
        raise RecordError(f"the settings of the record are not those of this healer: {error}") from error
