"""Secrets in files, read again when the files change: mounted Secrets rotate under a running process."""

from pathlib import Path


class SecretError(Exception):
    """The secret cannot be had; the message says why, and never what was read."""


class SecretFile:
    """A file that holds one secret and perhaps white space around it.

    Each `read` costs one stat, a local call of microseconds; the content is read again only when that differs. A Secret volume
    is updated by swapping a symbolic link (kubelet's AtomicWriter), so the file behind the path changes its inode.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._secret = ""

    def read(self) -> str:
        """The secret now. Raises SecretError when the file is missing, unreadable, not text or empty: callers fail closed."""
        try:
            stat = self.path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                self._secret = self.path.read_text("utf-8").strip()
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            self._seen = None
            raise SecretError(f"the secret file {self.path} cannot be read: {type(error).__name__}") from error
        if not self._secret:
            raise SecretError(f"the secret file {self.path} is empty")
        return self._secret


class TokenFiles:
    """Several tokens: a file with one a line, or a folder of such files. While one rotates, both are there.

    Each `read` costs one stat a file. Names that begin with a dot are left out: kubelet's AtomicWriter keeps its own there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[tuple[str, int, int, int], ...] | None = None
        self._tokens: tuple[str, ...] = ()

    def read(self) -> tuple[str, ...]:
        """The tokens now, at least one. Raises SecretError when one of the files cannot be read, or there is no token in them."""
        try:
            files = self._files()
            seen = tuple((file.name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for file in files for stat in [file.stat()])
            if seen != self._seen:
                lines = [line.strip() for file in files for line in file.read_text("utf-8").splitlines()]
                self._tokens = tuple(dict.fromkeys(line for line in lines if line))
                self._seen = seen
        except (OSError, UnicodeDecodeError) as error:
            self._seen = None
            raise SecretError(f"the tokens in {self.path} cannot be read: {type(error).__name__}") from error
        if not self._tokens:
            raise SecretError(f"there is no token in {self.path}")
        return self._tokens

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        return sorted(file for file in self.path.iterdir() if not file.name.startswith(".") and file.is_file())
