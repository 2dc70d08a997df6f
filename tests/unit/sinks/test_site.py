"""Where people read on."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from healer.model.incident import Background
from healer.sinks.site import Site, site_links
from tests.unit.sinks.incidents import WORKLOAD, incident


def test_the_links_of_the_alert_and_of_the_settings_are_filled_in() -> None:
    """The settings' own dashboard takes the place of the alert's: it is of this workload."""
    site = Site(
        page="https://healer.example.com/",
        dashboard="https://grafana.example.com/d?ns={{ namespace }}&w={{workload}}&r={{ rule }}",
    )
    links = {"runbook": "https://example.com/run", "dashboard": "https://example.com/all"}
    told = replace(incident("crash-loop-1"), background=Background(links=links))
    assert site_links(site, told) == {
        "runbook": "https://example.com/run",
        "dashboard": "https://grafana.example.com/d?ns=production&w=tensorflow-serving&r=tensorflow-serving%2Fcrash-loop",
        "page": "https://healer.example.com/#/incidents/production/crash-loop-1",
    }
    assert site_links(Site(), told) == links


def test_a_name_that_is_an_address_of_its_own_stays_a_value() -> None:
    site = Site(dashboard="https://grafana.example.com/d/x?w={{ workload }}")
    odd = replace(incident(), workload=replace(WORKLOAD, name="a&b=c/../#"))
    assert site_links(site, odd)["dashboard"] == "https://grafana.example.com/d/x?w=a%26b%3Dc%2F..%2F%23"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dashboard": "https://g.example.com/{{ name }}"}, "there is no {{ name }}; there are namespace, kind, workload"),
        ({"page": "healer.example.com"}, "must be a URL without a user and a password"),
        ({"page": "https://me:secret@healer.example.com"}, "must be a URL without a user and a password"),
        ({"cluster": "a\nb"}, "String should match pattern"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_right(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Site.model_validate(values)
    assert message in str(refused.value)
