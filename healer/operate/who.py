"""Who uses a verb: as the kubeconfig says it, as the API server knows it, and what to ask for if it refuses."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.cluster.reviews import own_name
from healer.operate.objects import OperateError


@dataclass(frozen=True, slots=True)
class Who:
    """`user` is the kubeconfig's user, or $USER, or "unknown". `namespace` is the context's, or "default"."""

    user: str
    namespace: str


def who(context: str | None = None) -> Who:
    """Return the user and the namespace of a context of the kubeconfig, by default the current one.

    If several files define the same context, the first file wins, as in kubectl. This function skips a file that cannot be read;
    `Access` reports such a file when it connects to the cluster.
    """
    files = list(_files())
    wanted = context or next((name for name in (file.get("current-context") for file in files) if name), None)
    found = next((c for file in files for c in _contexts(file, wanted)), {})
    return Who(
        user=str(found.get("user") or os.environ.get("USER") or "unknown"), namespace=str(found.get("namespace") or "default")
    )


async def signature(api: Api, me: Who) -> str:
    """Return the name to approve and undo in: that of the user as the API server knows it. Raises ClusterError.

    It is the one that the admission policy takes. A server before Kubernetes 1.28 does not say it, and some let nobody ask: then
    it is the kubeconfig's.
    """
    try:
        return await own_name(api) or me.user
    except ApiError as error:
        if not (error.is_not_found or error.is_forbidden):
            raise
        return me.user


@contextmanager
def explained(verb: str, name: str, namespace: str) -> Iterator[None]:
    """Raise OperateError where the API server forbids `verb` (approve, undo) on an incident: who may, and what to ask for."""
    try:
        yield
    except ApiError as error:
        if not error.is_forbidden:
            raise
        raise OperateError(
            f"you cannot {verb} incident {name} in {namespace}: {error.message}. Those can {verb} who are"
            " bound to the ClusterRole healer-approver, each in the own name, without --by. Ask an administrator to bind you:"
            f" kubectl create rolebinding NAME --clusterrole=healer-approver --user=YOU --namespace={namespace}"
        ) from error


def _files() -> Iterator[Mapping[str, Any]]:
    for path in (os.environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep):
        try:
            content = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8")) if path else None
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        if isinstance(content, dict):
            yield content


def _contexts(file: Mapping[str, Any], name: str | None) -> Iterator[Mapping[str, Any]]:
    """Yield the contexts of that name."""
    for entry in file.get("contexts") or ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get("context"), dict):
            yield entry["context"]
