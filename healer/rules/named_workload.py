"""The workload that a rule names, by the word of its kind: `deployment: NAME`, `statefulset: NAME`."""

from typing import Any

from pydantic import ValidationInfo, model_validator
from pydantic.dataclasses import dataclass

from healer.rules.form import Model, Name, fault
from healer.rules.vocabulary import Vocabulary

DEPLOYMENT = "Deployment"
"""The kind that a key `deployment` names."""
KEY = "workload"
"""The field of the models that holds the workload. In a file, its key is the word of a kind."""


@dataclass(frozen=True)
class NamedWorkload:
    """A workload by its name and kind; its namespace is that of the target."""

    name: Name
    kind: str = DEPLOYMENT

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


def words(known: Vocabulary | None) -> dict[str, str]:
    """The keys that name a workload, and the kind of each."""
    return {DEPLOYMENT.lower(): DEPLOYMENT} if known is None else known.words


class NamesWorkload(Model):
    """A mapping that names a workload, in a file by the word of its kind."""

    @model_validator(mode="before")
    @classmethod
    def _by_word(cls, data: Any, info: ValidationInfo) -> Any:
        """Put the workload that a file names into the field."""
        if not isinstance(data, dict) or (KEY in data and info.context is None):
            return data
        kinds = words(info.context)
        given = [key for key in data if key in kinds]
        if KEY in data:
            raise fault(f"unknown key {KEY!r}", f"name it by the word of its kind: {', '.join(kinds)}", (KEY,))
        if len(given) > 1:
            raise fault(f"{' and '.join(given)} are given: this is one workload", "delete the other", (given[1],))
        if not given:
            return data
        rest = {key: value for key, value in data.items() if key not in given}
        return {**rest, KEY: {"kind": kinds[given[0]], "name": data[given[0]]}}
