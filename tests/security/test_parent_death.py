"""The host dies by SIGKILL while workers spin: nobody may be left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = '''
import sys, time
from env_synth.config import SandboxConfig
from env_synth.sandbox.host import Sandbox
from env_synth.sandbox.lockdown import Layers
SOURCE = """
class Spin:
    family, answer_type, answer_format, max_level = "compute", "int", "one integer", 5
    def generate(self, rng, level): return {}, {}
    def render(self, public): return "x"
    def reference(self, public, private): return "x"
    def verify(self, public, answer, reference):
        while True:
            try:
                while True: pass
            except BaseException: pass
"""
sandbox = Sandbox(SandboxConfig(verify_timeout_s=1000.0), Layers(namespaces=sys.argv[1] == "tier1"))
workers = [sandbox.open(SOURCE) for _ in range(4)]
for worker in workers[1:]:  # one stays idle
    worker.begin_verify([("{}", "1", ["1"])])
print(sandbox.zygote()._child.pid, *(worker.process.pid for worker in workers), flush=True)
time.sleep(1000)
'''
ROOT = Path(__file__).resolve().parents[2]


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"  # a zombie is dead; who reaps orphans is the machine's business


@pytest.mark.parametrize("tier", ["tier1", "tier2"])
@pytest.mark.parametrize("spare_descriptor", [False, True], ids=["alone", "with_a_child_holding_its_sockets"])
def test_no_worker_outlives_its_host(tier, spare_descriptor):
    script = SCRIPT
    if spare_descriptor:  # end of file alone would not be seen: someone else still holds the host's end
        script = script.replace(
            "time.sleep(1000)\n", "import os\nchild = os.fork()\nif child: print(child, flush=True)\ntime.sleep(1000)\n"
        )
    host = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, tier], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    pids = [int(word) for word in host.stdout.readline().split()]
    child = int(host.stdout.readline()) if spare_descriptor else 0
    assert len(pids) == 5
    assert all(running(pid) for pid in pids)
    host.kill()
    host.wait()
    deadline = time.monotonic() + 30.0
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [pid for pid in pids if running(pid)]
    if child:
        os.kill(child, signal.SIGKILL)
    host.stdout.close()
    assert left == []
