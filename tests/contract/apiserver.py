"""A real etcd, kube-apiserver and, where there is one, kube-controller-manager, as child processes on loopback."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ADMIN = "sekret"
NOBODY = "weak"
_READY_WITHIN = 60.0
"""Seconds; a start takes about three on an idle machine."""


@dataclass(frozen=True)
class ApiServer:
    """A running server: its https URL and the URL of its etcd."""

    url: str
    etcd: str


def binaries() -> Path | None:
    """The folder of KUBEBUILDER_ASSETS, when it holds what is needed."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return None
    path = Path(folder)
    missing = [name for name in ("etcd", "kube-apiserver") if not (path / name).is_file()]
    if missing:
        raise FileNotFoundError(f"KUBEBUILDER_ASSETS={folder} lacks {' and '.join(missing)}")
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def serve(assets: Path, folder: Path, *, cached: bool = True, controllers: bool = False) -> Iterator[ApiServer]:
    """Run a server with its own etcd in `folder`.

    cached: False runs without the watch cache, so that compaction shows as 410 at once; controllers: with a
    controller manager that runs the controllers that a cluster without kubelets can bear.
    """
    key, public = folder / "sa.key", folder / "sa.pub"
    curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(["openssl", "genpkey", *curve, "-out", str(key)], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", str(key), "-pubout", "-out", str(public)], check=True, capture_output=True)
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{ADMIN},admin,1,"system:masters"\n{NOBODY},mallory,2\n', encoding="utf-8")
    etcd, peer, secure = (f"http://127.0.0.1:{_free_port()}" for _ in range(3))
    port = secure.rpartition(":")[2]
    with ExitStack() as stack:
        stack.enter_context(
            _process(
                [
                    str(assets / "etcd"),
                    f"--data-dir={folder / 'etcd'}",
                    f"--listen-client-urls={etcd}",
                    f"--advertise-client-urls={etcd}",
                    f"--listen-peer-urls={peer}",
                    "--unsafe-no-fsync",
                    "--log-level=error",
                ],
                folder / "etcd.log",
            )
        )
        server = stack.enter_context(
            _process(
                [
                    str(assets / "kube-apiserver"),
                    f"--etcd-servers={etcd}",
                    "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1",
                    f"--secure-port={port}",
                    f"--cert-dir={folder / 'certs'}",
                    "--endpoint-reconciler-type=none",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-account-key-file={public}",
                    f"--service-account-signing-key-file={key}",
                    f"--token-auth-file={tokens}",
                    "--authorization-mode=RBAC",
                    "--anonymous-auth=false",
                    "--service-cluster-ip-range=10.0.0.0/24",
                    "--disable-admission-plugins=ServiceAccount",
                    f"--watch-cache={'true' if cached else 'false'}",
                ],
                folder / "kube-apiserver.log",
            )
        )
        url = f"https://127.0.0.1:{port}"
        _await_ready(url, server, folder / "kube-apiserver.log")
        if controllers:
            stack.enter_context(_controller_manager(assets, folder, url))
        yield ApiServer(url, etcd)


def _await_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    context = ssl._create_unverified_context()
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {ADMIN}"})
    deadline = time.monotonic() + _READY_WITHIN
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=2, context=context):
                return
        except OSError:  # refused, or 500 while it starts: it offers nothing to wait on but this
            time.sleep(0.1)
    raise RuntimeError(f"kube-apiserver did not become ready: {log.read_text(errors='replace')[-2000:]}")


@contextmanager
def _controller_manager(assets: Path, folder: Path, url: str) -> Iterator[None]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "x", "user": {"token": ADMIN}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    workloads = ("deployment", "replicaset", "statefulset", "daemonset", "job")
    others = ("clusterrole-aggregation", "disruption", "endpointslice", "garbage-collector", "namespace", "resourcequota")
    command = [
        str(assets / "kube-controller-manager"),
        f"--kubeconfig={path}",
        "--bind-address=127.0.0.1",
        f"--secure-port={_free_port()}",
        f"--cert-dir={folder / 'kcm'}",
        "--leader-elect=false",
        f"--controllers={','.join(f'{name}-controller' for name in (*workloads, *others))}",
    ]
    with _process(command, folder / "kube-controller-manager.log"):
        yield
