# SPDX-License-Identifier: Apache-2.0
# Atoll. `make run` and `make test` do everything on a fresh Debian machine; `make help` lists the rest.

CROSS   ?= aarch64-linux-gnu-
PYTHON  ?= /usr/bin/python3
QEMU    ?= qemu-system-aarch64
DEBUG   ?= 0
B       := build
DEPS    := .deps

# Make and the kernel's build both split names at spaces and colons.
ifneq ($(words $(CURDIR))$(findstring :,$(CURDIR)),1)
$(error the folder "$(CURDIR)" has a space or a colon in its name, which make cannot build in: rename or move it)
endif
# Our own sub-makes use every CPU, unless somebody gave a number.
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

# ---- what is compiled: every source, by wildcard, so that nothing is forgotten -------------------------------------
FOLDERS := lib boot el2 stage2 vgic vtimer smmu pci mmio_emul
SOURCES := $(sort $(wildcard $(addsuffix /*.cpp,$(FOLDERS)) $(addsuffix /*/*.cpp,$(FOLDERS)) \
                             $(addsuffix /*.S,$(FOLDERS)) $(addsuffix /*/*.S,$(FOLDERS))))
OBJECTS := $(addprefix $(B)/el2obj/,$(addsuffix .o,$(SOURCES)))

CXX     := $(CROSS)g++
WARN    := -Wall -Wextra -Wshadow -Werror
# el2/vectors.S leaves x10-x15 and x18 of a guest in the CPU: C++ must not touch them.
GUEST_REGISTERS := $(addprefix -ffixed-x,10 11 12 13 14 15 18)
CXXFLAGS := -std=c++20 -O2 -g -ffreestanding -fno-exceptions -fno-rtti -fno-pic -fno-pie -mgeneral-regs-only \
            -mno-outline-atomics -fno-threadsafe-statics -fno-asynchronous-unwind-tables -fno-omit-frame-pointer \
            -momit-leaf-frame-pointer -fstack-protector-strong -mstack-protector-guard=global \
            $(GUEST_REGISTERS) -ffunction-sections -fdata-sections -fno-common $(WARN) -I. -I$(DEPS)/libfdt/include -MMD -MP
ifneq ($(DEBUG),0)
CXXFLAGS += -DATOLL_DEBUG=1
endif
LDFLAGS := -nostdlib -static -no-pie -Wl,-T,linker.ld -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,max-page-size=4096 \
           -Wl,--no-warn-rwx-segments

.PHONY: all setup run demo demo-ready demo-dma demo-dma-ready bundle debug help clean
all: $(B)/atoll.img

setup:
	@tools/setup.sh

$(DEPS)/libfdt/libfdt.a $(DEPS)/tools/cyclictest:
	@tools/setup.sh

$(B)/el2obj/lib/crt/%.o: CXXFLAGS += -fno-builtin -fno-tree-loop-distribute-patterns -fno-stack-protector
# For teaching [docs/adr/0024]: small before fast.
$(B)/el2obj/vgic/switch_soft_hw.cpp.o $(B)/el2obj/vgic/soft_%.cpp.o: CXXFLAGS += -Os
$(B)/el2obj/%.cpp.o: %.cpp Makefile | $(DEPS)/libfdt/libfdt.a
	@mkdir -p $(@D)
	@$(CXX) $(CXXFLAGS) -c $< -o $@
$(B)/el2obj/%.S.o: %.S | $(DEPS)/libfdt/libfdt.a
	@mkdir -p $(@D)
	@$(CXX) -g -MMD -MP -I. -c $< -o $@

# Linked twice: the second time with the image's own symbol table, for the backtrace of a panic.
$(B)/atoll.elf: $(OBJECTS) linker.ld tools/symbols.py $(DEPS)/libfdt/libfdt.a
	@printf '    .section .symbols, "a"\n    .balign 8\n    .global image_symbols\nimage_symbols: .quad 0\n' > $(B)/symbols0.S
	@$(CXX) $(LDFLAGS) $(OBJECTS) $(B)/symbols0.S $(DEPS)/libfdt/libfdt.a -o $(B)/atoll.pass1.elf
	@$(PYTHON) tools/symbols.py $(CROSS)nm $(B)/atoll.pass1.elf $(B)/symbols.S
	@$(CXX) $(LDFLAGS) $(OBJECTS) $(B)/symbols.S $(DEPS)/libfdt/libfdt.a -o $@
	@echo "  LINK   $@"

$(B)/atoll.img: $(B)/atoll.elf
	@$(CROSS)objcopy -O binary $< $@
	@echo "  IMAGE  $@ ($$(stat -c %s $@) bytes)"

# ---- guests: the modules lagoon and edu, their tools, one initramfs for each kernel -------------------------------
KERNELS := $(notdir $(patsubst %/Image,%,$(filter-out %/default/Image,$(wildcard $(DEPS)/kernels/*/Image))))
INITRAMFS_PARTS := $(wildcard guests/linux/initramfs/*) $(wildcard guests/linux/demo/*)

$(B)/guests/linux/lagoon: $(wildcard guests/linux/tools/*) guests/linux/lagoon/lagoon_uapi.h guests/linux/check/lagoon_check.h
	@$(MAKE) -s -C guests/linux/tools OUT=$(abspath $(@D)) CROSS_COMPILE=$(CROSS)
	@touch $@

$(B)/guests/linux/edu: $(wildcard guests/linux/edu/tool/*) guests/linux/edu/edu_uapi.h $(wildcard guests/linux/tools/*)
	@$(MAKE) -s -C guests/linux/edu/tool OUT=$(abspath $(@D)) CROSS_COMPILE=$(CROSS)
	@touch $@

define kernel_rules
$(B)/guests/linux/$(1)/lagoon.ko: $(wildcard guests/linux/lagoon/*) lib/abi/ffa.h
	@CROSS_COMPILE=$(CROSS) guests/linux/lagoon/build.sh $(DEPS)/kernels/$(1)/build $$(@D)
$(B)/guests/linux/$(1)/check/lagoon_check.ko: $(wildcard guests/linux/check/*) guests/linux/lagoon/compat.h
	@CROSS_COMPILE=$(CROSS) guests/linux/lagoon/build.sh $(DEPS)/kernels/$(1)/build $$(@D) guests/linux/check
$(B)/guests/linux/$(1)/edu/edu.ko: $(wildcard guests/linux/edu/*.* guests/linux/edu/Kbuild)
	@CROSS_COMPILE=$(CROSS) guests/linux/lagoon/build.sh $(DEPS)/kernels/$(1)/build $$(@D) guests/linux/edu
$(B)/initramfs-$(1).cpio.gz: $(B)/guests/linux/$(1)/lagoon.ko $(B)/guests/linux/$(1)/check/lagoon_check.ko \
                             $(B)/guests/linux/$(1)/edu/edu.ko $(B)/guests/linux/lagoon $(B)/guests/linux/edu $(INITRAMFS_PARTS)
	@$(PYTHON) guests/linux/initramfs/mkinitramfs.py $(DEPS)/kernels/$(1) $$@ \
	    $$<:/lib/modules/{abi}/extra/lagoon.ko \
	    $(B)/guests/linux/$(1)/check/lagoon_check.ko:/lib/modules/{abi}/extra/lagoon_check.ko \
	    $(B)/guests/linux/$(1)/edu/edu.ko:/lib/modules/{abi}/extra/edu.ko $(B)/guests/linux/edu:/usr/bin/edu \
	    $(B)/guests/linux/lagoon:/usr/bin/lagoon guests/linux/demo:/demo
# For the stress tests: their scripts, cyclictest, and the kernel's packet generator.
$(B)/initramfs-stress-$(1).cpio.gz: $(wildcard guests/linux/initramfs/* guests/linux/stress/*) $(DEPS)/tools/cyclictest
	@mkdir -p $$(@D)
	@$(PYTHON) guests/linux/initramfs/mkinitramfs.py --modules 'nvme e1000e igb pktgen' $(DEPS)/kernels/$(1) $$@ \
	    guests/linux/stress:/stress $(DEPS)/tools/cyclictest:/usr/bin/cyclictest $(DEPS)/tools/lib:/lib
endef
$(foreach k,$(KERNELS),$(eval $(call kernel_rules,$(k))))

$(B)/initramfs%default.cpio.gz: $(B)/initramfs%$(notdir $(realpath $(DEPS)/kernels/default)).cpio.gz
	@ln -sf $(<F) $@

# ---- set-up first, then make again with what it has brought, so that the wildcards above see it --------------------
# Bundles: a manifest and what it names, in one device-tree blob. What this repository builds of it is built first.
bundle: setup
	@test -n "$(MANIFEST)" -a -n "$(OUT)" || { echo "usage: make bundle MANIFEST=x.dts OUT=x.bundle" >&2; exit 2; }
	@$(MAKE) -s $(PARALLEL) bundle-ready
	@$(PYTHON) tools/bundle.py "$(MANIFEST)" "$(OUT)"

QEMU_LINE := $(QEMU) -M virt,virtualization=on -cpu cortex-a72 -smp 2 -m 2G -nographic -nodefaults \
             -serial mon:stdio -kernel $(B)/atoll.img -initrd $(B)/demo.bundle

run: setup
	@$(MAKE) -s $(PARALLEL) demo-ready
	@$(PYTHON) tools/demo.py --stay -- $(QEMU_LINE)

demo: setup
	@$(MAKE) -s $(PARALLEL) demo-ready
	@$(PYTHON) tools/demo.py -- $(QEMU_LINE)

demo-dma: setup
	@$(MAKE) -s $(PARALLEL) demo-dma-ready
	@$(PYTHON) tools/demo_dma.py

debug: setup
	@$(MAKE) -s $(PARALLEL) demo-ready
	@echo "QEMU waits for gdb on port 1234. In another terminal: gdb-multiarch -x tools/atoll.gdb $(B)/atoll.elf"
	$(QEMU_LINE) -S -gdb tcp:127.0.0.1:1234

$(B)/demo.bundle: $(B)/bundles/demo.bundle
	@ln -sf bundles/$(@F) $@

demo-ready: $(B)/atoll.img $(B)/demo.bundle
demo-dma-ready: $(B)/atoll.img $(B)/libelcount.so $(addprefix $(B)/bundles/demo-dma,.bundle -ways.bundle -one.bundle)

help:
	@echo "make run      set up, build, boot two Linux guests that share a buffer; leaves you at their shells"
	@echo "make demo     the same without a person: prints the story, succeeds only if every step was verified"
	@echo "make demo-dma a file goes from one guest's disk to another guest's network card without a copy"
	@echo "make test     all tests: host, image checks, lint, QEMU cases"
	@echo "make          build/atoll.elf and build/atoll.img"
	@echo "make bundle MANIFEST=x.dts OUT=x.bundle   VMs and their images in one file for -initrd"
	@echo "make debug    QEMU waits for gdb; tools/atoll.gdb helps"
	@echo "make bench    instruction counts beside other hypervisors'"
	@echo "make bench-irq    interrupts from cause to handler, how late timers are, in instructions"
	@echo "make bench-share  what sharing and lending cost, per page, in instructions"
	@echo "make torture ROUNDS=20   Linux guests under interrupt stress, for long"
	@echo "make lint, make fuzz, make setup, make clean"

clean:
	rm -rf $(B)

-include tests.mk
-include $(OBJECTS:.o=.d)
