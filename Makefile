# cdsframe: `make` lists the targets.
PYTHON ?= python3
PY := .venv/bin/python
UV_VERSION := 0.13.9
UV := .setup/bin/uv

# The demo's size: what two CPU cores do in a few minutes. `make results` takes everything.
RESULTS := index.name=results prompt.max_tokens=300
RESULTS_TRAIN ?= training.max_epochs=2 training.no_gold_share=0 data.more_refusals=true
RESULTS_EVALUATE ?=
RESULTS_ADAPTER := outputs/adapters/results
DEMO := index.name=demo prompt.max_tokens=300
DEMO_TRAIN ?= training.train_limit=90 training.validation_limit=8 training.max_epochs=2
DEMO_EVALUATE ?= evaluation.limit=32 generator.max_new_tokens=32
TESTS_AT_ONCE ?= 2
QUESTION ?= What strength of chlorine is used to clean after norovirus?

.DEFAULT_GOAL := help
.PHONY: help setup demo test serve check format lock bench results picture peers

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

setup: .venv/.installed  ## install everything into .venv from the lock (needs Python 3.11 to 3.13)

.venv/.installed: requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"cdsframe needs Python 3.11 to 3.13, {sys.executable} is {v[0]}.{v[1]}; name another: make setup PYTHON=python3.12")'
	@test -x $(UV) || { $(PYTHON) -m venv .setup && .setup/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); } \
	  || { echo "make setup: Python's venv module is missing (Debian: apt install python3-venv)" >&2; rm -rf .setup; exit 1; }
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip install --python $(PY) --no-deps --require-hashes -r requirements.lock
	@touch $@

demo: setup  ## the whole road on a synthetic hospital: ingest, train, evaluate, ask (minutes on two cores)
	$(PY) ingest.py index.name=demo
	$(PY) train.py name=demo index=lance $(DEMO) $(DEMO_TRAIN)
	$(PY) evaluate.py -m $(DEMO) adapter=null,outputs/adapters/demo retriever=none,hybrid $(DEMO_EVALUATE)
	$(PY) ask.py $(DEMO) adapter=outputs/adapters/demo question="$(QUESTION)"

test: setup  ## the tests (no network needed; CDSFRAME_DATA adds those on real data; TESTS_AT_ONCE=2 processes)
	$(PY) -m pytest -n $(TESTS_AT_ONCE) --dist loadfile --max-worker-restart 0

serve: setup  ## the demo's model at http://127.0.0.1:8000
	$(PY) serve.py $(DEMO) adapter=outputs/adapters/demo

check: setup  ## format, lint and types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: setup  ## format the code and fix what the linter can fix
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: .venv/.installed  ## make requirements.lock anew from pyproject.toml and requirements.in
	$(UV) pip compile pyproject.toml requirements.in --override requirements.override --all-extras --universal \
	  --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --quiet -o requirements.lock

elasticsearch: setup  ## a real Elasticsearch for tests until Ctrl-C (NODES=3 PORT=9200 HEAP=1g SECURITY=1 DATA=FOLDER)
	@$(PY) -m tests.elasticsearch_server --nodes $(or $(NODES),1) --port $(or $(PORT),0) --heap $(or $(HEAP),1g) \
	  $(if $(SECURITY),--security) $(if $(DATA),--data "$(DATA)")

bench: setup peers  ## measurements: quality, speed beside the peers, size (hours; CDSFRAME_DATA; each says more by --help)
	$(PY) benchmarks/quality.py
	$(PY) benchmarks/ingest.py
	$(PY) benchmarks/retrieval.py
	$(PY) benchmarks/training.py
	$(PY) benchmarks/scale.py --index lance
	$(PY) benchmarks/scale.py --index lance-ann
	$(PY) benchmarks/scale.py --index elasticsearch --passages 200000

peers: .peers/.installed  ## the environment of the peers that bench measures (LangChain, Haystack, bm25s) into .peers

.peers/.installed: .venv/.installed benchmarks/peers/requirements.lock
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .peers
	$(UV) pip install --quiet --python .peers/bin/python --no-deps --require-hashes -r benchmarks/peers/requirements.lock
	@touch $@

# Run 12 stands beside the sweep's runs 0 to 11, so that all are compared.
results: setup  ## the full table: base and tuned, closed-book, every retriever, answers withheld (hours on two cores)
	$(PY) ingest.py index.name=results
	$(PY) train.py name=results index=lance $(RESULTS) $(RESULTS_TRAIN)
	$(PY) evaluate.py -m $(RESULTS) adapter=null,$(RESULTS_ADAPTER) retriever=none,bm25,knn,hybrid,gold,random $(RESULTS_EVALUATE) hydra.sweep.dir=outputs/results
	$(PY) evaluate.py evaluation=calibrate name=results $(RESULTS) adapter=$(RESULTS_ADAPTER) evaluation.target_accuracy=0.7
	$(PY) evaluate.py $(RESULTS) adapter=$(RESULTS_ADAPTER) calibration=outputs/calibrations/results/calibration.json $(RESULTS_EVALUATE) hydra.run.dir=outputs/results/12
	$(PY) -m benchmarks.picture outputs/results

picture: setup  ## redraw the README's picture from docs/results.json
	$(PY) -m benchmarks.picture
