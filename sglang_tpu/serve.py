"""`python -m sglang_tpu.serve --model-path DIR --port PORT ...`: an SGLang server on a TPU that takes new weights.

Takes sglang-jax's own arguments; scheduling always runs in this process and without overlap, for new weights are put where it
reads them. Runs in the environment that `make sglang-tpu` sets up, from the repository's root. With `--device cpu` it
serves on a CPU, for tests: only models whose heads are multiples of 128 wide. Left out: several hosts.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading

ALWAYS = ("--enable-single-process", "--disable-overlap-schedule")
ON_CPU = ("--attention-backend", "native", "--disable-jax-precompile")


def main(words: list[str]) -> None:
    """Starts the Engine, then serves until the process is ended."""
    is_on_cpu = ("--device", "cpu") in itertools.pairwise(words)
    if is_on_cpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
    import sgl_jax.version
    from sgl_jax.srt.server_args import prepare_server_args

    from sglang_tpu import mending
    from sglang_tpu.engine import HeldEngine
    from sglang_tpu.routes import http_server

    arguments = prepare_server_args([*(ON_CPU if is_on_cpu else ()), *words, *ALWAYS])
    if arguments.nnodes != 1:
        sys.exit(f"--nnodes {arguments.nnodes}: new weights reach one host only, so one host is served")
    loads = mending.before_start(arguments.device)
    from sgl_jax.srt.entrypoints.engine import Engine

    engine = Engine(server_args=arguments)
    parts = mending.after_start(engine, loads)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    about = {
        "version": f"sglang-jax {sgl_jax.version.__version__}",
        "device": f"jax {arguments.device}",
        "dtype": str(parts.runner.dtype.__name__),
        "tp_size": arguments.tp_size,
        "max_req_input_len": engine.scheduler_info["max_req_input_len"],
    }
    server = http_server(HeldEngine(parts, loop), about, arguments.host, arguments.port)
    # The Engine sets its signal handlers when its loop is first used, which only the main thread may.
    loop.call_soon(parts.manager.auto_create_handle_loop)
    loop.call_soon(threading.Thread(target=server.serve_forever, daemon=True).start)
    loop.run_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
