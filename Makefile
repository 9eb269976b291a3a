# Two commands do everything on a fresh machine: `make demo` and `make test`.
#
#   make demo        export CifarNet, rewrite it, check it on real images and time it
#   make test        lint, type check and all tests
#   make bench       the table of speed and accuracy on real models (BENCH: options of bench/table.py)
#   make bench-scaling  how the speed-up grows with batch, image and channels
#   make bench-tuning   does the tuner keep its promise: budgets on held-out data, speed against settings chosen by hand
#   make bench-stages   every stage of the operator against the limits of this machine (needs libbenchmark-dev)
#   make bench-gpu      convolutions on the GPU of this machine beside what is predicted, into docs/cuda.md
#   make test-gpu       the tests of CUDA on a GPU; make cuda-resources: what its kernels take of one
#   make zoo         export and rewrite the networks of torchvision and Keras (ZOO: names; needs torch and torchvision)
#   make sanitize    tests of the operator under ASan, UBSan and TSan
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
# An emulator of GPUs, for the tests of CUDA (docs/cuda.md).
ifneq ($(wildcard ../shared/tools/ptxemu/build),)
export DRPASS_PTXEMU ?= $(abspath ../shared/tools/ptxemu)
endif

# The demonstration: where its files go, and real images: CIFAR-10 test images where DRPASS_DATA has them, else
# photographs that an installed package ships.
DEMO := build/demo
DEMO_DATA := --preprocess models/cifarnet.toml \
  --data $(or $(wildcard $(DRPASS_DATA)/cifar10-test.tar.xz),photographs)

SOURCES := CMakeLists.txt pyproject.toml $(shell find cmake custom_ops drpass models -type f \
  -not -name '*.pyc' -not -name '*.so' -not -path '*/__pycache__/*')

# C++ builds beside the package's, which has found the headers of ONNX Runtime.
HEADERS = $(firstword $(wildcard build/*/onnxruntime-headers/unpacked/usr/include/onnxruntime))
CONFIGURE = $(BIN)/cmake -S . -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DDRPASS_CUDA=OFF \
  $(if $(HEADERS),-DONNXRUNTIME_INCLUDE_DIR=$(abspath $(HEADERS)))

# Sanitizers must be in the process before Python is; with them libstdc++, so that they find its functions.
PRELOAD = $(shell c++ -print-file-name=libasan.so) $(shell c++ -print-file-name=libstdc++.so.6)
SANITIZED_TESTS := $(wildcard tests/test_operator_*.py) tests/test_memo.py tests/test_memo_windows.py tests/test_normalization.py tests/test_sparse.py tests/test_stages.py \
  tests/test_depthwise.py tests/test_fully_connected.py tests/test_upsample.py

.PHONY: demo test zoo test-gpu cuda-resources bench bench-gpu bench-scaling bench-stages bench-tuning sanitize build clean lint

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
	$(BIN)/drpass rewrite $(DEMO)/cifarnet.onnx $(DEMO)/cifarnet.drpass.onnx
	$(BIN)/drpass diff $(DEMO)/cifarnet.onnx $(DEMO)/cifarnet.drpass.onnx
	$(BIN)/drpass validate $(DEMO)/cifarnet.onnx $(DEMO)/cifarnet.drpass.onnx $(DEMO_DATA) --batch 100
	$(BIN)/drpass bench $(DEMO)/cifarnet.onnx $(DEMO)/cifarnet.drpass.onnx $(DEMO_DATA) --batch 100 --threads 1,2

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	@sh cmake/prepare_machine.sh "$(PYTHON)" browser
	$(BIN)/pytest

# What has passed is kept in build/zoo; the table in docs/coverage.md is of that.
zoo: build
	PYTHONPATH=tests $(BIN)/python tests/zoo.py $(ZOO)

# The tests of CUDA on the GPU of this machine.
test-gpu: build
	nvidia-smi -L
	$(BIN)/pytest -k "cuda or maximum or lrn or even_window or all_targets" tests/test_operator_*.py tests/test_normalization.py \
	  tests/test_depthwise.py tests/test_fully_connected.py tests/test_upsample.py tests/test_cuda*.py

# Registers and shared memory of all kernels for CUDA on all architectures against the table in docs/cuda.md.
cuda-resources: build
	$(BIN)/python bench/cuda_resources.py --check docs/cuda.md

bench: build
	$(BIN)/python bench/table.py $(BENCH)

bench-scaling bench-tuning: bench-%: build
	$(BIN)/python bench/$*.py $(BENCH)

# Needs a GPU; python bench/gpu.py alone predicts without one.
bench-gpu: build
	nvidia-smi -L
	$(BIN)/python bench/gpu.py --measure cuda --out docs/cuda.md $(BENCH)

bench-stages: build
	$(CONFIGURE) -B build/stages -DDRPASS_BENCH=ON
	$(BIN)/cmake --build build/stages --target drpass_stages
	build/stages/bench/stages/drpass_stages $(BENCH)

# Python's own leaks are not ours, and a large quarantine would fill the memory. That repetition changes nothing is left
# to drpass_concurrency, which is quicker. A report goes to a file, because pytest keeps the output of a process that dies.
sanitize: build
	$(CONFIGURE) -B build/sanitize/address -DDRPASS_SANITIZE=address,undefined
	$(BIN)/cmake --build build/sanitize/address --target drpass_ops drpass_concurrency
	rm -f build/sanitize/report.*
	LD_PRELOAD="$(PRELOAD)" UBSAN_OPTIONS=print_stacktrace=1:log_path=build/sanitize/report \
	  ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16:log_path=build/sanitize/report \
	  DRPASS_LIBRARY=$(abspath build/sanitize/address/custom_ops/libdrpass_ops.so) PYTHONPATH=tests \
	  $(BIN)/python -m pytest --quiet -p no_arena -p no:cacheprovider -k "not same_bytes_for_threads and not beyond_all_memory" $(SANITIZED_TESTS) \
	  || { cat build/sanitize/report.*; exit 1; }
	ASAN_OPTIONS=quarantine_size_mb=16 build/sanitize/address/custom_ops/drpass_concurrency
	$(CONFIGURE) -B build/sanitize/thread -DDRPASS_SANITIZE=thread
	$(BIN)/cmake --build build/sanitize/thread --target drpass_concurrency
	build/sanitize/thread/custom_ops/drpass_concurrency

clean:
	rm -rf $(VENV) build dist
