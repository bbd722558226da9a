# Everything runs in $(VENV), made on first use. Override: make test PYTEST_ARGS="-m 'not slow'"
VENV ?= .venv
PYTHON ?= python3
PYTEST_ARGS ?=
# On Linux the torch of PyPI brings gigabytes of CUDA libraries; this index has it for CPUs alone.
# Where it does not answer, or with TORCH_INDEX= (empty), pip asks only what it is configured for.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test sanitize sanitize-host emulate cuda-compile trt-check trt-check-quick gpu-check lint format typecheck docs stub bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

REACHABLE := import sys, urllib.request as r; r.urlopen(sys.argv[1] + '/torch/', timeout=5)

# torch first, so that the second command finds it there and does not choose a build of its own.
# Of two builds of the pinned version pip takes the one with a local label: 2.13.0+cpu.
NATIVE := $(shell find custom_ops runtime -name '*.cc' -o -name '*.h' -o -name '*.inc' -o -name CMakeLists.txt)

$(READY): pyproject.toml constraints.txt CMakeLists.txt $(NATIVE)
	$(PYTHON) -m venv $(VENV)
	index='$(TORCH_INDEX)'; \
	$(BIN)/python -c "$(REACHABLE)" "$$index" 2>/dev/null || index=; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  $${index:+--extra-index-url "$$index"} torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(READY) ## make the virtual environment and install deltaport into it

demo: $(READY) ## demo checkpoint -> engine -> text, perplexity, parity with transformers, speed
	$(BIN)/python -m examples.demo

# A process for each core, with one thread: tests of small things gain nothing from a second.
# tests/conftest.py says which tests share a process.
test: $(READY) ## run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --no-loadscope-reorder $(PYTEST_ARGS)

# The sanitizers' libraries must be there before Python is; what Python never frees is not of interest.
SANITIZERS = $(foreach name,libasan libubsan libstdc++,$(shell $(CXX) -print-file-name=$(name).so))
SANITIZE ?= not body and not memory

sanitize: $(READY) sanitize-host ## run the kernels' tests and a C++ host under sanitizers; fewer: SANITIZE=any_shape
	cmake -S . -B build/sanitize -DDELTAPORT_SANITIZE=ON -DDELTAPORT_PYTHON=OFF > /dev/null
	cmake --build build/sanitize --target ort_kernels --parallel 2
	DELTAPORT_KERNELS=$(CURDIR)/build/sanitize/custom_ops/ort_kernels.so \
	  LD_PRELOAD="$(SANITIZERS)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	  $(BIN)/python -m pytest tests/kernels -q -k '$(SANITIZE)'

comma := ,
# $(1): a folder of build, $(2): an option of CMake, $(3): its flags, for the host, too.
define build_host
	cmake -S . -B build/$(1) -D$(2)=ON -DDELTAPORT_PYTHON=OFF -DDELTAPORT_NATIVE_KERNELS=OFF > /dev/null
	cmake --build build/$(1) --parallel 2
	cmake --install build/$(1) --prefix build/$(1)/prefix > /dev/null
	cmake -S examples/cpp_host -B build/$(1)/host -DCMAKE_PREFIX_PATH=$(CURDIR)/build/$(1)/prefix \
	  -DCMAKE_CXX_FLAGS='$(3) -g' > /dev/null
	cmake --build build/$(1)/host --parallel 2
endef
ONNXRUNTIME := from deltaport.runtime import onnxruntime_library as o; print(o.onnxruntime_library())

sanitize-host: $(READY) ## run the C++ host's stress under AddressSanitizer, UBSan and ThreadSanitizer
	$(BIN)/python -m tools.write_toy_engine build/toy
	$(call build_host,sanitize-host,DELTAPORT_SANITIZE,-fsanitize=address$(comma)undefined)
	build/sanitize-host/host/stress build/toy --onnxruntime "$$($(BIN)/python -c '$(ONNXRUNTIME)')"
	$(call build_host,sanitize-thread,DELTAPORT_SANITIZE_THREAD,-fsanitize=thread)
	TSAN_OPTIONS="suppressions=runtime/tsan.supp halt_on_error=1" \
	  build/sanitize-thread/host/stress build/toy \
	  --onnxruntime "$$($(BIN)/python -c '$(ONNXRUNTIME)')"

emulate: $(READY) ## run the AVX-512 kernels' tests on a machine without AVX-512
	cmake -S . -B build/emulate -DDELTAPORT_EMULATE_AVX512=ON -DDELTAPORT_PYTHON=OFF > /dev/null
	cmake --build build/emulate --target ort_kernels --parallel 2
	DELTAPORT_KERNELS=$(CURDIR)/build/emulate/custom_ops/ort_kernels.so \
	  $(BIN)/python -m pytest tests/kernels -q -k 'avx512 and not memory'

CUDA_ARCHITECTURES ?= 80 87 89 90 110 120
CUDA_SOURCES := $(shell find custom_ops tools -name '*.cu')

cuda-compile: ## compile the CUDA kernels for every architecture; wants nvcc 13 and no GPU
	@mkdir -p build/cuda
	@set -e; for architecture in $(CUDA_ARCHITECTURES); do for source in $(CUDA_SOURCES); do \
	  echo "$$source for sm_$$architecture"; \
	  nvcc -std=c++20 -O3 -fmad=false -Werror all-warnings -Icustom_ops -Itools -DDELTAPORT_ISA=cuda \
	    -DDELTAPORT_SIMT= -c $$source -o build/cuda/object.o \
	    -gencode arch=compute_$$architecture,code=sm_$$architecture; done; done

# To develop with: TensorRT-RTX builds for GPUs that are not there, and the last has TensorRT's headers, for which
# TENSORRT_ROOT may name a folder of others. No dependencies: those are for running on a GPU.
TENSORRT_VERSION := 1.7.1.116
TENSORRT_TOOLS := $(foreach part,rtx-cu13 rtx-cu13-libs rtx-cu13-bindings,tensorrt-$(part)==$(TENSORRT_VERSION)) kernel-lens==2.0.1
PLAN_GPUS ?= sm80 sm89 sm120
PLAN_CHECKPOINTS ?= mixture dense demo

trt-check: $(READY) cuda-compile ## test all of TensorRT that needs no GPU
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TENSORRT_TOOLS)
	OMP_NUM_THREADS=1 DELTAPORT_REQUIRE_TENSORRT=1 PLAN_GPUS="$(PLAN_GPUS)" PLAN_CHECKPOINTS="$(PLAN_CHECKPOINTS)" \
	  $(BIN)/python -m pytest tests/tensorrt -q -n auto --no-loadscope-reorder $(PYTEST_ARGS)

trt-check-quick: ## the same for one GPU and a small mixture, without what takes long to build
	$(MAKE) trt-check CUDA_ARCHITECTURES=89 PLAN_GPUS=sm89 PLAN_CHECKPOINTS=mixture PYTEST_ARGS='-m "not slow"'

gpu-check: $(READY) ## run all that wants a GPU, and write docs/gpu-results.md; fails without one
	@$(BIN)/python -m tools.gpu_check

lint: $(READY) ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## apply style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The rooms install as one package; mypy sees the same through a view made of links.
typecheck: $(READY) ## check types, strictly
	@rm -rf build/typing && mkdir -p build/typing/deltaport
	@ln -sfn $(addprefix $(CURDIR)/,$(wildcard src/deltaport/*)) build/typing/deltaport/
	@ln -sfn $(addprefix $(CURDIR)/,exporter graph_passes custom_ops runtime) build/typing/deltaport/
	$(BIN)/mypy -p deltaport

docs: $(READY) ## regenerate the pages that are made from code
	$(BIN)/python -m tools.generate_docs

stub: $(READY) ## regenerate the type stub of the native runtime
	$(BIN)/python -m nanobind.stubgen -q -m deltaport.runtime._native -o runtime/_native.pyi

bench: $(READY) ## measure what the documentation claims
	$(BIN)/python -m benchmarks.export_memory
	$(BIN)/python -m benchmarks.kernels

clean: ## remove the virtual environment and everything built
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
