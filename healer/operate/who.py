"""Reads the user and the namespace from the kubeconfig, as kubectl does."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


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
