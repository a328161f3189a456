# joulewise: every target does its own set-up on a fresh machine with Python >= 3.11.
PY ?= python3
V := .venv
BIN := $(V)/bin
# uv reads no pip setting: hand it pip's find-links.
ifneq ($(strip $(PIP_FIND_LINKS)),)
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif

TORCH_TESTS := tests/measuring/agent/test_torch_hooks.py tests/measuring/agent/test_sampling.py tests/diagnosing/remedies/test_torch_remedies.py tests/cli/test_try.py tests/searching/test_heard.py tests/compressing/test_sources.py tests/compressing/test_pruning.py tests/compressing/test_adapters.py $(addprefix tests/training/test_,adapters.py asking.py backbones.py cutting.py feeding.py finalists.py ladder.py optimising.py precision.py probing.py racing.py ranks.py trainer.py vectorising.py)
# Callbacks on the real frameworks.
CALLBACK_TESTS := tests/training/test_lightning.py tests/training/test_transformers.py tests/training/test_keras.py tests/training/test_adapters.py

.PHONY: demo test test-integration test-frameworks lint types docs bare bench bench-schedule bench-diagnose clean constraints bench-features bench-serve bench-train bench-search bench-serve-sleep bench-serve-hostile test-torch bench-slurm bench-throttle bench-queue manual bench-recorders

demo: $(V)/.demo       ## record a real training, print its card, write its report
	$(BIN)/joulewise run --name digits --report demo-report.html -- $(BIN)/python examples/digits.py

test: $(V)/.dev        ## the tests (services are started by the tests themselves)
	$(call tests,$(V),-n 2,not service)
	$(call tests,$(V),,service)

test-torch: $(V)/.dev  ## the tests that need PyTorch, where its CPU build is at hand (pip's find-links); elsewhere it says so and ends
	@if [ -n "$(UV_FIND_LINKS)" ] && $(BIN)/python -m uv pip install -q --dry-run --no-index --no-deps --find-links "$(UV_FIND_LINKS)" "torch==2.13.0" 2>/dev/null; \
	then $(BIN)/python -m uv pip install -q "torch==2.13.0" torch-pruning safetensors && { $(BIN)/python -m pytest -q -n 2 $(TORCH_TESTS) || { [ $$? -eq 1 ] && $(BIN)/python -m pytest -q --last-failed $(TORCH_TESTS); }; } \
	&& $(BIN)/python -m uv pip install -q -c constraints.txt lightning transformers accelerate keras peft && OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs $(CALLBACK_TESTS); \
	else echo "test-torch: no CPU build of PyTorch at hand, so its tests were left out"; fi

lint: $(V)/.dev        ## ruff, the import contract, spelling
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/codespell src tests docs examples bench README.md CHANGELOG.md

types: $(V)/.dev       ## strict types over source and tests
	$(BIN)/mypy

test-integration: $(V)-integration/.ok ## real MLflow, in an environment of its own (600 MB)
	$(V)-integration/bin/python -m pytest -q tests/exchange/test_mlflow.py

test-frameworks: $(V)-frameworks/.ok ## callbacks and examples on the real frameworks, in an environment of their own (2 GB, some minutes; not in CI)
	OMP_NUM_THREADS=1 $(V)-frameworks/bin/python -m pytest -q tests/training tests/measuring/agent/test_frameworks.py

docs: $(V)/.dev        ## every verb and module has its manual page, links hold, examples run
	$(BIN)/python docs/check.py

manual: $(V)/.dev      ## the manual as pages in build/manual, reference from the code; they ask for nothing on a network
	$(BIN)/python -c "import mkdocs, material" 2>/dev/null || $(BIN)/python -m uv pip install -q -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bare: $(V)-bare/.ok      ## the tests with no extra installed
	$(call tests,$(V)-bare,-n 2,not service and not slow)

bench: $(V)/.dev       ## the measuring programs: overhead, truth of the meters, load curve, ledger at 100,000 recordings
	$(BIN)/python bench/overhead.py && $(BIN)/python bench/truth.py && $(BIN)/python bench/ledger_scale.py

bench-schedule: $(V)/.dev ## what forecasts and plans are worth: make bench-schedule DATA=DIR
	$(BIN)/python bench/schedule.py $(DATA)

bench-slurm: $(V)/.dev ## four days of the queue on a real Slurm, an hour in 20 s (a quarter of an hour): make bench-slurm DATA=DIR [ROUND=0]
	$(BIN)/python bench/queue_slurm.py $(DATA) $(ROUND)

bench-throttle: $(V)/.dev ## what a cap that follows the grid saves, and how long jobs wait for it: make bench-throttle DATA=DIR
	$(BIN)/python bench/throttle.py $(DATA)

bench-train: $(V)/.dev ## the whole table of training; parts whose needs are missing are named: make bench-train [DATA=DIR]
	$(BIN)/python bench/train.py $(DATA)

bench-queue: $(V)/.dev ## the queue: a week against first come, first served (DATA=DIR), 200 times kill -9, idle cost, 10,000 jobs
	$(BIN)/python bench/queue_kills.py 200 && $(BIN)/python bench/queue_idle.py && $(BIN)/python bench/queue_scale.py
	$(if $(DATA),$(BIN)/python bench/queue_week.py $(DATA))

bench-features: $(V)/.dev ## features: online read, materialising, cache, training sets (some minutes)
	$(BIN)/python bench/features.py

bench-serve: $(V)/.dev ## CPU seconds per 1,000 requests of `joulewise serve` beside a bare server, in one run
	$(BIN)/python bench/serve.py $(BENCH_SERVE)

bench-serve-hostile: $(V)/.dev ## ten thousand hostile requests and killed workers against `joulewise serve`
	$(BIN)/python bench/serve_hostile.py

bench-serve-sleep: $(V)/.dev ## memory and CPU asleep, and how fast `joulewise serve` wakes: [MODEL=F.onnx BODIES=F]
	$(BIN)/python bench/serve_sleep.py $(MODEL) $(BODIES)

bench-search: $(V)/.dev ## how much training a search needs, on LCBench's surrogate (--task ID for any task)
	$(BIN)/python -m uv pip install -q -c constraints.txt -e '.[search-bench]'
	$(BIN)/python bench/search.py $(BENCH_SEARCH)
	$(if $(BENCH_SEARCH),,$(BIN)/python bench/search_deciding.py)

bench-recorders: $(V)/.dev ## 200 recorders at 1 Hz into one PostgreSQL ledger, through a crash of the server: is every byte there, once? (three minutes)
	$(BIN)/python bench/recorders.py $(BENCH_RECORDERS)

constraints:           ## resolve constraints.txt anew (URL-free, for all platforms)
	rm -f constraints.txt
	$(BIN)/python -m uv pip compile --universal --python-version 3.11 --all-extras --no-annotate --no-header -q -o constraints.txt pyproject.toml

bench-diagnose: $(V)/.torch  ## first advice, false accusations and errors over WORKLOADS=DIR (or over our own generated programs)
	$(if $(WORKLOADS),,$(BIN)/python bench/diagnose/generate.py build/workloads)
	$(BIN)/python bench/diagnose/run_folder.py $(or $(WORKLOADS),build/workloads)

clean:
	rm -rf $(V) $(V)-bare $(V)-integration $(V)-frameworks build dist

# Tests that start real programs want their share of a processor in time. What failed beside others runs once more, by itself:
# a fault fails again, a crowded machine seldom does; both runs are shown, the second with its names: look into them, a race is one.
define tests
	$(1)/bin/python -m pytest -q $(2) -m "$(3)" || { [ $$? -eq 1 ] && $(1)/bin/python -m pytest -v --last-failed -m "$(3)"; }
endef

define install
	if $(1)/bin/python -m uv --version >/dev/null 2>&1; then $(1)/bin/python -m uv pip install -q --compile-bytecode --python $(1)/bin/python -c constraints.txt $(2); \
	else $(1)/bin/python -m pip install -q -c constraints.txt $(2); fi
endef

$(V)/bin/python:
	$(PY) -m venv $(V)
	$(BIN)/python -m pip install -q uv 2>/dev/null || true

$(V)/.demo: $(V)/bin/python pyproject.toml constraints.txt
	$(call install,$(V),-e '.[example]')
	touch $@

$(V)/.dev: $(V)/bin/python pyproject.toml constraints.txt
	$(call install,$(V),-e '.[dev]')
	$(call install,$(V),--no-deps kserve==0.21.0) # tests/serving/test_kserve.py reads its fields; with what it needs it is half a gigabyte
	touch $@ $(V)/.demo

$(V)/.torch: $(V)/.dev
	$(BIN)/python -m uv pip install -q --compile-bytecode --python $(BIN)/python "torch==2.13.0" scikit-learn
	touch $@

$(V)-integration/.ok: pyproject.toml constraints.txt
	$(PY) -m venv $(V)-integration
	$(V)-integration/bin/python -m pip install -q uv 2>/dev/null || true
	$(call install,$(V)-integration,-e '.[integration]')
	touch $@

$(V)-frameworks/.ok: pyproject.toml constraints.txt
	$(PY) -m venv $(V)-frameworks
	$(V)-frameworks/bin/python -m pip install -q uv 2>/dev/null || true
	$(call install,$(V)-frameworks,"torch==2.13.0" -e '.[test,frameworks,recipe,example]' "lightgbm>=4.5" "xgboost-cpu>=3" pillow)
	touch $@

$(V)-bare/.ok: pyproject.toml constraints.txt
	$(PY) -m venv $(V)-bare
	$(V)-bare/bin/python -m pip install -q uv 2>/dev/null || true
	$(call install,$(V)-bare,-e '.[test]')
	touch $@
