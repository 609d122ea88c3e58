"""What a launch can be told, checked as a whole before any tool is asked for anything.

Left out on purpose: credentials. The tools (gcloud, kubectl, sky, sbatch) find their own, and nothing here reads, prints or
passes one on; a setting that looks like one is refused.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import runpy
from dataclasses import dataclass
from pathlib import Path

from evo_jax.config import Config
from launch_tpu.accelerators import GPUS, TpuSlice, is_tpu, tpu_slice
from launch_tpu.errors import LaunchError
from launch_tpu.redaction import looks_secret

MESH_AXES = ("data", "fsdp", "tensor", "context")
LAUNCHERS = ("tpu_vm", "jobset", "xpk", "skypilot", "slurm")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_KEPT = "checkpoint.directory"
_SHELL_SAFE_PATH = re.compile(r"/[\w./+-]*")
_NEEDED = {
    "tpu_vm": ("project", "zone", "accelerator_type", "repository", "commit"),
    "jobset": ("project", "zone", "accelerator_type", "cluster", "image"),
    "xpk": ("project", "zone", "accelerator_type", "cluster", "image"),
    "skypilot": ("accelerator_type", "repository", "commit"),
    "slurm": ("num_nodes",),
}
_ONLY_FOR = {
    "reserved": ("tpu_vm",),
    "valid_until": ("tpu_vm",),
    "runtime_version": ("tpu_vm", "skypilot"),
    "repository": ("tpu_vm", "skypilot"),
    "commit": ("tpu_vm", "skypilot"),
    "nfs": ("tpu_vm", "skypilot"),
    "bucket": ("tpu_vm", "jobset", "xpk", "skypilot"),
    "service_account": ("tpu_vm", "jobset"),
    "cluster": ("jobset", "xpk"),
    "image": ("jobset", "xpk"),
    "namespace": ("jobset", "xpk"),
    "volume": ("jobset", "xpk"),
    "queue": ("jobset",),
    "zone": ("tpu_vm", "jobset", "xpk", "skypilot"),
    "project": ("tpu_vm", "jobset", "xpk"),
    "spot": ("tpu_vm", "jobset", "skypilot"),
    "partition": ("slurm",),
    "slurm_account": ("slurm",),
    "time_limit": ("slurm",),
    "code_dir": ("slurm",),
    "topology": ("tpu_vm", "jobset"),
}


@dataclass(frozen=True)
class Settings:
    """One run on one launcher. Empty strings and zeros mean: not given."""

    launcher: str
    run_name: str
    config: str
    overrides: tuple[str, ...] = ()  # name=value, each a setting of the config
    mesh: tuple[int, ...] = ()  # sizes of MESH_AXES; -1 once: all devices that are left
    project: str = ""
    zone: str = ""  # GKE: the cluster's zone or region; SkyPilot: optional
    accelerator_type: str = ""  # v6e-16, v5p-128, or a GPU by GKE's label
    topology: str = ""
    num_slices: int = 1
    num_nodes: int = 0  # GPUs: machines of gpus_per_node
    gpus_per_node: int = 8
    runtime_version: str = ""
    spot: bool = False
    reserved: bool = False
    valid_until: str = ""  # how long a queued resource waits: 6h, 2d
    repository: str = ""
    commit: str = ""
    image: str = ""
    cluster: str = ""
    namespace: str = "default"
    queue: str = ""  # Kueue's LocalQueue
    volume: str = ""  # jobset: a PersistentVolumeClaim; xpk: a storage that `xpk storage` attached at run_root
    service_account: str = ""
    run_root: str = "/mnt/evo-runs"  # on the hosts; run directories lie in it
    nfs: str = ""  # SERVER:/EXPORT, mounted at run_root
    bucket: str = ""  # gs://NAME/PREFIX: checkpoints, and what a resume needs beside them
    partition: str = ""
    slurm_account: str = ""
    time_limit: str = "24:00:00"
    code_dir: str = ""  # the checkout on the cluster; empty: the directory sbatch is called in
    grace_seconds: int = 300  # between SIGTERM and SIGKILL, where the launcher can choose
    max_restarts: int = 10

    @property
    def slice(self) -> TpuSlice | None:
        """The TPU slice, or None for GPUs."""
        return tpu_slice(self.accelerator_type, self.topology) if is_tpu(self.accelerator_type) else None

    @property
    def hosts(self) -> int:
        """Machines, and so processes, of the whole run."""
        piece = self.slice
        return piece.hosts * self.num_slices if piece else self.num_nodes

    @property
    def devices(self) -> int:
        """What JAX will see, over all processes."""
        piece = self.slice
        return piece.chips * self.num_slices if piece else self.num_nodes * self.gpus_per_node

    @property
    def run_dir(self) -> str:
        """Where the run writes, on its hosts."""
        return f"{self.run_root.rstrip('/')}/{self.run_name}"

    @property
    def bucket_dir(self) -> str:
        """The run's own prefix in the bucket, or an empty string."""
        return f"{self.bucket.rstrip('/')}/{self.run_name}" if self.bucket else ""

    def validate(self) -> None:
        """Raises LaunchError for the first setting that cannot be used."""
        if self.launcher not in LAUNCHERS:
            raise LaunchError(f"launcher={self.launcher!r}: choose one of {', '.join(LAUNCHERS)}")
        if not _NAME.fullmatch(self.run_name):
            raise LaunchError(
                f"run_name={self.run_name!r}: at most 40 of a-z, 0-9 and '-', beginning with a letter and not ending with '-' "
                "(it names cloud resources)"
            )
        self._validate_texts()
        self._validate_belonging()
        self._validate_size()
        self._validate_storage()
        check_overrides(self.config, self.all_overrides())

    def all_overrides(self) -> tuple[str, ...]:
        """The overrides with the mesh and the place of the checkpoints among them."""
        mesh = (f"mesh.{axis}={size}" for axis, size in zip(MESH_AXES, self.mesh, strict=False))
        kept = (f"{_KEPT}={self.bucket_dir}/checkpoints",) if self.bucket else ()
        return (*self.overrides, *mesh, *kept)

    def _validate_texts(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and looks_secret(text):
                    raise LaunchError(
                        f"{name} holds what looks like a credential, which logs and manifests would show: remove it"
                    )
                if isinstance(text, str) and any(ord(letter) < 32 for letter in text):
                    raise LaunchError(f"{name} holds a line break or another control character")
                if isinstance(text, str) and set(text) & set("$`\\%"):
                    raise LaunchError(
                        f"{name}={text!r}: $, %, ` and \\ mean something else on the way to the hosts: leave them out"
                    )
        if self.repository and not re.fullmatch(r"https://[\w.-]+/[\w./~-]+", self.repository):
            raise LaunchError(f"repository={self.repository!r}: write https://HOST/PATH, without user or token")
        if self.commit and not re.fullmatch(r"[0-9a-f]{40}", self.commit):
            raise LaunchError(f"commit={self.commit!r}: give all 40 digits (git rev-parse HEAD): every host must run the same")
        if self.bucket and not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]+[a-z0-9](/[\w./-]+)?", self.bucket):
            raise LaunchError(f"bucket={self.bucket!r}: write gs://NAME or gs://NAME/PREFIX")
        if not _SHELL_SAFE_PATH.fullmatch(self.run_root) or self.run_root.rstrip("/") == "":
            raise LaunchError(f"run_root={self.run_root!r}: an absolute directory on the hosts, without spaces")
        if self.nfs and not re.fullmatch(r"[\w.-]+:/[\w./-]*", self.nfs):
            raise LaunchError(f"nfs={self.nfs!r}: write SERVER:/EXPORT")
        if self.valid_until and not re.fullmatch(r"\d+[smhd]", self.valid_until):
            raise LaunchError(f"valid_until={self.valid_until!r}: write 30m, 6h or 2d")
        if not re.fullmatch(r"(\d+-)?\d+:\d\d:\d\d", self.time_limit):
            raise LaunchError(f"time_limit={self.time_limit!r}: write HOURS:MM:SS or DAYS-HH:MM:SS")
        for name in ("project", "zone", "cluster", "namespace", "queue", "volume", "partition", "slurm_account"):
            value = getattr(self, name)
            if value and not re.fullmatch(r"[A-Za-z0-9][\w.:-]*", value):
                raise LaunchError(f"{name}={value!r}: letters, digits, '-', '_', '.' and ':' only")

    def _validate_belonging(self) -> None:
        missing = [name for name in _NEEDED[self.launcher] if not getattr(self, name)]
        if missing:
            raise LaunchError(f"--launcher={self.launcher} needs {', '.join('--' + name for name in missing)}")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, launchers in _ONLY_FOR.items():
            if getattr(self, name) != defaults[name] and self.launcher not in launchers:
                raise LaunchError(f"--{name} does nothing with --launcher={self.launcher}, only with {', '.join(launchers)}")
        if self.spot and self.reserved:
            raise LaunchError("--spot and --reserved contradict each other: choose one")

    def _validate_size(self) -> None:
        gpu_label = bool(self.accelerator_type) and not is_tpu(self.accelerator_type)
        if gpu_label and self.launcher == "tpu_vm":
            tpu_slice(self.accelerator_type)  # says what TPUs there are
        if gpu_label and self.launcher in ("jobset", "xpk") and self.accelerator_type not in GPUS:
            raise LaunchError(f"accelerator_type={self.accelerator_type!r}: a TPU (v6e-16) or one of {', '.join(GPUS)}")
        if self.slice is not None and self.launcher == "slurm":
            raise LaunchError("--launcher=slurm is for GPUs: leave --accelerator_type out, or name what --gres should ask for")
        if self.slice is not None and self.num_nodes:
            raise LaunchError("--num_nodes counts GPU machines; a TPU's are in its accelerator_type (--num_slices for several)")
        if self.slice is None and self.num_nodes < 1:
            raise LaunchError(f"num_nodes={self.num_nodes}: how many machines with GPUs?")
        if self.slice is None and self.num_slices != 1:
            raise LaunchError("--num_slices counts TPU slices; GPUs have --num_nodes")
        for name, low in (("num_slices", 1), ("gpus_per_node", 1), ("grace_seconds", 10), ("max_restarts", 0)):
            if getattr(self, name) < low:
                raise LaunchError(f"{name}={getattr(self, name)} is too small: it must be at least {low}")
        if self.mesh:
            self._validate_mesh()

    def _validate_mesh(self) -> None:
        open_axes = self.mesh.count(-1)
        if len(self.mesh) != len(MESH_AXES) or open_axes > 1 or any(size < 1 and size != -1 for size in self.mesh):
            raise LaunchError(f"mesh={self.mesh}: sizes of {', '.join(MESH_AXES)}, each at least 1 (or -1 once: the rest)")
        taken = math.prod(size for size in self.mesh if size != -1)
        fits = self.devices % taken == 0 if open_axes else self.devices == taken
        if not fits:
            raise LaunchError(f"mesh={self.mesh} is for {taken} devices; there are {self.devices}")

    def _validate_storage(self) -> None:
        named = any(override.startswith(f"{_KEPT}=") for override in self.overrides)
        if self.bucket and named:
            raise LaunchError(f"--set={_KEPT}: --bucket sets it; give one of them")
        if self.hosts == 1 or self.bucket or named:
            return
        if self.launcher in ("tpu_vm", "skypilot") and not self.nfs:
            raise LaunchError(
                f"{self.hosts} hosts need a place that all of them see: --bucket=gs://... or --nfs=SERVER:/EXPORT"
            )
        if self.launcher in ("jobset", "xpk") and not self.volume:
            raise LaunchError(f"{self.hosts} hosts need a place that all of them see: --bucket or --volume (ReadWriteMany)")


def load_config(path: str) -> Config:
    """The config of a file, `FILE.py` or `FILE.py:ARGUMENT`, as evo_jax.train would get it. Raises LaunchError."""
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        raise LaunchError(f"config={path!r}: there is no file {file}; configs/ holds the ones that come with EvoEnv")
    try:
        get_config = runpy.run_path(file)["get_config"]
        config = get_config(argument) if argument else get_config()
    except Exception as error:
        raise LaunchError(f"config={path!r} cannot be loaded: {error!r}") from error
    if not isinstance(config, Config):
        raise LaunchError(f"config={path!r}: get_config() gave a {type(config).__name__}, not an evo_jax.config.Config")
    return config


def check_overrides(config_path: str, overrides: tuple[str, ...]) -> None:
    """Raises LaunchError for an override that is no setting of the config, or one that the launcher owns."""
    known = _setting_names(load_config(config_path))
    for override in overrides:
        name, separator, _ = override.partition("=")
        if not separator:
            raise LaunchError(f"--set={override!r}: write it as name=value, such as optimizer.learning_rate=1e-5")
        if name == "run_dir":
            raise LaunchError("--set=run_dir: the launcher names the run directory (--run_root and --run_name)")
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise LaunchError(f"--set={override}: there is no setting {name!r}; the nearest is {nearest!r}")


def _setting_names(section: object, prefix: str = "") -> list[str]:
    names = []
    for name, value in vars(section).items():
        names += _setting_names(value, f"{prefix}{name}.") if dataclasses.is_dataclass(value) else [prefix + name]
    return names
