# SPDX-License-Identifier: Apache-2.0
# Bare payloads: guests/bare/X.cpp -> build/guests/bare/X.img, an arm64 Image.
# Included by tests.mk; every .cpp in this folder is one payload, by wildcard.

BARE_CXX ?= $(or $(CROSS),aarch64-linux-gnu-)g++
BARE_OBJCOPY ?= $(or $(CROSS),aarch64-linux-gnu-)objcopy
BARE_DIR := build/guests/bare
BARE_FLAGS := -std=c++20 -O2 -g -ffreestanding -fno-exceptions -fno-rtti -fno-threadsafe-statics -fpie \
    -fvisibility=hidden -fno-stack-protector -fno-tree-loop-distribute-patterns -mgeneral-regs-only \
    -mstrict-align -mno-outline-atomics -ffixed-x18 -Wall -Wextra -Wshadow -Werror -I. -MMD -MP
BARE_LINK := -nostdlib -static-pie -Wl,--no-dynamic-linker -Wl,-z,norelro -Wl,--build-id=none \
    -Wl,-T,guests/bare/rt/bare.ld -Wl,--no-warn-rwx-segments
BARE_PAYLOADS := $(patsubst guests/bare/%.cpp,%,$(wildcard guests/bare/*.cpp))
BARE_RT := $(patsubst guests/bare/%,$(BARE_DIR)/%.o,$(wildcard guests/bare/rt/*.cpp guests/bare/rt/*.S))
BARE_IMAGES := $(BARE_PAYLOADS:%=$(BARE_DIR)/%.img)

.PHONY: bare
.PRECIOUS: $(BARE_DIR)/%.elf $(BARE_DIR)/%.cpp.o $(BARE_DIR)/%.S.o
bare: $(BARE_IMAGES)

$(BARE_DIR)/%.cpp.o: guests/bare/%.cpp guests/bare/bare.mk
	@mkdir -p $(@D)
	@$(BARE_CXX) $(BARE_FLAGS) -c $< -o $@
$(BARE_DIR)/%.S.o: guests/bare/%.S guests/bare/bare.mk
	@mkdir -p $(@D)
	@$(BARE_CXX) $(filter-out -mgeneral-regs-only,$(BARE_FLAGS)) -x assembler-with-cpp -c $< -o $@

$(BARE_DIR)/%.elf: $(BARE_DIR)/%.cpp.o $(BARE_RT) guests/bare/rt/bare.ld
	@$(BARE_CXX) $(BARE_LINK) -o $@ $(filter %.o,$^)
$(BARE_DIR)/%.img: $(BARE_DIR)/%.elf
	@$(BARE_OBJCOPY) -O binary $< $@

-include $(wildcard $(BARE_DIR)/*.d $(BARE_DIR)/rt/*.d)
