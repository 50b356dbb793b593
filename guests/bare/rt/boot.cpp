// SPDX-License-Identifier: Apache-2.0
// Entry from start.S, the little of the device tree that payloads want, and mem* for the compiler.
#include "guests/bare/rt/rt.hpp"

namespace atl::bare {
namespace {

const u8* device_tree = nullptr;

u32 be32(u64 offset) {
    u32 word;
    __builtin_memcpy(&word, device_tree + offset, 4);
    return __builtin_bswap32(word);
}

bool same(const char* a, const char* b) {
    while (*a != '\0' && *a == *b) {
        ++a;
        ++b;
    }
    return *a == *b;
}

} // namespace

bool device_tree_valid() {
    return device_tree != nullptr && (reinterpret_cast<u64>(device_tree) & 7) == 0 && be32(0) == 0xd00d'feed;
}

namespace {

struct Property {
    bool in_chosen; // else of any node
    const char* name;
    const char* value;
    u32 length;
};

/// Calls visit(Property) until it returns true: walks the structure block of a flattened device tree, version 17
/// [Devicetree Specification §5].
template <class Visit>
void each_property(Visit visit) {
    if (!device_tree_valid()) {
        return;
    }
    u64 at = be32(8);
    const u64 strings = be32(12);
    const u64 end = at + be32(36);
    unsigned depth = 0;
    bool in_chosen = false;
    while (at + 4 <= end) {
        const u32 token = be32(at);
        at += 4;
        if (token == 1) { // FDT_BEGIN_NODE
            const char* name = reinterpret_cast<const char*>(device_tree + at);
            ++depth;
            in_chosen = depth == 2 && same(name, "chosen");
            u64 length = 0;
            while (name[length] != '\0') {
                ++length;
            }
            at += (length + 4) & ~u64{3};
        } else if (token == 2) { // FDT_END_NODE
            --depth;
            in_chosen = false;
        } else if (token == 3) { // FDT_PROP
            const u32 length = be32(at);
            const char* name = reinterpret_cast<const char*>(device_tree + strings + be32(at + 4));
            if (visit(
                    Property{in_chosen, name, reinterpret_cast<const char*>(device_tree + at + 8), length})) {
                return;
            }
            at += 8 + ((u64{length} + 3) & ~u64{3});
        } else if (token != 4) { // FDT_NOP goes on, FDT_END stops
            return;
        }
    }
}

} // namespace

const char* bootargs() {
    const char* text = "";
    each_property([&](const Property& p) {
        const bool found = p.in_chosen && same(p.name, "bootargs");
        text = found ? p.value : text;
        return found;
    });
    return text;
}

bool has_compatible(const char* word) {
    bool found = false;
    each_property([&](const Property& p) {
        if (!same(p.name, "compatible")) {
            return false;
        }
        for (u32 i = 0; i < p.length && !found;) { // a list of strings
            found = same(p.value + i, word);
            while (i < p.length && p.value[i++] != '\0') {
            }
        }
        return found;
    });
    return found;
}

bool has_option(const char* word) {
    const char* p = bootargs();
    while (*p != '\0') {
        const char* w = word;
        while (*w != '\0' && *p == *w) {
            ++p;
            ++w;
        }
        if (*w == '\0' && (*p == ' ' || *p == '\0')) {
            return true;
        }
        while (*p != '\0' && *p != ' ') {
            ++p;
        }
        while (*p == ' ') {
            ++p;
        }
    }
    return false;
}

} // namespace atl::bare

using namespace atl;

extern "C" {

void payload_start(const u8* fdt) {
    bare::device_tree = fdt;
    payload();
    bare::finish();
}

void* memset(void* to, int value, std::size_t bytes) {
    u8* p = static_cast<u8*>(to);
    for (std::size_t i = 0; i < bytes; ++i) {
        p[i] = static_cast<u8>(value);
    }
    return to;
}

void* memcpy(void* to, const void* from, std::size_t bytes) {
    u8* p = static_cast<u8*>(to);
    const u8* q = static_cast<const u8*>(from);
    for (std::size_t i = 0; i < bytes; ++i) {
        p[i] = q[i];
    }
    return to;
}

} // extern "C"
