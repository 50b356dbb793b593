# SPDX-License-Identifier: Apache-2.0
# The test side of the build: host tests, bare payloads, bundles of the QEMU cases, image checks, lint, bench, fuzz.
# Included by the Makefile, which builds build/atoll.elf, build/atoll.img and build/initramfs-*.cpio.gz.
# Every set of files is a wildcard: nothing can be forgotten. Works alone too: make -f tests.mk host-tests.

PYTHON ?= /usr/bin/python3
HOST_CXX ?= g++
FUZZ_CXX ?= clang++

include guests/bare/bare.mk

# ---- host tests ------------------------------------------------------------------------------------------------
# Every pure source, a second time, with sanitizers. lib/crt has other names on the host [lib/crt/string.hpp].
HOST_DIRS := $(wildcard lib el2 stage2 vgic vtimer smmu mmio_emul pci boot)
HOST_SOURCES := $(sort $(shell find $(HOST_DIRS) -name '*.cpp' ! -name '*_hw.cpp'))
HOST_TESTS := $(sort $(shell find tests/host tests/support -name '*.cpp'))
# The tests themselves are not optimised: that triples what it takes to compile doctest's macros. A model of every page
# is the exception.
HOST_OPT := -O1
build/host/tests/%: HOST_OPT := -O0 -DDOCTEST_CONFIG_SUPER_FAST_ASSERTS
build/host/tests/host/stage2/%: HOST_OPT := -O1
HOST_FLAGS := -std=c++20 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
    -Wall -Wextra -Wshadow -Werror -I. -DATOLL_HOST=1 -DATOLL_DEBUG=1 -MMD -MP
HOST_OBJECTS := $(HOST_SOURCES:%.cpp=build/host/%.o)
HOST_TEST_OBJECTS := $(HOST_TESTS:%.cpp=build/host/%.o)
HOST_BINARY := build/host/host_tests

build/host/%.o: %.cpp tests.mk
	@mkdir -p $(@D)
	@$(HOST_CXX) $(HOST_OPT) $(HOST_FLAGS) -c $< -o $@

# The sources form an archive so that one that nothing tests yet cannot break the link of the others' tests.
build/host/libatoll.a: $(HOST_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^
$(HOST_BINARY): $(HOST_TEST_OBJECTS) build/host/libatoll.a
	@$(HOST_CXX) -fsanitize=address,undefined -o $@ $^ -lfdt

.PHONY: host-tests-build host-tests
host-tests-build: $(HOST_BINARY)
host-tests: $(HOST_BINARY)
	./$(HOST_BINARY) $(HOST_ARGS)

-include $(wildcard $(HOST_OBJECTS:.o=.d) $(HOST_TEST_OBJECTS:.o=.d))

# ---- bundles of the QEMU cases ---------------------------------------------------------------------------------
# A bundle depends on what its manifest includes. An include is looked for beside the manifest, in the repository,
# in build/ and in .deps/, as tools/bundle.py does.
# A manifest for a kernel series that this Debian release does not offer is left out (its case is skipped).
ABSENT := $(if $(wildcard .deps/kernels/6.1/Image),,%-6.1.dts) $(if $(wildcard .deps/kernels/6.12/Image),,%-6.12.dts)
MANIFESTS := $(filter-out $(ABSENT),$(sort $(wildcard guests/manifests/*.dts)))
GALLERY := $(sort $(wildcard guests/manifests/gallery/*.dts))
BUNDLES := $(MANIFESTS:guests/manifests/%.dts=build/bundles/%.bundle)
GALLERY_BUNDLES := $(GALLERY:guests/manifests/gallery/%.dts=build/bundles/gallery/%.bundle)

included = $(shell awk -F'"' '/incbin/ { print $$2 }' $(1) 2>/dev/null | sort -u)
resolved = $(foreach f,$(call included,$(1)),$(firstword $(wildcard $(f) .deps/$(f)) build/$(f)))
define bundle_inputs
build/bundles/$(1).bundle: $(call resolved,guests/manifests/$(1).dts)
endef
$(foreach m,$(MANIFESTS:guests/manifests/%.dts=%) $(GALLERY:guests/manifests/%.dts=%),$(eval $(call bundle_inputs,$(m))))

# The gallery of bad manifests goes past tools/bundle.py, which would refuse some of them, straight through dtc.
build/bundles/gallery/%.bundle: guests/manifests/gallery/%.dts
	@mkdir -p $(@D)
	@dtc -q -f -I dts -O dtb -i guests/manifests/gallery -i . -i build -i .deps -o $@ $<
build/bundles/%.bundle: guests/manifests/%.dts tools/bundle.py
	@mkdir -p $(@D)
	@$(PYTHON) tools/bundle.py $< $@

.PHONY: bundles bundle-ready
# For `make bundle`: what this repository builds of the files that MANIFEST includes.
bundle-ready: $(if $(MANIFEST),$(filter build/initramfs-% build/guests/%,$(call resolved,"$(MANIFEST)")))
bundles: $(BUNDLES) $(GALLERY_BUNDLES)

# ---- fault injection -------------------------------------------------------------------------------------------
# Images of an EL2 that leaves one thing out, so that the cases which look for it are seen to notice. $(1): the image,
# $(2): the source that has the #ifndef, $(3): what it asks for.
define fault_image
build/fault/$(1)/$(2).o: $(2) Makefile | $(DEPS)/libfdt/libfdt.a
	@mkdir -p $$(@D)
	@$$(CXX) $$(CXXFLAGS) -D$(3) -c $$< -o $$@
-include build/fault/$(1)/$(2:.cpp=.cpp.d)
build/$(1).img: build/atoll.elf build/fault/$(1)/$(2).o
	@$$(CXX) $$(LDFLAGS) $$(filter-out %/$(2).o,$$(OBJECTS)) build/fault/$(1)/$(2).o build/symbols.S \
	    $(DEPS)/libfdt/libfdt.a -o build/fault/$(1).elf
	@$(CROSS)objcopy -O binary build/fault/$(1).elf $$@
endef
# The SMMU forgotten when a mapping goes away; a device of a VM that ended, left running.
$(eval $(call fault_image,atoll-fault,boot/passthrough_hw.cpp,ATOLL_FAULT_DROP_SMMU_TLBI))
$(eval $(call fault_image,atoll-fault-running,el2/passthrough.cpp,ATOLL_FAULT_LEAVE_RUNNING))
.PHONY: fault-images
fault-images: build/atoll-fault.img build/atoll-fault-running.img

# ---- checks ----------------------------------------------------------------------------------------------------
.PHONY: image-checks lint qemu-tests torture test bench bench-share bench-irq fuzz
image-checks: build/atoll.elf
	$(PYTHON) tools/check_image.py build/atoll.elf

lint: setup
	@$(PYTHON) tools/lint.py

qemu-tests: build/atoll.img fault-images bundles
	$(PYTHON) tests/qemu/run.py $(CASES)

# The cases under stress, each with ROUNDS times as much, one at a time.
ROUNDS ?= 20
torture: setup
	@$(MAKE) -s $(PARALLEL) build/atoll.img build/bundles/stress.bundle build/bundles/stress-devices.bundle
	$(PYTHON) tests/qemu/run.py --torture $(ROUNDS) -j1 $(CASES)

# Each step builds what it needs and counts as failed when it cannot; the last line is the sum.
test: setup
	@$(PYTHON) tests/run.py

# ---- bench -----------------------------------------------------------------------------------------------------
build/libelcount.so: tools/elcount/elcount.c
	@mkdir -p $(@D)
	gcc -O2 -Wall -Wextra -Werror -fPIC -shared -o $@ $<

# The bench's initramfs: the usual one and a first command that marks its own start.
build/bench/mark: tests/bench/mark.S
	@mkdir -p $(@D)
	@$(BARE_CXX) -nostdlib -static -Wl,--build-id=none -o $@ $<
build/bench/initramfs.cpio.gz: build/bench/mark $(wildcard guests/linux/initramfs/*)
	@$(PYTHON) guests/linux/initramfs/mkinitramfs.py .deps/kernels/default $@ build/bench/mark:/mark

BENCH_BUNDLES := bench bench-one bench-shared-cpu bench-linux
bench: build/atoll.img build/libelcount.so $(BENCH_BUNDLES:%=build/bundles/%.bundle)
	$(PYTHON) tests/bench/run.py $(BENCH)
bench-share: build/atoll.img build/bundles/bench-share.bundle build/bundles/bench-share-dma.bundle
	$(PYTHON) tests/bench/share.py $(BENCH)

bench-irq: build/atoll.img build/guests/bare/bench_irq.img \
    $(foreach b,bench-irq bench-irq-vi bench-late-alone bench-late-shared,build/bundles/$(b).bundle)
	$(PYTHON) tests/bench/irq.py $(BENCH)

# ---- fuzz ------------------------------------------------------------------------------------------------------
# Each tests/fuzz/X_fuzz.cpp: libFuzzer for FUZZ_SECONDS, bounded.
FUZZ_SECONDS ?= 60
FUZZ_FLAGS := -std=c++20 -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -I. \
    -DATOLL_HOST=1 -MMD -MP
FUZZERS := $(patsubst tests/fuzz/%.cpp,build/fuzz/%,$(wildcard tests/fuzz/*_fuzz.cpp))
FUZZ_OBJECTS := $(patsubst %.cpp,build/fuzz/%.o,$(HOST_SOURCES) $(addprefix tests/support/,host_panic.cpp gic_fake_lr.cpp \
    its_model.cpp its_model_virtual.cpp))
build/fuzz/%.o: %.cpp
	@mkdir -p $(@D)
	@$(FUZZ_CXX) $(FUZZ_FLAGS) -c $< -o $@
build/fuzz/libatoll.a: $(FUZZ_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^
build/fuzz/%_fuzz: build/fuzz/tests/fuzz/%_fuzz.o build/fuzz/libatoll.a
	@$(FUZZ_CXX) -fsanitize=fuzzer,address,undefined $^ -o $@ -lfdt
-include $(wildcard $(FUZZ_OBJECTS:.o=.d))
.PRECIOUS: build/fuzz/%.o
fuzz: $(FUZZERS)
	@for f in $(FUZZERS); do echo "fuzz: $$f"; mkdir -p $$f.corpus && \
	    $$f -len_control=0 -max_len=4096 -max_total_time=$(FUZZ_SECONDS) -print_final_stats=0 $$f.corpus || exit 1; done
