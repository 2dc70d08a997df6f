"""The API of the modelled Alertmanager, as far as healer asks it: which alerts still fire."""

from datetime import datetime

from healer.rehearsal.simulate.prometheus import ModelledPrometheus
from healer.sources.alertmanager.api import Alertmanagers, AlertStatus, Listed, Own

URL = "http://alertmanager.invalid"


class ModelledAlertmanager(Alertmanagers):
    """One Alertmanager that always answers. Nothing is silenced."""

    def __init__(self, prometheus: ModelledPrometheus) -> None:
        super().__init__((URL,))
        self._prometheus = prometheus

    async def listed(self, url: str, names: set[str]) -> dict[str, Listed]:
        """The alerts of these names that fire."""
        found = {}
        for alert in self._prometheus.firing():
            if alert.labels["alertname"] in names:
                since = datetime.fromisoformat(self._prometheus.stamp(alert.fired or 0.0))
                listed = Listed(dict(alert.labels), since, AlertStatus(), {"summary": alert.summary}, alert.fingerprint)
                found[listed.alert.key] = listed
        return found

    async def suppression(self, url: str, status: AlertStatus, own: Own = lambda _: False) -> str:
        """Never."""
        return ""
