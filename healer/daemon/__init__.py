"""The daemon: the engine with the real world around it."""

from healer.daemon.daemon import Daemon, Watchers
from healer.daemon.rulefiles import RuleFiles, RulesError

__all__ = ["Daemon", "RuleFiles", "RulesError", "Watchers"]
