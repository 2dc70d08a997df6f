"""The JSON Schemas in docs/schemas, as `healer schema` prints them: files name them in a comment, for editors."""

from collections.abc import Callable
from functools import partial

import msgspec
from pydantic import BaseModel

from healer.daemon.rulefiles import vocabulary
from healer.rehearsal.simulate.scenario import Scenario
from healer.rehearsal.testing.schema import RuleTest
from healer.rules.json_schema import written
from healer.rules.schema import RuleSet
from healer.settings import settings_schema


def _of(model: type[BaseModel]) -> str:
    return written(vocabulary(), model) + "\n"


def _settings() -> str:
    return msgspec.json.format(msgspec.json.encode(settings_schema()), indent=2).decode() + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "docs/schemas/rules.json": partial(_of, RuleSet),
    "docs/schemas/scenario.json": partial(_of, Scenario),
    "docs/schemas/settings.json": _settings,
    "docs/schemas/test.json": partial(_of, RuleTest),
}
"""What makes each file."""
