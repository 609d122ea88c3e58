"""GKE through a JobSet: one job a TPU slice, or one job over GPU nodes; one pod a host.

Fields: JobSet v1alpha2's CRD and Kubernetes' batch/v1 and v1; node labels from GKE's "Plan TPUs" and xpk 1.16.0. TPU pods are
told their place by GKE; GPU pods read it from the cluster (jax[k8s], JAX's K8sCluster), for which the manifest brings a role
that may read pods, services and jobs. Left out: node pools, Kueue's own objects and volumes, which a cluster has once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from launch_tpu.errors import LaunchError
from launch_tpu.launcher import Question, fetch_from_bucket, only_create
from launch_tpu.plan import Command, Step
from launch_tpu.run_command import environment, start_command
from launch_tpu.settings import Settings

CONTAINER = "train"
REPLICATED = "workers"
_NO_RETRY = 2  # exit code of a mistake in the config: it would fail again
_FETCH_POD_IMAGE = "busybox:1.37"


class GkeJobSet:
    """One JobSet named after the run."""

    def prepare(self, settings: Settings) -> tuple[Step, ...]:
        """kubectl learns the cluster's address."""
        return (cluster_credentials(settings),)

    def state(self, settings: Settings) -> Question:
        """Restarts and terminal state, from the JobSet."""
        shown = "jsonpath={.metadata.name}: {.status.terminalState} restarts={.status.restarts} {.status.replicatedJobsStatus}"
        argv = _kubectl(settings, "get", "jobset", settings.run_name, "--ignore-not-found", f"--output={shown}")
        return Question(Command(argv, "ask how the JobSet stands"))

    def create(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Applies the manifest."""
        manifest = "---\n".join(yaml.safe_dump(part, sort_keys=False, width=120) for part in manifests(settings))
        argv = _kubectl(settings, "apply", "--filename=-")
        return (Command(argv, f"create the JobSet of {settings.hosts} pods", stdin=manifest),)

    def run(self, settings: Settings, files: Path) -> tuple[Step, ...]:
        """Creating is all there is."""
        raise only_create("jobset")

    def logs(self, settings: Settings, lines: int) -> Command:
        """Of the first pod of the first job."""
        return pod_logs(settings, lines, f"{settings.run_name}-{REPLICATED}-0")

    def fetch(self, settings: Settings, destination: Path) -> tuple[Step, ...]:
        """From the bucket, else through a short-lived pod that mounts the volume."""
        if settings.bucket:
            return (fetch_from_bucket(settings, destination),)
        if not settings.volume:
            raise LaunchError("nothing to fetch from: the run directory went with its pod (use --volume or --bucket)")
        pod = f"{settings.run_name}-fetch"
        manifest = yaml.safe_dump(_fetch_pod(settings, pod), sort_keys=False)
        return (
            Command(_kubectl(settings, "apply", "--filename=-"), "start a pod that mounts the volume", stdin=manifest),
            Command(_kubectl(settings, "wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=300s"), "wait for it"),
            Command(
                _kubectl(settings, "cp", f"{settings.namespace}/{pod}:{settings.run_dir}", str(destination)),
                "copy the run directory",
            ),
            Command(_kubectl(settings, "delete", "pod", pod, "--ignore-not-found"), "delete that pod"),
        )

    def delete(self, settings: Settings) -> tuple[Step, ...]:
        """The JobSet and what came with it; pods get their grace period."""
        kinds = "jobset" if settings.slice else "jobset,rolebinding,role,serviceaccount"
        argv = _kubectl(settings, "delete", kinds, f"--selector=evo-run={settings.run_name}", "--ignore-not-found")
        return (Command(argv, "delete the JobSet"),)

    def notes(self, settings: Settings) -> tuple[str, ...]:
        """The grace period that a spot node really gives."""
        return spot_notes(settings) if settings.spot else ()


def cluster_credentials(settings: Settings) -> Command:
    """Points kubectl at the cluster."""
    argv = ("gcloud", "container", "clusters", "get-credentials", settings.cluster)
    return Command((*argv, f"--project={settings.project}", f"--location={settings.zone}"), "point kubectl at the cluster")


def pod_logs(settings: Settings, lines: int, job: str) -> Command:
    """The last lines of a job's first pod."""
    argv = _kubectl(settings, "logs", f"job/{job}", f"--tail={lines}", "--all-containers=false")
    return Command(argv, "read the log of the first host")


def spot_notes(settings: Settings) -> tuple[str, ...]:
    """What GKE's page on Spot VMs says of grace periods."""
    return (
        "a preempted spot node gives its pods 15 s whatever terminationGracePeriodSeconds says (the node pool can raise it to "
        f"120 s); the {settings.grace_seconds} s hold for deletion, drains and maintenance: keep checkpoint.every_steps small",
    )


def manifests(settings: Settings) -> list[dict[str, Any]]:
    """What `kubectl apply` gets: for GPUs a service account that may look up its job, then the JobSet."""
    account = [] if settings.slice or settings.service_account else _reader_account(settings)
    return [*account, _jobset(settings)]


def _jobset(settings: Settings) -> dict[str, Any]:
    piece = settings.slice
    pods = piece.hosts if piece else settings.num_nodes
    # A slice is one failure domain: its pods go to one node pool, and no other slice's do.
    annotations = {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"} if piece else {}
    labels = _labels(settings) | ({"kueue.x-k8s.io/queue-name": settings.queue} if settings.queue else {})
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": settings.run_name, "namespace": settings.namespace, "labels": labels, "annotations": annotations},
        "spec": {
            "failurePolicy": {
                "maxRestarts": settings.max_restarts,
                "rules": [{"name": "mistake", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "replicatedJobs": [
                {
                    "name": REPLICATED,
                    "replicas": settings.num_slices,
                    "template": {
                        "spec": {
                            "parallelism": pods,
                            "completions": pods,
                            "completionMode": "Indexed",
                            "backoffLimit": 0,
                            "podFailurePolicy": {"rules": [_no_retry_rule()]},
                            "template": {"metadata": {"labels": _labels(settings)}, "spec": _pod(settings)},
                        }
                    },
                }
            ],
        },
    }


def _no_retry_rule() -> dict[str, Any]:
    return {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [_NO_RETRY]}}


def _pod(settings: Settings) -> dict[str, Any]:
    piece = settings.slice
    selector = (
        {"cloud.google.com/gke-tpu-accelerator": piece.gke_label, "cloud.google.com/gke-tpu-topology": piece.topology}
        if piece
        else {"cloud.google.com/gke-accelerator": settings.accelerator_type}
    )
    resource = ("google.com/tpu", piece.chips_per_host) if piece else ("nvidia.com/gpu", settings.gpus_per_node)
    tolerations = [{"key": resource[0], "operator": "Exists", "effect": "NoSchedule"}]
    if settings.spot:
        selector["cloud.google.com/gke-spot"] = "true"
        tolerations.append({"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"})
    account = settings.service_account or ("" if piece else settings.run_name)
    volumes = [{"name": "memory", "emptyDir": {"medium": "Memory"}}]
    run_volume: dict[str, Any] = {"name": "runs", "emptyDir": {}}
    if settings.volume:
        run_volume = {"name": "runs", "persistentVolumeClaim": {"claimName": settings.volume}}
    ports = [{"containerPort": 8471}, {"containerPort": 8080}] if piece else [{"containerPort": 55527}]
    return {
        **({"serviceAccountName": account} if account else {}),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "shareProcessNamespace": True,  # so that orphans of the sandbox are reaped and training is not process 1
        "nodeSelector": selector,
        "tolerations": tolerations,
        "securityContext": {"fsGroup": 1000},
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.image,
                "command": list(start_command(settings)),
                "env": [{"name": name, "value": value} for name, value in environment(settings).items()],
                "ports": ports,
                "resources": {"limits": {resource[0]: resource[1]}},
                "volumeMounts": [
                    {"name": "runs", "mountPath": settings.run_root},
                    {"name": "memory", "mountPath": "/dev/shm"},
                ],
            }
        ],
        "volumes": [run_volume, *volumes],
    }


def _reader_account(settings: Settings) -> list[dict[str, Any]]:
    metadata = {"name": settings.run_name, "namespace": settings.namespace, "labels": _labels(settings)}
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"]},
    ]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": settings.run_name},
            "subjects": [{"kind": "ServiceAccount", "name": settings.run_name, "namespace": settings.namespace}],
        },
    ]


def _fetch_pod(settings: Settings, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": settings.namespace, "labels": {"evo-fetch": settings.run_name}},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "fetch",
                    "image": _FETCH_POD_IMAGE,
                    "command": ["sleep", "3600"],
                    "volumeMounts": [{"name": "runs", "mountPath": settings.run_root, "readOnly": True}],
                }
            ],
            "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": settings.volume, "readOnly": True}}],
        },
    }


def _labels(settings: Settings) -> dict[str, str]:
    return {"evo-run": settings.run_name}


def _kubectl(settings: Settings, *arguments: str) -> tuple[str, ...]:
    return ("kubectl", f"--namespace={settings.namespace}", *arguments)
