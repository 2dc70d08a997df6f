"""A router of the tests' own: TrafficSplit of the Service Mesh Interface, `spec.backends[].weight`."""

import msgspec

from healer.cluster.api import Api
from healer.model.action import permissions
from healer.routes.route import CanaryRoute, Metadata, ReadRoute, Router, fetched
from healer.routes.split import Backend, BackendList, found
from healer.rules.vocabulary import RouterSpec

GROUP = "split.smi-spec.io"
DEFINITION = f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: trafficsplits.{GROUP}}}
spec:
  group: {GROUP}
  scope: Namespaced
  names: {{kind: TrafficSplit, listKind: TrafficSplitList, plural: trafficsplits, singular: trafficsplit}}
  versions:
    - name: v1alpha2
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                service: {{type: string}}
                backends:
                  type: array
                  items:
                    type: object
                    properties:
                      service: {{type: string}}
                      weight: {{type: integer}}
"""


class _SplitBackend(msgspec.Struct):
    service: str
    weight: int = 0


class _SplitSpec(msgspec.Struct):
    backends: list[_SplitBackend] = []


class _TrafficSplit(msgspec.Struct):
    metadata: Metadata
    spec: _SplitSpec


async def find(api: Api, route: CanaryRoute) -> ReadRoute:
    """See `Find`."""
    path = f"/apis/{GROUP}/v1alpha2/namespaces/{route.home}/trafficsplits/{route.name}"
    split = await fetched(api, path, _TrafficSplit, route, GROUP)
    backends = [Backend(each.service, each.weight) for each in split.spec.backends]
    return found(route, path, split.metadata, [BackendList("the split", "/spec/backends", backends)], ("f:spec", "f:backends"))


ROUTER = Router(
    RouterSpec("TrafficSplit", "of the Service Mesh Interface"),
    find,
    reads=permissions(GROUP, "trafficsplits", "get"),
    writes=permissions(GROUP, "trafficsplits", "patch"),
)
