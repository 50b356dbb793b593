// SPDX-License-Identifier: Apache-2.0
// Looks an EL2 address up in the table that tools/symbols.py appends to the image.
#include "el2/symbols.hpp"

#include "lib/arch/sysreg_hw.hpp"

extern "C" {
extern char image_start[];
extern char text_end[];
struct ImageSymbols {
    atl::u32 count;
    atl::u32 reserved;
    struct {
        atl::u32 offset;
        atl::u32 name;
    } entry[];
};
extern const ImageSymbols image_symbols;
}

namespace atl::el2 {

Symbol find_symbol(HypVa address) {
    const u64 start = reinterpret_cast<u64>(image_start);
    const u64 end = reinterpret_cast<u64>(text_end);
    if (address.value < start || address.value >= end || image_symbols.count == 0) {
        return {};
    }
    const u64 offset = address.value - start;
    u32 low = 0;
    u32 high = image_symbols.count;
    while (high - low > 1) {
        const u32 middle = low + (high - low) / 2;
        (image_symbols.entry[middle].offset <= offset ? low : high) = middle;
    }
    const char* const names =
        static_cast<const char*>(static_cast<const void*>(&image_symbols.entry[image_symbols.count]));
    return {names + image_symbols.entry[low].name, offset - image_symbols.entry[low].offset};
}

bool is_code(HypVa address) {
    return address.value >= reinterpret_cast<u64>(image_start) &&
           address.value < reinterpret_cast<u64>(text_end);
}

} // namespace atl::el2
