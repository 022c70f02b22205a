PYTHON ?= python3
BIN := .venv/bin

GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
GPU_OUT ?= gpu-results

DEMO := sweeps/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test test-avx2 lint cluster bench chaos soak gpu

demo: .venv/installed  ## the study quickstart on the embedded digits and its report: about four minutes on two cores
	$(BIN)/cutmix-sweep run quickstart --out $(DEMO)
	$(BIN)/cutmix-sweep report $(DEMO)

test: .venv/installed  ## the whole test suite: first in two processes, then what starts Ray, which needs both cores
	$(BIN)/pytest -m "not ray" -n 2 --dist worksteal  # neighbours share their fixtures
	$(BIN)/pytest -m "ray and not cluster"

test-avx2: .venv/installed  ## the tests that train networks, with AVX2 alone, as on a CPU without AVX-512
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/pytest -n 2 tests/trainables/models \
		$(wildcard tests/trainables/test_trial*.py) tests/trainables/test_adversarial_training.py \
		tests/trainables/test_optimizer.py --ignore tests/trainables/models/test_narrow.py

lint: .venv/installed  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

cluster: .venv/installed  ## bad environments, node checks, jobs, elastic nodes and object stores on a real Ray; as root also faults of isolated nodes: ten minutes
	$(BIN)/pytest -m cluster
	if [ "$$(id -u)" = 0 ]; then PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.cluster; fi

bench: .venv/installed  ## benchmarks, each as a ratio within one run
	$(BIN)/pytest tests/benchmarks --benchmark-only --benchmark-disable-gc -s

chaos: .venv/installed  ## 500 faults of all kinds, those on a real Ray, and 1,000 bad inputs
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.chaos --faults 500 --jobs 2 --ray --json chaos.json
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.flips --flips 200
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.fuzz --inputs 1000

soak: .venv/installed  ## one hour of a sweep whose workers are killed at random: what grows
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.soak --minutes 60 --json soak.json

gpu:  ## what needs a GPU: bits, memory, speed; eight minutes on one GPU, with torch, numpy, pydantic and pillow alone
	PYTHONPATH=. $(GPU_PYTHON) -m tests.gpu --budget 480 --out $(GPU_OUT)

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	touch $@
