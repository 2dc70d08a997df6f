"""The README of the Helm chart: its values, from their schema and their defaults."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "healer"
_HEAD = """\
# Helm chart of healer

<!-- made by `make docs` from Chart.yaml, values.yaml and values.schema.json; do not edit -->

{description} For Kubernetes 1.30 or later.

    kubectl apply -f deploy/healer/namespace.yaml                     # with the labels of Pod Security
    (umask 077; openssl rand -hex 24 > webhook-token; openssl rand -hex 24 > read-token)
    kubectl -n healer create secret generic healer --from-file=webhook-token --from-file=read-token
    helm install healer deploy/helm/healer -n healer -f deploy/helm/healer/values/observe.yaml \\
        --set image.repository=REGISTRY/healer

REGISTRY is where you have pushed the image ([README.md](../../../README.md#run-it-on-a-cluster)); `imagePullSecrets` names
a Secret where it asks for a password. The Secret `healer` has the tokens: Alertmanager sends the first, and whoever reads what
healer decides shows the second (`healer status --token-file read-token`). Keep both files, outside of git. Further keys
(`slack-token`, ...) are in the table below.

With `observe` healer decides and tells, and changes nothing. Some days later, `helm upgrade` with another file of `values/`:

| values | the objects are those of |
|---|---|
{files}

The files of rules, roles, alerts and the policy are links to those of `rules/` and `deploy/healer`: install the chart from a
clone, or from what `helm package` makes of it. All objects are named `healer`: a cluster has one healer, or one in each namespace
with `namespaces` of its own.

## Permissions of your own rules

    healer rbac RULES... --roles-only | kubectl apply -f -       # --healer-namespace NS where healer is in another namespace

That adds a ClusterRole to those that the ClusterRole `healer` is the sum of. No upgrade takes it back. To have it
in the release instead, write what it prints with `--name healer-own` into a file, and give it as `--set-file roles=FILE`.

## Upgrade

Helm installs the definition of incidents once, and never upgrades it. So upgrade it first: an older healer works with it.

    kubectl apply -f deploy/helm/healer/crds/crd.yaml
    helm upgrade healer deploy/helm/healer -n healer -f VALUES

## Uninstall

    helm uninstall healer -n healer
    healer retire                                                # --healer-namespace NS where healer is in another namespace

The definition, all incidents, the namespace and your Secret stay. [deploy/healer/README.md](../../healer/README.md#uninstall)
says what else stays, and how it is taken back.

## Values

| value | type | default | meaning |
|---|---|---|---|
{values}
"""


def page() -> str:
    """deploy/helm/healer/README.md."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    files = [f"| `values/{path.name}` | `deploy/healer/overlays/{path.stem}` |" for path in sorted(CHART.glob("values/*.yaml"))]
    values = "\n".join(
        f"| `{name}` | {kind} | {default} | {meaning} |" for name, kind, default, meaning in rows(schema, defaults)
    )
    return _HEAD.format(description=chart["description"], files="\n".join(files), values=values)


def rows(schema: Mapping[str, Any], defaults: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning of each value; of an object with keys of its own, those. `global` is Helm's."""
    for key, each in schema["properties"].items():
        if key == "global":
            continue
        if "properties" in each:
            yield from rows(each, defaults[key], f"{inside}{key}.")
        else:
            kind = " or ".join(f"`{value}`" for value in each.get("enum", ())) or each["type"]
            yield f"{inside}{key}", kind, f"`{json.dumps(defaults[key])}`", each["description"]


PAGES = {"deploy/helm/healer/README.md": page}
"""What makes the file."""
