"""Something wrong in a file that a person wrote: where, what, and what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem. `path` is the way to it inside the file ("spec.rules[0].when.if").

    `line` and `column` count from 1; both are 0 when the file as a whole is the problem.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}" + (f"\n    hint: {self.hint}" if self.hint else "")
