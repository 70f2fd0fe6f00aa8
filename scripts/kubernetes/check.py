"""Checks the manifests against the schemas of Kubernetes and of Kubeflow's training operator, without a cluster.

    pip install kubernetes-validate kubeflow-training
    python scripts/kubernetes/check.py
"""

import json
from pathlib import Path

import kubernetes_validate
import yaml
from kubeflow.training.api_client import ApiClient

HERE = Path(__file__).parent
VERSION = kubernetes_validate.latest_version()


def lost(given, kept, path=""):
    """Fields that the operator's own model does not know."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key not in kept:
                yield f"{path}/{key}"
            else:
                yield from lost(value, kept[key], f"{path}/{key}")
    elif isinstance(given, list):
        for i, (a, b) in enumerate(zip(given, kept)):
            yield from lost(a, b, f"{path}/{i}")


def threads_fit(pod):
    """A container starts as many threads as cores are requested for it, and not as many as its node has."""
    for container in pod["containers"]:
        threads = {e["name"]: e["value"] for e in container["env"]}.get("OMP_NUM_THREADS")
        assert threads == container["resources"]["requests"]["cpu"], f"{container['name']}: OMP_NUM_THREADS is {threads}"


class Reply:
    def __init__(self, document):
        self.data = json.dumps(document)


for document in yaml.safe_load_all((HERE / "job.yaml").read_text()):
    kubernetes_validate.validate(document, VERSION, strict=True)
    if document["kind"] == "Job":
        threads_fit(document["spec"]["template"]["spec"])
    print(f"job.yaml: {document['kind']} fits Kubernetes {VERSION}")

job = yaml.safe_load((HERE / "pytorchjob.yaml").read_text())
client = ApiClient()
kept = client.sanitize_for_serialization(client.deserialize(Reply(job), "KubeflowOrgV1PyTorchJob"))
assert not (unknown := list(lost(job, kept))), f"pytorchjob.yaml: unknown fields {unknown}"
for name, replica in job["spec"]["pytorchReplicaSpecs"].items():
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": replica["template"]["spec"]}
    kubernetes_validate.validate(pod, VERSION, strict=True)
    threads_fit(pod["spec"])
    print(f"pytorchjob.yaml: {name} fits the operator and Kubernetes {VERSION}")
