# Two commands do everything on a fresh machine: `make demo` and `make test`.
#
#   make demo        export CifarNet, rewrite it, check it on real images and time it
#   make test        lint, type check and all tests
#   make build       .venv with drpass installed from this checkout
#   make clean       remove what the others made
#
# PYTHON chooses the interpreter of .venv; DRPASS_DATA and DRPASS_MODELS name folders with data and models for tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Data and models that lie beside the project are used where they are there; nothing needs them.
ifneq ($(wildcard ../shared/data),)
export DRPASS_DATA ?= $(abspath ../shared/data)
endif
ifneq ($(wildcard ../shared/models),)
export DRPASS_MODELS ?= $(abspath ../shared/models)
endif

# The demonstration: where its files go, the parameters of the rewrite, and real images: CIFAR-10 test images where
# DRPASS_DATA has them, else photographs that an installed package ships.
DEMO := build/demo
DEMO_PARAMETERS := --scope batch --step 0.5 --include '*conv2*' --include '*norm*'
DEMO_DATA := --preprocess models/cifarnet.toml \
  --data $(or $(wildcard $(DRPASS_DATA)/cifar10-test.tar.xz),photographs)

SOURCES := CMakeLists.txt pyproject.toml $(shell find cmake custom_ops drpass models -type f \
  -not -name '*.pyc' -not -name '*.so' -not -path '*/__pycache__/*')

.PHONY: demo test build clean lint

build: $(VENV)/installed

# A virtual environment of its own, with every dependency; made again only when they change.
$(VENV)/dependencies: pyproject.toml
	@sh cmake/prepare_machine.sh "$(PYTHON)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "scikit-build-core>=0.10" "cmake>=3.20" ninja
	$(BIN)/python cmake/requirements.py > $(VENV)/requirements.txt
	$(PIP) install --quiet --requirement $(VENV)/requirements.txt
	touch $@

# The package itself, as a user gets it; the build folder makes this incremental.
$(VENV)/installed: $(VENV)/dependencies $(SOURCES)
	$(PIP) install --quiet --no-deps --no-build-isolation --force-reinstall .
	touch $@

# The commands are printed as they run: type them yourself with your own model and data.
demo: build
	@mkdir -p $(DEMO)
	$(BIN)/drpass export cifarnet $(DEMO)/cifarnet.onnx
	$(BIN)/drpass rewrite $(DEMO)/cifarnet.onnx $(DEMO)/cifarnet.drpass.onnx $(DEMO_PARAMETERS)
	$(BIN)/drpass diff $(DEMO)/cifarnet.onnx $(DEMO)/cifarnet.drpass.onnx
	$(BIN)/drpass validate $(DEMO)/cifarnet.onnx $(DEMO)/cifarnet.drpass.onnx $(DEMO_DATA) --batch 100
	$(BIN)/drpass bench $(DEMO)/cifarnet.onnx $(DEMO)/cifarnet.drpass.onnx $(DEMO_DATA) --batch 100 --threads 1,2

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

clean:
	rm -rf $(VENV) build dist
