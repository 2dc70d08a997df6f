"""Certificates for the tests, made by openssl: authorities, and pairs of a certificate and its key that they sign."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOCAL = ("DNS:localhost", "DNS:healer.default.svc", "IP:127.0.0.1")
"""The names of a server of the tests."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of a certificate and of its key."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that signs others, in `folder`."""

    folder: Path
    pair: Pair

    @classmethod
    def make(cls, folder: Path, name: str = "ca") -> "Authority":
        """A new authority; `name` is that of its files too."""
        folder.mkdir(parents=True, exist_ok=True)
        pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
        _openssl(name, pair, ["-addext", "keyUsage=critical,keyCertSign"])
        return cls(folder, pair)

    @property
    def file(self) -> Path:
        """What a client is given to trust."""
        return self.pair.cert

    def pair_for(self, name: str, names: Sequence[str] = LOCAL) -> Pair:
        """A certificate for a server or a client, with this common name and these further names. It ends in two days."""
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        signed = ["-CA", str(self.pair.cert), "-CAkey", str(self.pair.key), "-addext", "basicConstraints=critical,CA:FALSE"]
        further = ["-addext", "subjectAltName=" + ",".join(names)] if names else []
        _openssl(name, pair, [*signed, *further])
        return pair

    def ended(self, pair: Pair) -> Pair:
        """A certificate for the same key that ended yesterday, signed by nobody but itself."""
        past = Pair(pair.cert.with_suffix(".past"), pair.key)
        command = ["openssl", "x509", "-in", str(pair.cert), "-signkey", str(pair.key), "-days", "-1", "-out", str(past.cert)]
        subprocess.run(command, check=True, capture_output=True)
        return past


def _openssl(name: str, pair: Pair, more: Sequence[str]) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(pair.key)]
    command = ["openssl", "req", "-x509", *key, "-out", str(pair.cert), "-days", "2", "-subj", f"/CN={name}", *more]
    subprocess.run(command, check=True, capture_output=True)


def rotate(volume: Path, **files: Path) -> None:
    """Write files into a folder as the kubelet updates a Secret volume: a new folder, and a symbolic link swapped to it.

    The names of the files have `_` for `.`.
    """
    volume.mkdir(exist_ok=True)
    data = volume / f"..{len(list(volume.iterdir()))}"
    data.mkdir()
    for name, source in files.items():
        file = name.replace("_", ".")
        (data / file).write_bytes(source.read_bytes())
        link = volume / file
        if not link.is_symlink():
            link.symlink_to(Path("..data") / file)
    (volume / "..tmp").symlink_to(data.name)
    (volume / "..tmp").replace(volume / "..data")
