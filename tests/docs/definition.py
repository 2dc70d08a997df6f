"""The definition of RuleSets in deploy/healer, from the models of the rule language and the registries."""

import yaml

from healer.daemon.rulefiles import vocabulary
from healer.rules.structural import definition

_HEAD = """\
# Made by `make docs` from the rule language; do not edit. `healer crd --rulesets` prints it.
# Needed only where HEALER_RULESETS__ENABLED has healer take rules from RuleSets in the cluster: docs/rules-as-code.md.
"""


class _PlainYaml(yaml.SafeDumper):
    """Without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def page() -> str:
    """The CustomResourceDefinition, as a manifest."""
    return _HEAD + yaml.dump(definition(vocabulary()), Dumper=_PlainYaml, sort_keys=False, width=130, allow_unicode=True)


PAGES = {"deploy/healer/crd-rulesets.yaml": page}
"""What makes the file."""
