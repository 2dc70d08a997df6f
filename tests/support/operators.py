"""What operators own: an object of theirs in the lab, and the workloads that it controls. No controller of the lab makes them."""

from healer.lab import Lab, serving
from healer.lab.custom import INFERENCE_SERVICE, LLM_INFERENCE_SERVICE, REVISION, definition
from healer.lab.kinds import Kind
from healer.lab.objects import Object, owner_reference

NAMESPACE = "production"


async def own(
    lab: Lab, kind: Kind, name: str, *owned: Object, spec: Object | None = None, namespace: str = NAMESPACE, **more: object
) -> Object:
    """Make an operator's object, and what it controls; returns the reference to it. `more`: further metadata of it."""
    metadata = {"name": name, "namespace": namespace} | more
    defined = [each["metadata"]["name"] for each in lab.objects("customresourcedefinitions.apiextensions.k8s.io")]
    if kind.resource not in defined:
        await lab.apply([definition(kind)])
    await lab.apply([{"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec or {}}])
    (made,) = [each for each in lab.objects(kind.resource, namespace) if each["metadata"]["name"] == name]
    reference = owner_reference(kind.api_version, kind.kind, made)
    for each in owned:
        each["metadata"]["ownerReferences"] = [reference]
    await lab.apply(list(owned))
    return reference


async def predictor(lab: Lab, name: str = "ranker", *, knative: bool = False, behaviour: str | None = None) -> str:
    """An InferenceService of KServe with its predictor, three pods with a storage-initializer; returns the Deployment's name.

    Without `knative` its Deployment is KServe's own (RawDeployment), else that of a Revision.
    """
    deployment = f"{name}-predictor-00001-deployment" if knative else f"{name}-predictor"
    made, *_ = serving(deployment, min_available=None, behaviour=behaviour)
    labels = {"serving.kserve.io/inferenceservice": name, "component": "predictor"}
    made["metadata"]["labels"] |= labels
    template = made["spec"]["template"]
    template["metadata"]["labels"] |= labels
    template["spec"]["initContainers"] = [{"name": "storage-initializer", "image": "kserve/storage-initializer:v0.21.0"}]
    if not knative:
        await own(lab, INFERENCE_SERVICE, name, made, spec={"predictor": {}})
        return deployment
    reference = await own(lab, INFERENCE_SERVICE, name, spec={"predictor": {}})
    await own(lab, REVISION, f"{name}-predictor-00001", made, ownerReferences=[reference])
    return deployment


async def language_model(lab: Lab, name: str = "chat", *, spec: Object | None = None) -> str:
    """An LLMInferenceService of KServe with its pods, as KServe labels them; returns the name of its Deployment."""
    made, *_ = serving(f"{name}-kserve", min_available=None)
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "llminferenceservice", "llm-d.ai/role": "both"}
    for labelled in (made["metadata"], made["spec"]["template"]["metadata"]):
        labelled["labels"] |= labels
    await own(lab, LLM_INFERENCE_SERVICE, name, made, spec=spec)
    return f"{name}-kserve"
