# `make demo` opens the atlas on the shipped bundle, `make test` runs every test.
# Each target brings .venv up to date by itself. Nothing here needs a GPU.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check -q

# Where there is no NVIDIA driver the CPU build of torch is pinned by its local version, so that
# pip can never choose the CUDA build with its gigabytes of libraries. If the configured indexes
# do not offer it, it is taken from PyTorch's own CPU index.
TORCH_VERSION := 2.13.0
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_BUILD ?= $(shell if [ "$$(uname -s)" != Linux ] || nvidia-smi >/dev/null 2>&1; then echo default; else echo cpu; fi)

.PHONY: help setup demo test check format browser clean bench bench-pages bench-precompute \
  bench-precompute-kills bench-decompose bench-window bench-match bench-train bench-train-kills crawl peer
help:            ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## */\t/' | expand -t 14

setup: $(VENV)/.ready ## install into .venv

demo: $(VENV)/.ready ## open the atlas on the shipped bundle and print its address
	@$(PY) -m precompute demo $(if $(PORT),--port $(PORT))

test: $(VENV)/.ready-test browser ## run every test
	@$(PY) -m pytest

check: $(VENV)/.ready-test ## lint, formatting of imports, import contract
	$(PY) -m ruff check .
	$(PY) -m pytest tests/test_architecture.py

browser: $(VENV)/.ready-test ## a Chromium for the browser tests, where one can be had
	@$(PY) -c "import sys; from tests.browser.chromium import find; sys.exit(find() is None)" || { \
	  echo "installing Chromium for the browser tests"; \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq >/dev/null 2>&1 \
	    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null 2>&1; } \
	  || $(PY) -m playwright install chromium >/dev/null 2>&1 \
	  || echo "no Chromium could be installed: the browser tests will say that they are skipped"; }

bench: bench-precompute bench-pages bench-decompose ## all benchmarks: store first, then the pages over it

bench-pages: $(VENV)/.ready-test browser ## the pages over build/full-shape in a real browser; PEER=DIR beside the static atlas
	@$(PY) -m tests.benchmarks.bench_pages $(if $(STORE),--store "$(STORE)") $(if $(PEER),--peer "$(PEER)")

crawl: $(VENV)/.ready-test browser ## follow 200 links of the bundle and see that each is restored after a restart
	@$(PY) -m tests.browser.crawling --store $(if $(STORE),"$(STORE)",data/demo) --views 200

bench-precompute: $(VENV)/.ready-test ## a made-up run of full shape: minutes and memory per stage (20 GB of disk)
	@$(PY) -m tests.benchmarks.bench_precompute

bench-precompute-kills: $(VENV)/.ready-test ## the same build killed at ten random moments and resumed
	@$(PY) -m tests.benchmarks.bench_precompute --kills 10

bench-decompose: $(VENV)/.ready-test ## a prompt at full shape: forward pass, ledgers, whole readout, ten people at once
	@$(PY) -m tests.benchmarks.bench_decompose

bench-window: $(VENV)/.ready-test ## whether the p of a window is uniform where there is none, over 200 seeds
	@$(PY) -m tests.benchmarks.window_null

bench-match: $(VENV)/.ready-test ## two made-up dictionaries of full shape matched in every way (6 GB of disk)
	@$(PY) -m tests.benchmarks.bench_match $(if $(SHAPE),--shape $(SHAPE))

bench-train: build/peer/.ready ## a step and whole trainings beside llamascopium, in its environment
	@OMP_NUM_THREADS=1 build/peer/bin/python -m tests.benchmarks.bench_train $(if $(SHAPES),--shapes $(SHAPES))

bench-train-kills: $(VENV)/.ready-test ## a training killed at twenty random moments, beside one that was not
	@$(PY) -m tests.benchmarks.train_kills

peer: build/peer/.ready ## train the fixture of tests/fixtures/llamascopium anew, in its environment
	@build/peer/bin/python tests/peers/llamascopium_release.py tests/fixtures/llamascopium
	@build/peer/bin/python tests/peers/llamascopium_steps.py tests/fixtures/llamascopium

build/peer/.ready:
	@echo "creating build/peer and installing llamascopium"
	@$(PYTHON) -m venv build/peer
	@build/peer/bin/python -m pip --disable-pip-version-check -q install "torch==$(TORCH_VERSION)"
	@build/peer/bin/python -m pip --disable-pip-version-check -q install \
	  "llamascopium==2.0.0b34" "transformer-lens<4"
	@touch $@

clean:           ## remove what can be built again
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache

$(VENV)/.torch:
	@echo "creating $(VENV) and installing torch $(TORCH_VERSION) ($(TORCH_BUILD) build)"
	@$(PYTHON) -m venv $(VENV)
	@if [ "$(TORCH_BUILD)" = cpu ]; then \
	  $(PIP) install "torch==$(TORCH_VERSION)+cpu" 2>/dev/null \
	  || $(PIP) install "torch==$(TORCH_VERSION)+cpu" --extra-index-url "$(TORCH_CPU_INDEX)"; \
	else $(PIP) install "torch==$(TORCH_VERSION)"; fi
	@touch $@

$(VENV)/.ready: $(VENV)/.torch pyproject.toml constraints.txt
	@echo "installing the atlas"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready
	@echo "installing what the tests need"
	@$(PIP) install -c constraints.txt -e '.[test]'
	@touch $@
