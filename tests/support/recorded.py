"""A drill whose engine and sources are recorded, as a daemon's are; and the record as it is read."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from healer.clock import SYSTEM
from healer.daemon.changes import ClusterChanges
from healer.daemon.recording.files import files_in
from healer.daemon.recording.lines import AnyLine
from healer.daemon.recording.reading import read
from healer.daemon.recording.recorded import RecordedEngine, RecordedSources, Recording
from healer.daemon.recording.writer import RecordWriter
from healer.model.kube import Pod
from healer.rules.pod_detectors import PodsSettings
from healer.rules.triggers import POD
from healer.settings import Isolated
from healer.settings.sections import RecordSettings
from healer.sources.watched import WatchedSources
from tests.support.world import ACTIONS, Drill

SETTLE = PodsSettings(settle=0.0)


class Tape:
    """Records a drill. `lines` has the record, once `stop` was called."""

    def __init__(self, drill: Drill, folder: Path, **settings: int) -> None:
        self.folder = folder
        self.drill = drill
        self.writer = RecordWriter(folder, RecordSettings(**settings), SYSTEM)
        tuning = drill.tuning
        of = Isolated(pods=SETTLE, engine=tuning.engine, limits=tuning.limits)
        alerts = {"expiry": tuning.alert_expiry, "freshness": min(tuning.alert_freshness, 43_200.0)}  # JSON has no infinity
        of = of.model_copy(update={"alerts": of.alerts.model_copy(update=alerts)})
        recording = Recording(self.writer, of, tuning.home, drill.world.view, lambda: list(drill.incidents.values()))
        sources = RecordedSources(WatchedSources({POD.name: ((Pod,), drill.source)}), recording)
        drill.engine = RecordedEngine(drill.rules, ACTIONS, tuning, recording)
        drill.changes = ClusterChanges(drill.world.view, sources, lambda: drill.now)
        self._recording = recording
        self.writer.start()
        drill.restore([], set())
        drill.together()
        drill.tick()

    def stop(self) -> list[AnyLine]:
        """End the record; returns its lines."""
        self._recording.end(self.drill.now)
        assert self.writer.stop(20)
        assert self.writer.counts.lost == 0
        return self.lines()

    def lines(self) -> list[AnyLine]:
        """What is written so far."""
        remarks: list[str] = []
        found = [line for path in files_in(self.folder) for line in read(path, remarks.append)]
        assert remarks == []
        return found


@contextmanager
def recorded(drill: Drill, **settings: int) -> Iterator[Tape]:
    """A tape of a drill, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield Tape(drill, Path(folder), **settings)
