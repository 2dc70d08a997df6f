"""A secret in a file, read again when the file changes: mounted Secrets rotate under a running process."""

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
