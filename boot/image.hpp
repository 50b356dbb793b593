// SPDX-License-Identifier: Apache-2.0
// Owns: reading the header of an arm64 Linux Image [Linux Documentation/arch/arm64/booting.rst, section 4]
// and finding out what a file is when it is none. Does not own: where it is put (guest_dt). Lock: none. Input
// is untrusted.
#pragma once
#include <span>
#include <string_view>

#include "lib/result.hpp"

namespace atl::boot {

constexpr std::size_t image_header_bytes = 64;
constexpr u64 image_placement = 2 * mib; // text_offset counts from a base of this alignment

struct ImageHeader {
    u64 text_offset = 0;   // where the first byte goes, from a 2 MiB aligned base
    u64 memory_bytes = 0;  // what the image occupies once it runs, .bss included; >= the file's size
    u32 page_kib = 0;      // the kernel's page size, 0: not specified
    bool anywhere = false; // may lie anywhere in RAM, not only near its base
};

/// corrupt: no Image. not_supported: big-endian or a legacy header (image_size 0). overflow: the file is
/// shorter than its own PE sections (truncated). invalid_argument: offsets that no loader can satisfy.
/// why_not_image() explains.
Result<ImageHeader> parse_image(std::span<const u8> bytes);

/// Why parse_image() refused these bytes: half a sentence for a person.
std::string_view why_not_image(std::span<const u8> bytes);

} // namespace atl::boot
