"""What verbs print, for the pages that show it."""

import contextlib
import tempfile
from pathlib import Path

from typer.testing import CliRunner

from healer.cli import app

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
_WIDTH = "200"


def readme() -> dict[str, str]:
    """A test that fails for a changed rule, and a simulated day, under the commands that print them."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        here = Path("docs", "examples")
        here.mkdir(parents=True)
        for name, now in (("crash-loops.rules.yaml", "for: 3m"), ("crash-loops.rules.test.yaml", "for: 1m")):
            text = (EXAMPLES / name).read_text("utf-8")
            (here / name).write_text(text.replace("for: 1m", now), "utf-8")
        tested = _printed("test", "docs/examples/crash-loops.rules.test.yaml", "--run", "evicted", code=1)
    with contextlib.chdir(ROOT):
        simulated = _printed("simulate", "docs/examples/crash-loops.scenario.yaml", code=0)
    return {"tested": tested, "simulated": simulated}


def _printed(*arguments: str, code: int) -> str:
    """A command and its output, as a block. Raises RuntimeError when it ends otherwise than with the exit code."""
    done = CliRunner().invoke(app, [*arguments], env={"COLUMNS": _WIDTH, "NO_COLOR": "1"})
    if done.exit_code != code:
        raise RuntimeError(f"healer {' '.join(arguments)} ended with {done.exit_code}: {done.output}")
    said = "\n".join(line.rstrip() for line in done.stdout.rstrip().splitlines())
    return f"```text\n$ healer {' '.join(arguments)}\n{said}\n```"
