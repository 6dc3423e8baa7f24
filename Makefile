# The named tasks of the project; `make help` lists them. CI (.ci/run) calls the same ones.

# What set-up makes, and what cargo builds, lies here: clones on one machine share it.
AMIS_HOME ?= $(HOME)/.cache/amis
CARGO_TARGET_DIR ?= $(AMIS_HOME)/target

# Looked up whenever a recipe starts, because `setup` may make the folder in this very run.
site_packages = $(shell echo $(AMIS_HOME)/venv/lib/python3*/site-packages)
LIBTORCH = $(site_packages)/torch
ORT_DYLIB_PATH = $(site_packages)/onnxruntime/capi/libonnxruntime.so.1.32.0
AMIS_TENSORRT_RTX_LIB = $(site_packages)/tensorrt_rtx_libs
AMIS_NVRTC_LIB = $(site_packages)/nvidia/cuda_nvrtc/lib:$(site_packages)/nvidia/cu13/lib
LIBCLANG_PATH = $(site_packages)/clang/native
# That libclang comes without the compiler's own headers (stddef.h): it takes those of gcc.
BINDGEN_EXTRA_CLANG_ARGS = -isystem $(shell gcc -print-file-name=include)

environment := CARGO_TARGET_DIR LIBTORCH ORT_DYLIB_PATH AMIS_TENSORRT_RTX_LIB AMIS_NVRTC_LIB LIBCLANG_PATH BINDGEN_EXTRA_CLANG_ARGS
export $(environment)

# One profile for building, linting and testing, so that torch-sys compiles once.
cargo_flags := --release --locked --workspace
# With --workspace the other features stay as they are, and torch-sys is not compiled again.
distributed := --features amis-trainer/distributed

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup env build build-distributed demo results check cross package test test-package test-distributed test-v4l2 test-updates test-arm hil hil-cuda bench bench-data bench-step bench-run bench-calibration bench-cuda soak fuzz clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## packages, virtual environment and crates; does nothing the second time
	@scripts/setup.sh "$(AMIS_HOME)"

# eval "$(make -s env)"
env: setup ## export lines for the shell, to call cargo by hand
	@$(foreach name,$(environment),echo "export $(name)='$($(name))'";)

build: setup ## all programs
	cargo build $(cargo_flags)

# `make build` puts the usual amis-train back in its place.
build-distributed: setup ## amis-train for several processes, with MPI and NCCL
	@scripts/setup-openmpi.sh "$(AMIS_HOME)"
	cargo build $(cargo_flags) $(distributed) --bin amis-train

demo: build ## the whole road on a synthetic data set, into demo-out/
	"$(CARGO_TARGET_DIR)/release/amis-demo" --out demo-out

# make results DATA=data/camvid-voc: hours; it can be stopped, and goes on with the same command.
results: build ## the runs behind docs/results.md, from DATA into OUT
	PATH="$(CARGO_TARGET_DIR)/release:$$PATH" scripts/results.sh "$(DATA)" "$(or $(OUT),runs/results)"

check: setup ## formatting, lints, documentation, licences of the dependencies
	cargo fmt --all --check
	"$(AMIS_HOME)/venv/bin/python" scripts/licences.py
	cargo clippy $(cargo_flags) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(cargo_flags) --no-deps

# The test of the road starts the real programs; cargo builds them with the tests, since their packages have integration tests.
test: setup ## all tests, the demo among them
	cargo test $(cargo_flags)

cross: setup ## amis-run for a Jetson (aarch64, glibc 2.31 and later)
	@scripts/cross.sh "$(AMIS_HOME)"

package: cross ## Debian packages and tarballs of amis-run, for a Jetson and for a PC
	cargo build $(cargo_flags) --bin amis-run
	@scripts/package.sh "$(AMIS_HOME)" "$(CARGO_TARGET_DIR)"

# In roots of Debian, so it has to be root; installs what it needs, and downloads two such roots.
test-package: package ## installs, upgrades, removes and purges the packages
	scripts/test-package.sh "$(AMIS_HOME)" "$(CARGO_TARGET_DIR)/package"

test-distributed: build-distributed ## lints and tests of training by several processes, which start mpirun
	cargo clippy $(cargo_flags) $(distributed) --all-targets -- -D warnings
	cargo test $(cargo_flags) $(distributed) --lib -- distributed::
	cargo test $(cargo_flags) $(distributed) --test distributed

# In a virtual machine without KVM, so it takes minutes; installs qemu if you are root, and downloads a kernel.
test-v4l2: setup ## cameras, on the kernel's virtual camera driver
	cargo test $(cargo_flags) --test v4l2 --no-run
	scripts/test-v4l2.sh "$(AMIS_HOME)" "$(CARGO_TARGET_DIR)/release"

# make test-updates KILLS=1000. As root, for a link of 1 Mbit/s that loses packets; installs nginx, nftables, strace and openssh-server.
test-updates: setup ## updates of devices: power cut and killed anywhere, attacked, and over a bad link
	@scripts/setup-updates.sh
	cargo build $(cargo_flags)
	AMIS_KILLS=$(or $(KILLS),100) AMIS_BAD_LINK=1 cargo test $(cargo_flags) --test update --test updates --test attacks --test deploy

# In an emulator and a virtual machine; installs both if you are root, and downloads a kernel.
test-arm: cross ## tests of amis-run for a Jetson, with ONNX Runtime and on the kernel's virtual camera
	@scripts/cross.sh "$(AMIS_HOME)" test --no-run --lib $(addprefix --test ,sources sinks backend pipeline doctor v4l2)
	scripts/test-arm.sh "$(AMIS_HOME)" "$(CARGO_TARGET_DIR)"

# make hil DEVICE=user@host BUNDLE=... ; scripts/hil.sh says what else it takes.
hil: ## docs/untested.md on the Jetson DEVICE, over ssh; a page about it in OUT (hil-out)
	scripts/hil.sh "$(DEVICE)" "$(or $(OUT),hil-out)"

hil-cuda: build ## docs/untested.md on the GPU of this machine; a page about it in OUT (hil-out)
	scripts/hil-cuda.sh "$(or $(OUT),hil-out)"

bench: bench-data bench-step bench-calibration ## benchmarks, beside their peers in Python

bench-data: setup ## decoding and augmenting, beside PIL and torchvision
	"$(AMIS_HOME)/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r benches/requirements.txt
	AMIS_PYTHON="$(AMIS_HOME)/venv/bin/python" cargo bench --locked --workspace --bench loading

bench-step: setup ## a training step, beside PyTorch: time, memory, losses
	cargo bench --locked --workspace --bench step -- --python "$(AMIS_HOME)/venv/bin/python" --memory

# make bench-run BUNDLE=demo-out/step-2.amis: one thread each, the same frames of 1280x720.
bench-run: build ## the live road beside ONNX Runtime and OpenCV in Python, on BUNDLE
	"$(AMIS_HOME)/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r benches/requirements.txt
	scripts/bench-run.sh "$(CARGO_TARGET_DIR)/release/amis-run" "$(AMIS_HOME)/venv/bin/python" "$(BUNDLE)"

# make soak BUNDLE=demo-out/step-2.amis MINUTES=60
soak: build ## amis-run for MINUTES (5), with what happens to a service every ten seconds
	"$(AMIS_HOME)/venv/bin/python" scripts/soak.py "$(CARGO_TARGET_DIR)/release/amis-run" "$(BUNDLE)" "$(or $(MINUTES),5)"

bench-calibration: setup ## calibration for INT8, beside onnxruntime.quantization: time, memory
	"$(AMIS_HOME)/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r benches/requirements.txt
	AMIS_PYTHON="$(AMIS_HOME)/venv/bin/python" cargo bench --locked --workspace --bench calibration

bench-cuda: setup ## a training step on a CUDA GPU: time, memory, losses against the CPU's
	cargo bench --locked --workspace --bench cuda

# make fuzz SECONDS=20; it runs each target for two minutes.
fuzz: setup ## fuzz targets for what comes from outside, with libFuzzer
	scripts/fuzz.sh "$(or $(SECONDS),120)" $(TARGETS)

clean: ## removes what was built and demo-out/, keeps what set-up made
	cargo clean
	rm -rf demo-out
