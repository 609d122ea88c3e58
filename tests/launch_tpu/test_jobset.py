"""The manifests are what Kubernetes accepts, for TPUs and GPUs, and say what a run needs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from launch_tpu.errors import LaunchError
from launch_tpu.jobset import GkeJobSet
from launch_tpu.plan import Command
from launch_tpu.settings import Settings
from tests.launch_tpu.manifest_records import KINDS, JobSet, Pod, RoleBinding, Strict

Launch = Callable[..., Settings]
GPUS = {"accelerator_type": "nvidia-h100-80gb", "num_nodes": 2}


def applied(steps: tuple[Any, ...]) -> list[Strict]:
    """What kubectl is given, parsed as YAML and read strictly."""
    records: list[Strict] = []
    for step in steps:
        assert isinstance(step, Command)
        if step.stdin:
            assert step.argv == ("kubectl", "--namespace=default", "apply", "--filename=-")
            records += [msgspec.convert(part, KINDS[part["kind"]]) for part in yaml.safe_load_all(step.stdin)]
    return records


def job_set(settings: Settings) -> JobSet:
    found = applied(GkeJobSet().create(settings, Path("files")))[-1]
    assert isinstance(found, JobSet)
    return found


def test_a_job_a_slice_and_a_pod_a_host(launch: Launch) -> None:
    made = job_set(launch("jobset", num_slices=2, grace_seconds=240, queue="tpu-queue", spot=True))
    (job,) = made.spec.replicated_jobs
    assert (job.replicas, job.template.spec.parallelism, job.template.spec.completions) == (2, 4, 4)
    pod = job.template.spec.template.spec
    assert pod.termination_grace_period_seconds == 240
    assert pod.node_selector == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5p-slice",
        "cloud.google.com/gke-tpu-topology": "2x2x4",
        "cloud.google.com/gke-spot": "true",
    }
    (container,) = pod.containers
    assert container.resources is not None
    assert container.resources.limits == {"google.com/tpu": 4}
    assert container.command == ["bash", "launch_tpu/start.sh", "/mnt/evo-runs/first-run", "--config=configs/qwen3_gpu.py"]
    assert {value.name: value.value for value in container.env} == {"EVO_HOSTS": "8"}
    assert made.metadata.labels == {"evo-run": "first-run", "kueue.x-k8s.io/queue-name": "tpu-queue"}
    assert made.metadata.annotations == {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}


def test_a_mistake_in_the_config_is_not_tried_again(launch: Launch) -> None:
    made = job_set(launch("jobset", max_restarts=3))
    assert made.spec.failure_policy.max_restarts == 3
    (rule,) = made.spec.replicated_jobs[0].template.spec.pod_failure_policy.rules
    assert (rule.action, rule.on_exit_codes.values) == ("FailJob", [2])
    (reaction,) = made.spec.failure_policy.rules
    assert (reaction.action, reaction.on_job_failure_reasons) == ("FailJobSet", ["PodFailurePolicy"])


def test_gpu_pods_may_look_up_their_place(launch: Launch) -> None:
    records = applied(GkeJobSet().create(launch("jobset", **GPUS), Path("files")))
    assert [type(record).__name__ for record in records] == ["ServiceAccount", "Role", "RoleBinding", "JobSet"]
    binding, made = records[2:]
    assert isinstance(binding, RoleBinding)
    assert isinstance(made, JobSet)
    pod = made.spec.replicated_jobs[0].template.spec.template.spec
    assert pod.service_account_name == binding.subjects[0].name == binding.role_ref.name
    assert pod.node_selector == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    assert pod.containers[0].resources is not None
    assert pod.containers[0].resources.limits == {"nvidia.com/gpu": 8}
    assert made.spec.replicated_jobs[0].template.spec.completion_mode == "Indexed"
    assert made.metadata.annotations == {}


def test_an_account_that_is_named_is_used_and_not_made(launch: Launch) -> None:
    records = applied(GkeJobSet().create(launch("jobset", **GPUS, service_account="trainer"), Path("files")))
    (made,) = records
    assert isinstance(made, JobSet)
    assert made.spec.replicated_jobs[0].template.spec.template.spec.service_account_name == "trainer"


def test_the_longest_name_still_has_pods(launch: Launch) -> None:
    job_set(launch("jobset", run_name="x" * 40, num_slices=4))


def test_fetching_goes_through_a_pod_that_reads_the_volume(launch: Launch) -> None:
    steps = GkeJobSet().fetch(launch("jobset"), Path("runs/first-run"))
    (pod,) = applied(steps)
    assert isinstance(pod, Pod)
    assert pod.spec.volumes[0].persistent_volume_claim is not None
    assert pod.spec.volumes[0].persistent_volume_claim.read_only
    assert steps[2].argv[2:] == ("cp", "default/first-run-fetch:/mnt/evo-runs/first-run", "runs/first-run")  # type: ignore[union-attr]
    assert "delete" in steps[3].argv  # type: ignore[union-attr]


def test_what_went_with_its_pod_cannot_be_fetched(launch: Launch) -> None:
    with pytest.raises(LaunchError, match="went with its pod"):
        GkeJobSet().fetch(launch("jobset", accelerator_type="v6e-4", volume=""), Path("x"))


def test_spot_says_how_short_its_notice_is(launch: Launch) -> None:
    assert "15 s" in GkeJobSet().notes(launch("jobset", spot=True))[0]
    assert GkeJobSet().notes(launch("jobset")) == ()


def test_the_records_are_strict() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"nam": "x"}}, KINDS["ServiceAccount"])
