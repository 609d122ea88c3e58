"""`python sglang_cpu/serve.py --model-path DIR --port PORT ...`: an SGLang server on the CPU, for tests and small models.

Takes SGLang's own arguments, with defaults for a small machine in front of them (a later argument wins). Runs in the
environment that `make sglang` sets up, which has no CUDA: sglang imports two things at its start that need it, and a language
model on the CPU calls neither. `torchvision`'s compiled operators are declared here by their signatures alone, and the
package `sgl_kernel` beside this file stands in for SGLang's CUDA kernels. Left out: everything SGLang does itself; speed.
"""

import os
import sys
from pathlib import Path

SMALL_MACHINE = (
    *("--device", "cpu"),
    *("--dtype", "float32"),
    *("--host", "127.0.0.1"),
    *("--attention-backend", "torch_native"),
    *("--mem-fraction-static", "0.2"),
    *("--max-total-tokens", "4096"),
    *("--max-running-requests", "8"),
    "--disable-overlap-schedule",
    "--skip-server-warmup",
    "--sleep-on-idle",
)
TORCHVISION_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def declare_operators() -> object:
    """Declares what torchvision registers decorators for; the declarations live as long as what is returned."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for signature in TORCHVISION_OPERATORS:
        library.define(signature)
    return library


# SGLang starts its workers as fresh processes, which import this file again: both lines below must hold there too.
sys.path.insert(0, str(Path(__file__).parent))
DECLARED = declare_operators()

if __name__ == "__main__":
    os.environ.setdefault("SGLANG_USE_CPU_ENGINE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from sglang.launch_server import run_server
    from sglang.srt.server_args import prepare_server_args

    run_server(prepare_server_args([*SMALL_MACHINE, *sys.argv[1:]]))
