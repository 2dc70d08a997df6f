"""The schemas of built-in kinds: the fields and types that clients of the lab write.

They are structural schemas like those of custom resources: unknown fields are dropped with a warning, and wrong types are
refused. Parts that no client of the lab writes are open.
"""

from __future__ import annotations

from healer.lab.objects import Object

OPEN: Object = {"x-kubernetes-preserve-unknown-fields": True}
STRING: Object = {"type": "string", "nullable": True}
INTEGER: Object = {"type": "integer", "nullable": True}
BOOLEAN: Object = {"type": "boolean", "nullable": True}
INT_OR_STRING: Object = {"x-kubernetes-int-or-string": True, "nullable": True}
TEXTS: Object = {"type": "object", "nullable": True, "additionalProperties": {"type": "string"}}


def _object(**fields: Object) -> Object:
    return {"type": "object", "nullable": True, "properties": fields}


def _open_object(**fields: Object) -> Object:
    """An object whose `fields` are checked, and whose other fields are not."""
    return {"type": "object", "nullable": True, "properties": fields, "x-kubernetes-preserve-unknown-fields": True}


def _list(items: Object) -> Object:
    return {"type": "array", "nullable": True, "items": items}


_OWNER = _object(apiVersion=STRING, kind=STRING, name=STRING, uid=STRING, controller=BOOLEAN, blockOwnerDeletion=BOOLEAN)
METADATA = _object(
    name=STRING,
    generateName=STRING,
    namespace=STRING,
    selfLink=STRING,
    uid=STRING,
    resourceVersion=STRING,
    generation=INTEGER,
    creationTimestamp=STRING,
    deletionTimestamp=STRING,
    deletionGracePeriodSeconds=INTEGER,
    labels=TEXTS,
    annotations=TEXTS,
    ownerReferences=_list(_OWNER),
    finalizers=_list(STRING),
    managedFields=OPEN,
)
_REQUIREMENT = _object(key=STRING, operator=STRING, values=_list(STRING))
_SELECTOR = _object(matchLabels=TEXTS, matchExpressions=_list(_REQUIREMENT))
_CONTAINER = _open_object(name=STRING, image=STRING, imagePullPolicy=STRING, command=_list(STRING), args=_list(STRING))
_POD_SPEC = _open_object(
    containers=_list(_CONTAINER),
    initContainers=_list(_CONTAINER),
    nodeName=STRING,
    restartPolicy=STRING,
    terminationGracePeriodSeconds=INTEGER,
)
_TEMPLATE = _object(metadata=METADATA, spec=_POD_SPEC)
_REFERENCE = _object(
    kind=STRING,
    namespace=STRING,
    name=STRING,
    uid=STRING,
    apiVersion=STRING,
    resourceVersion=STRING,
    fieldPath=STRING,
)

POD = _object(spec=_POD_SPEC, status=OPEN)
DEPLOYMENT = _object(
    spec=_object(
        replicas=INTEGER,
        selector=_SELECTOR,
        template=_TEMPLATE,
        strategy=_object(type=STRING, rollingUpdate=_object(maxUnavailable=INT_OR_STRING, maxSurge=INT_OR_STRING)),
        minReadySeconds=INTEGER,
        revisionHistoryLimit=INTEGER,
        paused=BOOLEAN,
        progressDeadlineSeconds=INTEGER,
    ),
    status=OPEN,
)
REPLICASET = _object(spec=_object(replicas=INTEGER, minReadySeconds=INTEGER, selector=_SELECTOR, template=_TEMPLATE), status=OPEN)
DISRUPTION_BUDGET = _object(
    spec=_object(
        minAvailable=INT_OR_STRING,
        maxUnavailable=INT_OR_STRING,
        selector=_SELECTOR,
        unhealthyPodEvictionPolicy=STRING,
    ),
    status=OPEN,
)
LEASE = _object(
    spec=_object(
        holderIdentity=STRING,
        leaseDurationSeconds=INTEGER,
        acquireTime=STRING,
        renewTime=STRING,
        leaseTransitions=INTEGER,
        strategy=STRING,
        preferredHolder=STRING,
    )
)
CONFIG_MAP = _object(immutable=BOOLEAN, data=TEXTS, binaryData=TEXTS)
_SERVICE_PORT = _object(
    name=STRING, protocol=STRING, appProtocol=STRING, port=INTEGER, targetPort=INT_OR_STRING, nodePort=INTEGER
)
SERVICE = _object(spec=_open_object(selector=TEXTS, type=STRING, clusterIP=STRING, ports=_list(_SERVICE_PORT)), status=OPEN)
_BACKEND = _object(
    service=_object(name=STRING, port=_object(name=STRING, number=INTEGER)),
    resource=_object(apiGroup=STRING, kind=STRING, name=STRING),
)
_PATH = _object(path=STRING, pathType=STRING, backend=_BACKEND)
INGRESS = _object(
    spec=_object(
        ingressClassName=STRING,
        defaultBackend=_BACKEND,
        tls=_list(_object(hosts=_list(STRING), secretName=STRING)),
        rules=_list(_object(host=STRING, http=_object(paths=_list(_PATH)))),
    ),
    status=OPEN,
)
_ENDPOINT = _object(
    addresses=_list(STRING),
    conditions=_object(ready=BOOLEAN, serving=BOOLEAN, terminating=BOOLEAN),
    hostname=STRING,
    targetRef=_REFERENCE,
    nodeName=STRING,
    zone=STRING,
    hints=OPEN,
    deprecatedTopology=TEXTS,
)
ENDPOINT_SLICE = _object(
    addressType=STRING,
    endpoints=_list(_ENDPOINT),
    ports=_list(_object(name=STRING, protocol=STRING, port=INTEGER, appProtocol=STRING)),
)
EVENT = _object(
    involvedObject=_REFERENCE,
    reason=STRING,
    message=STRING,
    source=_object(component=STRING, host=STRING),
    firstTimestamp=STRING,
    lastTimestamp=STRING,
    count=INTEGER,
    type=STRING,
    eventTime=STRING,
    series=_object(count=INTEGER, lastObservedTime=STRING),
    action=STRING,
    related=_REFERENCE,
    reportingComponent=STRING,
    reportingInstance=STRING,
)
"""The stored form of events, which has the field names of core/v1."""
