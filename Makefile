PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
RUN := $(VENV)/bin/python -m

.DEFAULT_GOAL := help
.PHONY: help install demo check test test-unit test-oldest bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: ## Make .venv with everything needed to work on the library
	@$(PYTHON) tools/bootstrap.py

demo: ## Run the examples on a local DynamoDB engine (needs Java)
	@$(PYTHON) tools/bootstrap.py --require-java
	$(VENV)/bin/python examples/basic_usage.py
	$(VENV)/bin/python examples/run_control.py
	$(VENV)/bin/python examples/pyspark_usage.py

check: install ## Lint, format, types, layers, spelling
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell

test: install ## Run all tests, the slow ones too; TESTS="tests/unit" runs those
	$(RUN) pytest -m "slow or not slow" $(TESTS)

test-unit: install ## Run the unit tests without the slow ones: a minute
	$(RUN) pytest tests/unit

test-oldest: ## Run the tests but the slow ones on Python 3.9 with the oldest dependencies
	@$(PYTHON) tools/test_oldest.py

bench: ## Measure against boto3 and other libraries, and what a long history costs
	@$(PYTHON) tools/bootstrap.py --venv $(BENCH_VENV) --extras bench
	$(BENCH_VENV)/bin/python -m benchmarks
	$(BENCH_VENV)/bin/python -m benchmarks.history

clean: ## Remove environments and everything generated
	rm -rf $(VENV) .venv-*/ .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf build dist .cache .demo spark-warehouse metastore_db derby.log
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
