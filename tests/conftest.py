"""Figures that a test records as the property `figures` are printed after the run, with or without xdist."""

from _pytest.terminal import TerminalReporter


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print them."""
    for report in terminalreporter.getreports("passed"):
        for line in [value for name, value in report.user_properties if name == "figures"]:
            terminalreporter.write_line(str(line), bold=True)
