"""Settings: where they come from, what wrong ones say, and that their page is current."""

import os
from pathlib import Path

import pytest

from healer.settings import Isolated, Settings, SettingsError, knobs, load_settings
from healer.sinks.slack.settings import SlackSettings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("HEALER_")]:
        monkeypatch.delenv(variable)


def test_defaults_need_nothing() -> None:
    found = load_settings()
    assert found.http.port == 8080
    assert not found.sinks["slack"].enabled


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "healer.yaml"
    config.write_text("http: {port: 1111, host: 127.0.0.1}\nengine: {attempts: 7}\n")
    monkeypatch.setenv("HEALER_HTTP__PORT", "2222")
    found = load_settings(config)
    assert (found.http.port, found.http.host, found.engine.attempts) == (2222, "127.0.0.1", 7)


def test_a_misspelt_variable_is_an_error_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALER_HTTP__PROT", "1")
    with pytest.raises(SettingsError, match="HEALER_HTTP__PROT: there is no such setting; did you mean HEALER_HTTP__PORT"):
        load_settings()


def test_a_misspelt_key_of_the_file_is_an_error_with_its_place(tmp_path: Path) -> None:
    config = tmp_path / "healer.yaml"
    config.write_text("http: {prot: 1}\n")
    with pytest.raises(SettingsError, match=r"healer\.yaml: http\.prot: there is no such setting; did you mean http\.port"):
        load_settings(config)


@pytest.mark.parametrize("text", ["[1, 2]", "http: [", "\xff"])
def test_a_file_that_is_no_mapping_says_so(tmp_path: Path, text: str) -> None:
    config = tmp_path / "healer.yaml"
    config.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"healer\.yaml"):
        load_settings(config)


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALER_HTTP__PORT", "many")
    with pytest.raises(SettingsError, match=r"HEALER_HTTP__PORT: .*integer.*'many'"):
        load_settings()


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30.0), ("1h30m", 5400.0), ("500ms", 0.5), ("7", 7.0), ("7.5", 7.5)])
def test_a_duration_is_seconds_or_written_as_in_rules(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALER_ENGINE__RETRY", text)
    assert load_settings().engine.retry == seconds


@pytest.mark.parametrize("text", ["3651d", "99999999999999999999h", "1e400", "9e9", "inf", "nan"])
def test_a_duration_without_an_end_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait for ever, or one that compares with nothing, is a mistake; the message says what may be written."""
    monkeypatch.setenv("HEALER_ENGINE__RETRY", text)
    with pytest.raises(SettingsError, match=r"HEALER_ENGINE__RETRY: .*write seconds, or a number with a unit"):
        load_settings()


@pytest.mark.parametrize("text", [".inf", ".nan", "true", "[1]", f"1{'0' * 400}"])
def test_a_duration_of_the_file_is_a_number_that_ends(text: str, tmp_path: Path) -> None:
    """YAML has numbers that the environment has not."""
    (tmp_path / "settings.yaml").write_text(f"engine: {{retry: {text}}}\n")
    with pytest.raises(SettingsError, match=r"engine\.retry: .*write seconds, or a number with a unit"):
        load_settings(tmp_path / "settings.yaml")


def test_a_long_time_to_keep_incidents_is_written_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules are bounded by 30 days, because windows are kept in memory; the journal is not."""
    for text in ("90d", "7776000"):
        monkeypatch.setenv("HEALER_JOURNAL__KEEP_FOR", text)
        assert load_settings().journal.keep_for == 90 * 86400


@pytest.mark.parametrize("text", ["ml-oncall", "ML", "#ml oncall", "@alice"])
def test_the_default_channel_is_written_as_in_notify(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without # is no channel that Slack surely has: the hint is that of rules."""
    monkeypatch.setenv("HEALER_SLACK__CHANNEL", text)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    hint = 'write "#ml-oncall", in quotes (a bare # begins a comment), or a Slack ID such as C0123456789'
    assert str(raised.value).startswith(f"HEALER_SLACK__CHANNEL: this is no channel: {hint}")


def test_a_token_in_the_place_of_the_channel_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes to the wrong place may be a secret."""
    monkeypatch.setenv("HEALER_SLACK__CHANNEL", "correct-horse-battery-7")
    monkeypatch.setenv("HEALER_ENGINE__RETRY", "correct-horse-battery-7")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "horse" not in str(raised.value)


@pytest.mark.parametrize("text", ["#ml-oncall", "C0123456789", ""])
def test_a_default_channel(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name, an ID, or none."""
    monkeypatch.setenv("HEALER_SLACK__CHANNEL", text)
    assert load_settings().sinks["slack"].model_dump()["channel"] == text


@pytest.mark.parametrize("text", ["30x", "soon", "-5s", "0s"])
def test_what_is_no_duration_names_its_variable(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALER_ENGINE__RETRY", text)
    with pytest.raises(SettingsError, match="HEALER_ENGINE__RETRY"):
        load_settings()


def test_isolated_settings_read_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo is nobody's production: an operator's token for Slack is not the demo's."""
    monkeypatch.setenv("HEALER_SLACK__TOKEN_FILE", "/etc/healer/token")
    monkeypatch.setenv("HEALER_SLACK__CHANNEL", "#ml-oncall")
    monkeypatch.setenv("HEALER_HTTP__PROT", "not even a setting")
    assert Isolated().sinks["slack"] == SlackSettings()


@pytest.mark.parametrize(
    "name", ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR"]
)
def test_what_the_kubelet_injects_beside_a_service_named_healer_is_no_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"HEALER_{name}", "tcp://10.0.0.1:8080")
    assert load_settings() == Settings()


def test_every_knob_says_what_it_is_for() -> None:
    assert [variable for variable, _, _, meaning in knobs() if not meaning] == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEALER_HTTP__PORT", "xoxb-123456789012-hunter2"),
        ("HEALER_PROMETHEUS__URL", "ftp://ann:hunter2@prometheus"),
        ("HEALER_CLUSTER__NAMESPACES", "[hunter2, production"),
        ("HEALER_SLACK", '{"token": "hunter2hunter2"'),
        ("HEALER_SLACK", '"hunter2hunter2"'),
        ("HEALER_SLACK", '{"channel": ["hunter2"], "tokenn": "hunter2"}'),
        ("HEALER_LOG__LEVEL", "hunter2 correct horse"),
    ],
)
def test_an_error_shows_no_value_that_may_be_a_secret(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the wrong place may be the token that belongs to another."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as wrong:
        load_settings()
    assert variable in str(wrong.value)
    assert "hunter2" not in str(wrong.value)


def test_a_file_that_is_no_yaml_is_not_shown(tmp_path: Path) -> None:
    config = tmp_path / "healer.yaml"
    config.write_text("slack:\n  password: hunter2\n  token: hunter2hunter2]\n - x\n")
    with pytest.raises(SettingsError) as wrong:
        load_settings(config)
    assert "hunter2" not in str(wrong.value)


def test_a_file_that_is_nested_without_end_is_an_error(tmp_path: Path) -> None:
    config = tmp_path / "healer.yaml"
    config.write_text("[" * 50_000)
    with pytest.raises(SettingsError, match="nested too deeply"):
        load_settings(config)


@pytest.mark.parametrize("written", ["production,ml", " production , ml ", '["production", "ml"]'])
def test_a_list_in_the_environment_has_commas_or_is_json(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEALER_CLUSTER__NAMESPACES", written)
    monkeypatch.setenv("HEALER_ALERTS__REPLICA_LABELS", "replica")
    loaded = load_settings()
    assert (loaded.cluster.namespaces, loaded.alerts.replica_labels) == (("production", "ml"), ("replica",))
