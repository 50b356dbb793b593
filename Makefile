# SPDX-License-Identifier: Apache-2.0
# Atoll. `make run` and `make test` do everything on a fresh Debian machine; `make help` lists the rest.

CROSS   ?= aarch64-linux-gnu-
PYTHON  ?= /usr/bin/python3
QEMU    ?= qemu-system-aarch64
DEBUG   ?= 0
B       := build
DEPS    := .deps

# ---- what is compiled: every source, by wildcard, so that nothing is forgotten -------------------------------------
FOLDERS := lib boot el2 stage2 vgic vtimer smmu pci mmio_emul
SOURCES := $(sort $(wildcard $(addsuffix /*.cpp,$(FOLDERS)) $(addsuffix /*/*.cpp,$(FOLDERS)) \
                             $(addsuffix /*.S,$(FOLDERS)) $(addsuffix /*/*.S,$(FOLDERS))))
OBJECTS := $(addprefix $(B)/el2obj/,$(addsuffix .o,$(SOURCES)))

CXX     := $(CROSS)g++
WARN    := -Wall -Wextra -Wshadow -Werror
CXXFLAGS := -std=c++20 -O2 -g -ffreestanding -fno-exceptions -fno-rtti -fno-pic -fno-pie -mgeneral-regs-only \
            -mno-outline-atomics -fno-threadsafe-statics -fno-asynchronous-unwind-tables -fno-omit-frame-pointer \
            -mno-omit-leaf-frame-pointer -fstack-protector-strong -mstack-protector-guard=global \
            -ffunction-sections -fdata-sections -fno-common $(WARN) -I. -I$(DEPS)/libfdt/include -MMD -MP
ifneq ($(DEBUG),0)
CXXFLAGS += -DATOLL_DEBUG=1
endif
LDFLAGS := -nostdlib -static -no-pie -Wl,-T,linker.ld -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,max-page-size=4096 \
           -Wl,--no-warn-rwx-segments

.PHONY: all setup run demo test bundle debug help clean
all: $(B)/atoll.img

setup:
	@tools/setup.sh

$(DEPS)/libfdt/libfdt.a: | setup

$(B)/el2obj/lib/crt/%.o: CXXFLAGS += -fno-builtin -fno-tree-loop-distribute-patterns -fno-stack-protector
$(B)/el2obj/%.cpp.o: %.cpp
	@mkdir -p $(@D)
	@$(CXX) $(CXXFLAGS) -c $< -o $@
$(B)/el2obj/%.S.o: %.S
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

# ---- bundles: a manifest and what it names, in one device-tree blob -----------------------------------------------
bundle:
	@test -n "$(MANIFEST)" -a -n "$(OUT)" || { echo "usage: make bundle MANIFEST=x.dts OUT=x.bundle" >&2; exit 2; }
	@$(PYTHON) tools/bundle.py $(MANIFEST) $(OUT)

clean:
	rm -rf $(B)

-include tests.mk
-include $(OBJECTS:.o=.d)
