# Everything runs in virtual environments that are made here when they are missing or older than what they hold.
PYTHON ?= python3
VENV ?= .venv
OLDEST_VENV ?= .venv-oldest
# Test processes; each computes with one thread.
WORKERS ?= 2
BIN = $(VENV)/bin

export HF_HUB_OFFLINE = 1
export OMP_NUM_THREADS ?= 1

# Where numbers of different kernels are compared: these must hold on processors that round otherwise, too.
NUMERIC = $(addprefix tests/, modeling_ctr/test_modeling_ctr.py modeling_ctr/test_generation.py \
	modeling_ctr/test_modeling_ctr_causal.py modeling_ctr/test_encoder_decoders.py modeling_ctr/test_reference.py \
	search/scoring/test_code_scorer.py search/test_prompt_tuning.py trainers/test_step.py)

.PHONY: demo test test-avx2 test-oldest quality format clean

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-avx2: $(VENV)/.installed
	ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(NUMERIC)

quality: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The lower bounds of setup.cfg, under the same tests.
test-oldest: $(OLDEST_VENV)/.installed
	$(OLDEST_VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

# A tiny language model, stage 1, stage 2, both searches and a table, with nothing to download but the libraries.
demo: $(VENV)/.installed-core
	$(BIN)/python examples/demo.py

$(VENV)/.installed-core: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed: $(VENV)/.installed-core
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,app]"
	touch $@

$(OLDEST_VENV)/.installed: setup.cfg constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install --quiet -c constraints-oldest.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST_VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache
