"""A verb is one file with its commands, and one entry in `VERBS`."""

import importlib
import pkgutil
from types import ModuleType

import typer
from typer.testing import CliRunner

from healer import cli
from healer.cli import VERBS, program


def verb() -> ModuleType:
    """A file of a stranger's with the verb `greet`."""
    module = ModuleType("greet")
    group = typer.Typer()

    @group.command()
    def greet(name: str) -> None:
        """Greet somebody."""
        typer.echo(f"hello {name}")

    setattr(module, "app", group)  # noqa: B010 - a module's attributes are known to no type checker
    return module


def test_a_new_verb_is_one_file_and_one_entry() -> None:
    """It is run, it is in the help, and those that were there are still."""
    healer = program((*VERBS, verb()))
    assert CliRunner().invoke(healer, ["greet", "Ann"]).stdout == "hello Ann\n"
    said = CliRunner().invoke(healer, ["--help"]).stdout
    assert "Greet somebody." in said
    assert "explain" in said
    assert "greet" not in CliRunner().invoke(cli.app, ["--help"]).stdout


def test_no_file_with_verbs_is_forgotten() -> None:
    """Every file of healer/cli that has commands is in the table."""
    files = [importlib.import_module(f"healer.cli.{found.name}") for found in pkgutil.iter_modules(cli.__path__)]
    assert {file.__name__ for file in files if isinstance(getattr(file, "app", None), typer.Typer)} == {
        group.__name__ for group in VERBS
    }
