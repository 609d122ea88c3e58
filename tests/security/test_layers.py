"""What each layer is for: an act that gets through when this layer alone is taken away, and is refused with it.

Where the other layers refuse the act too (the layer is redundant on this machine), they are taken away in both runs; README.md
of the sandbox lists those and why they stay.
"""

import os
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import replace

import pytest

from env_synth.config import SandboxConfig
from env_synth.sandbox.host import Sandbox
from env_synth.sandbox.lockdown import SPARE_UID, Layers

SOURCE = """
import ctypes, os, signal, socket, time
class Attack:
    family, answer_type, answer_format, max_level = "compute", "int", "one integer", 5
    def generate(self, rng, level): return {}, {}
    def render(self, public): return "x"
    def reference(self, public, private):
BODY
    def verify(self, public, answer, reference): return 1.0
"""
ROOT = os.geteuid() == 0
BARE = Layers(audit=False)
FILTERLESS = replace(BARE, seccomp=False)


def outcome(layers: Layers, body: str) -> str:
    """The text that the body returned, or the class of its failure."""
    with Sandbox(SandboxConfig(generate_timeout_s=0.5), layers) as sandbox:
        worker = sandbox.open(SOURCE.replace("BODY", textwrap.indent(body, " " * 8)), trusted=True)
        result = worker.reference({}, {})
    return result if isinstance(result, str) else result.failure_class.value


@pytest.mark.parametrize(
    ("layer", "others", "body", "with_it", "without_it"),
    [
        ("seccomp", BARE, "return str(os.getcwd())", "denied", "/"),
        ("seccomp", BARE, "a, b = socket.socketpair(); return 'made'", "denied", "made"),
        ("seccomp", BARE, "os.close(os.memfd_create('x')); return 'made'", "denied", "made"),
        ("seccomp", BARE, "time.sleep(0); os.dup(0); return 'made'", "denied", "made"),
        ("limits", BARE, "return str(len(bytes(3 << 29)))", "memory", str(3 << 29)),
        ("namespaces", BARE, "return 'first' if os.getpid() == 1 else 'other'", "first", "other"),
        ("audit", Layers(), "os.system('true'); return 'hidden'", "denied", "hidden"),
        ("audit", Layers(), "try:\n    open('/etc/passwd')\nexcept OSError: return 'caught'", "denied", "caught"),
        ("capabilities", FILTERLESS, "os.unshare(os.CLONE_NEWUTS); return 'entered'", "denied", "entered"),
        ("landlock", replace(FILTERLESS, namespaces=False), "return open('/etc/passwd').read(1) and 'read'", "denied", "read"),
        ("landlock", FILTERLESS, "return str(os.listdir('/'))", "denied", "[]"),
        ("limits", FILTERLESS, "pid = os.fork()\nif not pid: os._exit(0)\nreturn 'forked'", "exception", "forked"),
        ("namespaces", replace(FILTERLESS, landlock=False), "return str(os.path.exists('/etc/passwd'))", "False", "True"),
    ],
)
def test_taking_a_layer_away_lets_something_through(layer, others, body, with_it, without_it):
    assert outcome(others, body) == with_it
    assert outcome(replace(others, **{layer: False}), body) == without_it


@pytest.mark.skipif(not ROOT, reason="only root has an account to give up")
def test_root_is_given_up_without_namespaces_too():
    bare = replace(BARE, namespaces=False)
    assert outcome(bare, "return str(os.getuid())") == str(SPARE_UID)
    assert outcome(replace(bare, spare_uid=False), "return str(os.getuid())") == "0"


def test_a_worker_without_a_filter_still_cannot_signal_its_siblings():
    """Landlock's scope stands behind the filter where there are no namespaces (kernels of 6.12 and later)."""
    from env_synth.sandbox.lockdown import landlock_abi

    if landlock_abi() < 6:
        pytest.skip("this kernel's Landlock has no signal scope")
    layers = replace(FILTERLESS, namespaces=False)
    with Sandbox(SandboxConfig(), layers) as sandbox:
        sibling = sandbox.open(SOURCE.replace("BODY", "        return 'alive'"), trusted=True)
        body = f"        os.kill({sibling.process.pid}, 9); return 'killed'"
        attacker = sandbox.open(SOURCE.replace("BODY", body), trusted=True)
        assert attacker.reference({}, {}).failure_class.value == "denied"
        assert sibling.reference({}, {}) == "alive"


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="already unprivileged")
def test_every_attack_ends_the_same_for_an_unprivileged_user():
    """Runs the attacks again as an account without any rights, in a mount namespace where it can read the interpreter."""
    _, top, below, *_ = os.path.realpath(sys.executable).split("/")
    opened = ""
    if top == "root":  # closed to others: shown to them in this mount namespace alone
        path = f"/root/{below}"
        opened = f"mount --bind {path} /mnt && mount -t tmpfs -o mode=755 none /root && mkdir {path} && "
        opened += f"mount --bind /mnt {path} && "
    tests = "tests/security/test_attacks.py tests/security/test_layers.py tests/env_synth/sandbox/test_host.py"
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        os.chmod(home, 0o777)
        command = (
            f"{opened} HOME={home} exec setpriv --reuid 12345 --regid 12345 --clear-groups --inh-caps=-all "
            f"{sys.executable} -m pytest -q -m '' -p no:cacheprovider --basetemp={home}/t {tests}"
        )
        done = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
