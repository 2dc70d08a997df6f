"""What holds for the whole run: figures that a test records as the property `figures` are printed after it; Ctrl-C works."""

import gc
import os
import signal
import zlib
from collections.abc import Generator, Iterator

import hypothesis
import pytest
import structlog
from _pytest.terminal import TerminalReporter

from tests.support.healer import Verb
from tests.support.warm import WarmStarts


def pytest_configure() -> None:
    """Heed SIGINT, and have the processes that tests start heed it. Give no example of a property a time to keep.

    A background job of a script is started with SIGINT ignored, and so would be all that it starts: a handler of one's own is
    what a new program does not inherit.
    """
    os.environ["SSL_CERT_FILE"] = os.devnull  # no test trusts public authorities, and reading them takes 35 ms a client
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # An example that takes long tells of the machine, and of coverage.py that traces it, not of the code.
    hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage among what is collected: all of it lives as long as the run, and each look takes half a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the long tests evenly among the quick ones: the long ones wait, and each worker has others to do meanwhile.

    Those of one file take about as long, and so they are shuffled, in the same way each time; the longest of all are the first.
    """
    long = sorted(filter(_is_long, items), key=lambda item: ("crash" not in item.path.parts, zlib.crc32(item.nodeid.encode())))
    quick = [item for item in items if not _is_long(item)]
    if long and quick:
        places = [(number / len(group), item) for group in (long, quick) for number, item in enumerate(group)]
        items[:] = [item for _, item in sorted(places, key=lambda place: place[0])]


def _is_long(item: pytest.Item) -> bool:
    return "unit" not in item.path.relative_to(item.config.rootpath).parts or item.get_closest_marker("slow") is not None


@pytest.fixture(scope="session", autouse=True)
def warm() -> Iterator[None]:
    """Fork healers instead of starting each from nothing."""
    Verb.warm = WarmStarts()
    yield
    Verb.warm.close()
    Verb.warm = None


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """Let no verb that a test runs in this process set up the log of the next test."""
    yield
    structlog.reset_defaults()


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print them."""
    for report in terminalreporter.getreports("passed"):
        for line in [value for name, value in report.user_properties if name == "figures"]:
            terminalreporter.write_line(str(line), bold=True)
