"""Rule files on disk: read at the start, and again when they change. Wrong ones change nothing: the last good rules stay."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.clock import SYSTEM, Clock
from healer.model_servers.registry import SERVERS
from healer.routes.registry import ROUTERS
from healer.rules.loading import TenantOf, load_all, nobody
from healer.rules.positions import Problem
from healer.rules.rulebook import Rulebook, capped
from healer.rules.schema import Mode
from healer.rules.vocabulary import Vocabulary
from healer.sinks.registry import SINKS
from healer.workloads.registry import WORKLOADS

_NAMED = 5
"""Folders that a message names."""
_OF_KUSTOMIZE = ("kustomization.yaml", "kustomization.yml")


class RulesError(Exception):
    """The rules cannot be used; `problems` says what, where and what to do."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


def find(paths: Iterable[Path]) -> list[Path]:
    """The rule files: each file as given, also a pipe, and of a folder every *.yaml and *.yml but
    those of tests, of scenarios and of kustomize.

    Raises RulesError when there are none.
    """
    files: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        found = sorted(_in_folder(path)) if path.is_dir() else [path] if path.exists() else []
        dangling = [file for file in (found if path.is_dir() else [path]) if file.is_symlink() and not file.exists()]
        for link in dangling:
            what = f"is a link to {link.readlink()}, which does not exist"
            problems.append(Problem(str(link), 0, 0, "", what, "delete the link, or put the file back"))
        if not found and not dangling:
            problems.append(_nothing(path))
        files += found
    if problems:
        raise RulesError(problems)
    return files


def _nothing(path: Path) -> Problem:
    """Why a path has no rule files; of a folder, in which folders below it there are some."""
    if not path.is_dir():
        return Problem(str(path), 0, 0, "", "does not exist", "name a rule file, or a folder of them")
    inner = sorted(str(each) for each in path.iterdir() if each.is_dir() and any(_in_folder(each)))
    if not inner:
        return Problem(str(path), 0, 0, "", "holds no *.yaml files", "name a rule file, or a folder of them")
    more = f", and {len(inner) - _NAMED} more" if len(inner) > _NAMED else ""
    what = "holds no *.yaml files itself, and the folders in it are not read"
    return Problem(str(path), 0, 0, "", what, f"name them: {', '.join(inner[:_NAMED])}{more}")


def vocabulary() -> Vocabulary:
    """The names that rules may use, as the registries have them now."""
    return Vocabulary(
        specs(ACTIONS),
        {kind: router.spec for kind, router in ROUTERS.items()},
        {name: server.spec for name, server in SERVERS.items()},
        {sink.addresses.kind: sink.addresses for sink in SINKS.values() if sink.addresses is not None},
        {name: kind.spec for name, kind in WORKLOADS.items()},
    )


def passed_over(paths: Iterable[Path]) -> list[str]:
    """What lies in the folders and may hold rules, and is not read; a sentence each."""
    said: list[str] = []
    for folder in (path for path in paths if path.is_dir()):
        inner: list[str] = []
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            if _is_yaml(entry):
                said.append(f"{entry}: is a folder and not a file, so it is passed over")
            elif any(_is_yaml(inner) for inner in entry.iterdir()):
                inner.append(str(entry))
        if inner:
            said.append(f"{folder}: the folders in it are not read; name those as well that you mean: {', '.join(inner)}")
    return said


def read(paths: Iterable[Path]) -> dict[str, str]:
    """The text of every rule file, by name. Raises RulesError."""
    texts: dict[str, str] = {}
    for file in find(paths):
        try:
            texts[str(file)] = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RulesError([Problem(str(file), 0, 0, "", f"cannot be read: {error}", "UTF-8 text is needed")]) from error
    return texts


def load_rules(paths: Iterable[Path], known: Vocabulary, tenant_of: TenantOf = nobody) -> Rulebook:
    """The rules of these files and folders. Raises RulesError with every problem."""
    return _rulebook(read(paths), known, tenant_of)


def _rulebook(texts: Mapping[str, str], known: Vocabulary, tenant_of: TenantOf = nobody) -> Rulebook:
    rules, problems = load_all(texts, known, tenant_of)
    if problems:
        raise RulesError(problems)
    return Rulebook(rules)


def _is_yaml(path: Path) -> bool:
    """Whether a file of a folder is read as rules, by its name."""
    return path.suffix in (".yaml", ".yml") and not path.name.startswith(".") and not lies_beside(path)


def lies_beside(path: Path) -> bool:
    """Whether a file lies beside rules and has none, by its name: tests, scenarios, and what kustomize reads."""
    return is_test(path) or path.name.endswith((".scenario.yaml", ".scenario.yml")) or path.name in _OF_KUSTOMIZE


def is_test(path: Path) -> bool:
    """Whether a file has tests of rules, by its name: they lie beside the rules, and only `healer test` reads them."""
    return path.name.endswith((".test.yaml", ".test.yml")) and not path.name.startswith(".")


def _in_folder(folder: Path) -> list[Path]:
    """Its rule files; a link to nothing is one of them, so that it is not lost in silence."""
    return [path for path in folder.iterdir() if _is_yaml(path) and not path.is_dir()]


def _none(_: Rulebook) -> list[Problem]:
    return []


class RuleFiles:
    """Watches rule files by their content, so that a ConfigMap's swapped links are noticed like an edit."""

    def __init__(
        self,
        paths: Iterable[Path],
        known: Vocabulary,
        objections: Callable[[Rulebook], list[Problem]] = _none,
        most: Mode = Mode.ENFORCE,
        clock: Clock = SYSTEM,
    ) -> None:
        """`objections` says what of rules that are right in themselves cannot be used by this healer; no rule goes further than
        the mode `most`."""
        self._most = most
        self._clock = clock
        self._paths = tuple(paths)
        self._known = known
        self._objections = objections
        self._texts: dict[str, str] | None = None
        self._refused: list[Problem] = []  # why the texts that were read last are not used
        self.problems: list[Problem] = []
        """Why the files, as they were last read, are not the rules in force; empty when they are."""
        self.digest = ""
        """The digest of the files in force."""
        self.loaded_at = self._clock.wall()
        """When the rules in force were read, in seconds since the epoch."""
        self._log = structlog.get_logger("healer.rules")

    @property
    def sound(self) -> bool:
        """Whether the files, as they were last read, are the rules in force."""
        return not self.problems

    def load(self) -> Rulebook:
        """The rules now. Raises RulesError."""
        self._texts = read(self._paths)
        rulebook = self._usable(self._texts)
        self.digest = _digest(self._texts)
        return rulebook

    def _usable(self, texts: Mapping[str, str]) -> Rulebook:
        rulebook = _rulebook(texts, self._known)
        if problems := self._objections(rulebook):
            raise RulesError(problems)
        return capped(rulebook, self._most)

    async def reload(self, use: Callable[[Rulebook], None]) -> None:
        """Call `use` with the rules when the files have changed and are right; say once what is wrong when they are not."""
        try:
            texts = await asyncio.to_thread(read, self._paths)
        except RulesError as error:
            self._complain(error.problems)
            return
        if texts == self._texts:
            self._complain(self._refused)
            return
        self._texts = texts
        try:
            rulebook = await asyncio.to_thread(self._usable, texts)
        except RulesError as error:
            self._refused = error.problems
            self._complain(error.problems)
            return
        self.problems, self._refused, self.loaded_at, self.digest = [], [], self._clock.wall(), _digest(texts)
        self._log.info("rules reloaded", rules=len(rulebook.rules))
        use(rulebook)

    def _complain(self, problems: list[Problem]) -> None:
        if problems and problems != self.problems:
            self._log.error("rule files have errors: the last good rules stay", problems=[str(each) for each in problems])
        self.problems = problems


def _digest(texts: Mapping[str, str]) -> str:
    """Of the names and the texts of files."""
    parts = "\0".join(part for name, text in sorted(texts.items()) for part in (name, text))
    return hashlib.sha256(parts.encode()).hexdigest()
