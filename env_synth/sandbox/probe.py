"""Which tier this machine reaches, layer by layer, and what would raise it: found by trying, never by looking for files.

The trials themselves are the zygote's (`zygote._try_layers`): each layer alone must refuse an act that nothing else refuses.
Deliberately left out: tier 0 (gVisor or a microVM around the whole program), which can't be seen from inside.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

from env_synth.config import SandboxConfig
from env_synth.sandbox.host import Sandbox, Tier, tier_of
from env_synth.sandbox.lockdown import Layers, landlock_abi

_WHAT = {
    "namespaces": "own pid, user, network, mount, IPC and UTS namespaces on an empty root",
    "limits": "resource limits: memory, processor time, no files, few descriptors, no processes",
    "capabilities": "no capabilities, and none to be gained",
    "landlock": "Landlock: no path, no TCP port, no signal outwards",
    "seccomp": "system-call filter: an allow-list",
}
_HOW = {
    "namespaces": "allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone or "
    "kernel.apparmor_restrict_unprivileged_userns=0; in Docker: --security-opt seccomp=unconfined)",
    "limits": "lift whatever forbids setrlimit here",
    "capabilities": "lift whatever forbids capset here",
    "landlock": "a Linux kernel of 5.13 or later with landlock among its security modules (boot option lsm=landlock,...)",
    "seccomp": "Linux on x86-64 or arm64, with seccomp filters in the kernel and not forbidden by the container",
}
_TIERS = {
    Tier.FULL: "tier 1: namespaces, Landlock and the system-call filter. Code written by a model runs.",
    Tier.FILTERED: "tier 2: Landlock and the system-call filter, no namespaces. Code written by a model runs, with a warning.",
    Tier.PLAIN: "tier 3: not enough. Code written by a model is refused; the project's own seeds run.",
}


@dataclass(frozen=True)
class LayerReport:
    """One layer on this machine."""

    name: str
    holds: bool
    why: str


@dataclass(frozen=True)
class Probe:
    """What was found."""

    tier: Tier
    layers: tuple[LayerReport, ...]
    advice: tuple[str, ...]


def probe(layers: Layers | None = None) -> Probe:
    """Starts a zygote and reads its trials. Raises SandboxError if none can start."""
    with Sandbox(SandboxConfig(), layers) as sandbox:
        zygote = sandbox.zygote()
        evidence, errors = zygote.evidence, zygote.errors
    reports = []
    for name, what in _WHAT.items():
        refusal = errors.get(name) or ("not tried" if name not in evidence else "it refused nothing when tried")
        reports.append(LayerReport(name, evidence.get(name, False), what if evidence.get(name) else refusal))
    advice = [f"{report.name}: {_HOW[report.name]}" for report in reports if not report.holds]
    if not advice:
        advice = ["for authors who are hostile on purpose, run the whole program inside gVisor or a microVM (tier 0)"]
    return Probe(tier_of(evidence), tuple(reports), tuple(advice))


def describe(found: Probe) -> str:
    """The report of `python -m env_synth.sandbox`."""
    account = "root" if os.geteuid() == 0 else "an unprivileged user"
    lines = [
        _TIERS[found.tier],
        "",
        f"{platform.system()} {platform.release()} on {platform.machine()}, as {account}, Landlock version {_abi()}",
    ]
    lines += [f"  {'holds  ' if one.holds else 'MISSING'}  {one.name:<13} {one.why}" for one in found.layers]
    lines += ["", "What would raise it:"] + [f"  {advice}" for advice in found.advice]
    return "\n".join(lines)


def _abi() -> int:
    return landlock_abi() if platform.system() == "Linux" else 0
