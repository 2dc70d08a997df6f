"""How the pods of a workload are named after it."""

import re
from dataclasses import dataclass

_LONGEST, _RANDOM = 63, 5
"""Characters of the longest name that Kubernetes generates, and of its random end (apiserver, names.SimpleNameGenerator)."""


@dataclass(frozen=True, slots=True)
class PodNames:
    """The names of a kind's pods: the workload's name, a hyphen, what the regular expression `between` matches, and five random
    characters where the names are generated.

    A generated name never recurs. It is cut before its random end where it would be longer than 63 characters.
    """

    between: str = ""
    generated: bool = True

    def pattern(self, workload: str) -> str:
        """A regular expression for the names of all pods of a workload; `workload` is its name."""
        return f"{workload}-{self.between}" + (f"[a-z0-9]{{{_RANDOM}}}" if self.generated else "")

    def fit(self, pod: str, workload: str) -> bool:
        """Whether a pod's name has the form of the names of that workload's pods; both are names."""
        whole, cut = f"{workload}-", self.generated and len(pod) == _LONGEST
        stem = pod[:-_RANDOM] if self.generated else pod
        if cut and whole.startswith(stem):
            return True
        middle = stem.removeprefix(whole)
        forms = (middle, f"{middle}-") if cut else (middle,)
        return stem.startswith(whole) and any(re.fullmatch(self.between, form) for form in forms)


GENERATED = PodNames()
"""Names that Kubernetes generates from the workload's own."""
