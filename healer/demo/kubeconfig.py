"""The kubeconfig file of a lab for people: it replaces and deletes no other, and nothing that a person wrote."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from healer.lab.apiserver.discovery import NAME
from healer.operate.objects import OperateError

_ANSWERS = 3.0
"""Seconds in which a server of this machine takes a connection."""


def on_loopback(url: str) -> bool:
    """Whether a URL is of this machine alone, as a lab's is."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


async def refuse_others(kubeconfig: Path, own: str = "") -> None:
    """Raises OperateError where the file is there, unless all of it is of a lab that has ended, or of the one at the URL `own`.

    Raises OSError if it cannot be read.
    """
    url = _lab_of(kubeconfig)
    if url is None:
        raise OperateError(f"{kubeconfig} is there, and is no kubeconfig of a lab alone: name another file by --kubeconfig")
    if url not in ("", own) and await _answers(url):
        raise OperateError(
            f"{kubeconfig} is that of a lab which runs already, at {url}: use that one, end it by Ctrl-C in its terminal, or "
            "name another file by --kubeconfig"
        )


@contextlib.contextmanager
def written(kubeconfig: Path, text: str) -> Iterator[None]:
    """The file with this text, whole at once; it is deleted at the end, unless it has another text by then."""
    number, name = tempfile.mkstemp(dir=kubeconfig.parent, prefix=f".{kubeconfig.name}.")
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, kubeconfig)
    finally:
        Path(name).unlink(missing_ok=True)  # it is there only when it could not become the file
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if kubeconfig.read_bytes() == text.encode():
                kubeconfig.unlink()


def _lab_of(kubeconfig: Path) -> str | None:
    """The URL of the lab whose kubeconfig it is; None where anything in it is not a lab's; "" without a file."""
    if not os.path.lexists(kubeconfig):
        return ""
    try:
        found = yaml.safe_load(kubeconfig.read_text("utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError, FileNotFoundError):
        return None
    match found:
        case {
            "current-context": str(current),
            "clusters": [{"name": str(cluster), "cluster": {"server": str(url), **rest}}],
            "users": [{"name": str(user), "user": {} | None as credentials}],
            "contexts": [{"name": str(context), "context": dict()}],
        } if {current, cluster, user, context} == {NAME} and not credentials and not rest and on_loopback(url):
            return url
    return None


async def _answers(url: str) -> bool:
    """Whether anything takes a connection there, also if it is too busy to say what it is."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(_ANSWERS):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except TimeoutError:
        return True
    except (OSError, ValueError):
        return False
    writer.close()
    return True
