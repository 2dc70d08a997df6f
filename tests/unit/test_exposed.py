"""Secrets in the values of settings are told of, and not shown."""

import pytest

from healer.settings import Isolated
from healer.settings.exposed import exposed
from healer.settings.sections import Alerts, PrometheusSettings


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (Isolated(), []),
        (Isolated(prometheus=PrometheusSettings(url="http://ann@prometheus:9090", headers={"X-Scope-OrgID": "ml"})), []),
        (
            Isolated(prometheus=PrometheusSettings(url="https://ann:s3cret@prometheus:9090")),
            ["HEALER_PROMETHEUS__URL", "HEALER_PROMETHEUS__USER", "HEALER_PROMETHEUS__PASSWORD_FILE"],
        ),
        (
            Isolated(alerts=Alerts(url="http://a:9093, http://ann:s3cret@b:9093")),
            ["HEALER_ALERTS__URL", "HEALER_ALERTS__TOKEN_FILE"],
        ),
        (
            Isolated(prometheus=PrometheusSettings(headers={"X-Auth-Token": "s3cret"})),
            ["HEALER_PROMETHEUS__HEADERS", "X-Auth-Token", "HEALER_PROMETHEUS__HEADER_FILES"],
        ),
        (Isolated(prometheus=PrometheusSettings(params={"api_key": "s3cret"})), ["HEALER_PROMETHEUS__PARAMS", "api_key"]),
    ],
)
def test_a_secret_in_a_value_is_told_of_by_its_setting(settings: Isolated, names: list[str]) -> None:
    said = list(exposed(settings))
    assert len(said) == bool(names)
    assert all(name in said[0] for name in names)
    assert "s3cret" not in " ".join(said)
