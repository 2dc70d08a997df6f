"""Where healer runs, for people who read of many clusters: the cluster's name, and where they read on."""

import re
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, Field

from healer.model.incident import Incident
from healer.model.link import safe_link
from healer.section import Section

_GAP = re.compile(r"\{\{ *([a-z]+) *\}\}")
_GAPS = ("namespace", "kind", "workload", "rule", "incident")


def _link(text: str) -> str:
    plain = _GAP.sub("x", text)
    if unknown := sorted(set(_GAP.findall(text)) - set(_GAPS)):
        raise ValueError(f"there is no {{{{ {unknown[0]} }}}}; there are {', '.join(_GAPS)}")
    if text and not safe_link(plain):
        raise ValueError("must be a URL without a user and a password, as https://grafana.example.com/d/serving")
    return text


Link = Annotated[str, AfterValidator(_link)]


class Site(Section):
    """Where healer runs: it stands in messages and on the page."""

    cluster: str = Field("", max_length=100, pattern=r"^([A-Za-z0-9][A-Za-z0-9._:/ -]*)?$")
    """The cluster's name, as people call it: `prod-eu-1`."""
    page: Link = ""
    """Where people reach healer's page: `https://healer.example.com`. Messages link to it; without it they have no such link."""
    dashboard: Link = ""
    """A dashboard of a workload: `https://grafana.example.com/d/x?var-namespace={{ namespace }}&var-workload={{ workload }}`.
    There are `{{ namespace }}`, `{{ kind }}`, `{{ workload }}`, `{{ rule }}` and `{{ incident }}`."""


def site_links(site: Site, incident: Incident) -> dict[str, str]:
    """Where people read on about an incident, by what it is: those of its alert, and those of the settings."""
    found = dict(incident.background.links)
    if site.dashboard:
        found["dashboard"] = _filled(site.dashboard, incident)
    if site.page:
        base = _filled(site.page, incident).rstrip("/")
        found["page"] = f"{base}/#/incidents/{quote(incident.workload.namespace)}/{quote(incident.id)}"
    return found


def _filled(template: str, incident: Incident) -> str:
    values = {
        "namespace": incident.workload.namespace,
        "kind": incident.workload.kind,
        "workload": incident.workload.name,
        "rule": incident.rule,
        "incident": incident.id,
    }
    return _GAP.sub(lambda gap: quote(values[gap[1]], safe=""), template)
