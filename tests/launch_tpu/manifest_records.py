"""What Kubernetes and SkyPilot accept, as typed records that refuse unknown fields: the part that the launchers write.

Written from JobSet's CRD (v1alpha2), Kubernetes' API reference (batch/v1, core/v1, rbac/v1) and SkyPilot 0.14.1's task schema.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """A record without room for a misspelt field."""


class Metadata(Strict):
    name: Name | None = None
    namespace: Name | None = None
    labels: dict[str, Annotated[str, msgspec.Meta(max_length=63)]] = {}
    annotations: dict[str, str] = {}


class NamedValue(Strict):
    name: str
    value: str


class Port(Strict):
    container_port: Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Mount(Strict):
    name: Name
    mount_path: Annotated[str, msgspec.Meta(pattern="^/")]
    read_only: bool = False


class Limits(Strict):
    limits: dict[Literal["google.com/tpu", "nvidia.com/gpu"], Positive]


class Container(Strict):
    name: Name
    image: str
    command: list[str]
    env: list[NamedValue] = []
    ports: list[Port] = []
    resources: Limits | None = None
    volume_mounts: list[Mount] = []


class Claim(Strict):
    claim_name: Name
    read_only: bool = False


class EmptyDir(Strict):
    medium: Literal["", "Memory"] = ""


class Volume(Strict):
    name: Name
    persistent_volume_claim: Claim | None = None
    empty_dir: EmptyDir | None = None

    def __post_init__(self) -> None:
        if (self.persistent_volume_claim is None) == (self.empty_dir is None):
            raise ValueError("a volume has exactly one source")


class Toleration(Strict):
    key: str
    operator: Literal["Exists", "Equal"]
    effect: Literal["NoSchedule", "NoExecute", "PreferNoSchedule"]
    value: str | None = None


class PodSecurity(Strict):
    fs_group: int


class PodSpec(Strict):
    restart_policy: Literal["Never", "OnFailure", "Always"]
    containers: list[Container]
    volumes: list[Volume] = []
    termination_grace_period_seconds: Count = 30
    share_process_namespace: bool = False
    service_account_name: Name | None = None
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []
    security_context: PodSecurity | None = None

    def __post_init__(self) -> None:
        volumes = {volume.name for volume in self.volumes}
        mounted = {mount.name for container in self.containers for mount in container.volume_mounts}
        if mounted != volumes:
            raise ValueError(f"volumes {sorted(volumes)} and mounts {sorted(mounted)} differ")


class PodTemplate(Strict):
    spec: PodSpec
    metadata: Metadata = msgspec.field(default_factory=Metadata)


class OnExitCodes(Strict):
    container_name: Name
    operator: Literal["In", "NotIn"]
    values: list[int]


class PodFailureRule(Strict):
    action: Literal["FailJob", "FailIndex", "Ignore", "Count"]
    on_exit_codes: OnExitCodes


class PodFailurePolicy(Strict):
    rules: list[PodFailureRule]


class JobSpec(Strict):
    parallelism: Positive
    completions: Positive
    completion_mode: Literal["Indexed", "NonIndexed"]
    backoff_limit: Count
    pod_failure_policy: PodFailurePolicy
    template: PodTemplate

    def __post_init__(self) -> None:
        if self.template.spec.restart_policy != "Never":
            raise ValueError("podFailurePolicy needs restartPolicy Never")
        names = {container.name for container in self.template.spec.containers}
        if any(rule.on_exit_codes.container_name not in names for rule in self.pod_failure_policy.rules):
            raise ValueError("podFailurePolicy names a container that is not there")


class JobTemplate(Strict):
    spec: JobSpec


class ReplicatedJob(Strict):
    name: Name
    replicas: Positive
    template: JobTemplate


class FailureRule(Strict):
    name: Annotated[str, msgspec.Meta(pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    action: Literal["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]
    on_job_failure_reasons: list[
        Literal[
            "BackoffLimitExceeded",
            "DeadlineExceeded",
            "FailedIndexes",
            "MaxFailedIndexesExceeded",
            "PodFailurePolicy",
        ]
    ]


class FailurePolicy(Strict):
    max_restarts: Count
    rules: list[FailureRule]


class JobSetSpec(Strict):
    replicated_jobs: list[ReplicatedJob]
    failure_policy: FailurePolicy


class JobSet(Strict):
    api_version: Literal["jobset.x-k8s.io/v1alpha2"]
    kind: Literal["JobSet"]
    metadata: Metadata
    spec: JobSetSpec

    def __post_init__(self) -> None:
        # JobSet refuses names whose pods (name-job-index-pod) could not have one.
        for job in self.spec.replicated_jobs:
            pods = job.template.spec.parallelism
            longest = f"{self.metadata.name}-{job.name}-{job.replicas - 1}-{pods - 1}-abcde"
            if len(longest) > 63:
                raise ValueError(f"{longest} is too long for a pod's name")


class ServiceAccount(Strict):
    api_version: Literal["v1"]
    kind: Literal["ServiceAccount"]
    metadata: Metadata


class PolicyRule(Strict):
    api_groups: list[str]
    resources: list[str]
    verbs: list[Literal["get", "list", "watch"]]


class Role(Strict):
    api_version: Literal["rbac.authorization.k8s.io/v1"]
    kind: Literal["Role"]
    metadata: Metadata
    rules: list[PolicyRule]


class RoleRef(Strict):
    api_group: Literal["rbac.authorization.k8s.io"]
    kind: Literal["Role"]
    name: Name


class Subject(Strict):
    kind: Literal["ServiceAccount"]
    name: Name
    namespace: Name


class RoleBinding(Strict):
    api_version: Literal["rbac.authorization.k8s.io/v1"]
    kind: Literal["RoleBinding"]
    metadata: Metadata
    role_ref: RoleRef
    subjects: list[Subject]


class Pod(Strict):
    api_version: Literal["v1"]
    kind: Literal["Pod"]
    metadata: Metadata
    spec: PodSpec


KINDS: dict[str, type[Strict]] = {
    "JobSet": JobSet,
    "ServiceAccount": ServiceAccount,
    "Role": Role,
    "RoleBinding": RoleBinding,
    "Pod": Pod,
}


class Recovery(msgspec.Struct, forbid_unknown_fields=True):
    strategy: Literal["EAGER_NEXT_REGION", "FAILOVER"]
    max_restarts_on_errors: Count


class AcceleratorArgs(msgspec.Struct, forbid_unknown_fields=True):
    tpu_vm: bool
    runtime_version: str


class SkyResources(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    accelerators: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]+(:\d+)?$")]
    use_spot: bool
    job_recovery: Recovery
    accelerator_args: AcceleratorArgs | None = None
    infra: Annotated[str, msgspec.Meta(pattern=r"^gcp(/[^/]+(/[^/]+)?)?$")] | None = None


class SkyTask(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    num_nodes: Positive
    resources: SkyResources
    envs: dict[Annotated[str, msgspec.Meta(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")], str]
    setup: str
    run: str
