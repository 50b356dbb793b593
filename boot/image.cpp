// SPDX-License-Identifier: Apache-2.0
// Owns: the arm64 Image header, and the part of its PE/COFF header that tells a whole file from a truncated
// one (image_size counts .bss and cannot tell). Lock: none. Spec: Linux booting.rst section 4; PE/COFF 2.3
// to 4.
#include "boot/image.hpp"

namespace atl::boot {
namespace {

constexpr u32 image_magic = 0x644d'5241; // "ARM\x64", little-endian, at 56
constexpr u64 max_image = 1 * gib;

u64 load_le(std::span<const u8> bytes, std::size_t at, unsigned size) {
    u64 value = 0;
    for (unsigned i = size; i-- > 0;) {
        value = value << 8 | bytes[at + i];
    }
    return value;
}

bool starts_with(std::span<const u8> bytes, std::size_t at, std::string_view text) {
    if (bytes.size() < at + text.size()) {
        return false;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (bytes[at + i] != static_cast<u8>(text[i])) {
            return false;
        }
    }
    return true;
}

/// Bytes that the file must have by its PE section table; 0 when it has no PE header.
u64 pe_file_bytes(std::span<const u8> bytes) {
    if (!starts_with(bytes, 0, "MZ")) {
        return 0;
    }
    const u64 pe = load_le(bytes, 60, 4);
    if (pe < image_header_bytes) {
        return 0; // e.g. 0: no EFI stub
    }
    if (pe + 24 > bytes.size()) {
        return pe + 24;
    }
    if (!starts_with(bytes, pe, std::string_view("PE\0\0", 4))) {
        return 0;
    }
    const u64 sections = load_le(bytes, pe + 6, 2);
    const u64 table = pe + 24 + load_le(bytes, pe + 20, 2);
    u64 needed = table + sections * 40;
    for (u64 i = 0; i < sections && table + (i + 1) * 40 <= bytes.size(); ++i) {
        const u64 end = load_le(bytes, table + i * 40 + 16, 4) + load_le(bytes, table + i * 40 + 20, 4);
        needed = end > needed ? end : needed;
    }
    return needed;
}

} // namespace

Result<ImageHeader> parse_image(std::span<const u8> bytes) {
    if (bytes.size() < image_header_bytes || load_le(bytes, 56, 4) != image_magic) {
        return Error::corrupt;
    }
    const u64 text_offset = load_le(bytes, 8, 8);
    const u64 image_size = load_le(bytes, 16, 8);
    const u64 flags = load_le(bytes, 24, 8);
    if (image_size == 0 || (flags & 1) != 0) {
        return Error::not_supported;
    }
    if (text_offset % page_size != 0 || text_offset >= max_image || image_size > max_image) {
        return Error::invalid_argument;
    }
    if (pe_file_bytes(bytes) > bytes.size()) {
        return Error::overflow;
    }
    ImageHeader header;
    header.text_offset = text_offset;
    header.memory_bytes = image_size > bytes.size() ? image_size : bytes.size();
    const u64 page = flags >> 1 & 3; // 1: 4 KiB, 2: 16 KiB, 3: 64 KiB
    header.page_kib = page == 0 ? 0 : u32{1} << (2 * page);
    header.anywhere = (flags & 8) != 0;
    return header;
}

std::string_view why_not_image(std::span<const u8> bytes) {
    if (bytes.empty()) {
        return "the file is empty";
    }
    if (starts_with(bytes, 0, "\x1f\x8b")) {
        return "it is compressed with gzip; `make bundle` unpacks kernels when it builds a bundle";
    }
    if (starts_with(bytes, 0, "MZ") && starts_with(bytes, 4, "zimg")) {
        return "it is an EFI zboot kernel; `make bundle` unpacks kernels when it builds a bundle";
    }
    if (starts_with(bytes, 0,
                    "\x7f"
                    "ELF")) {
        return "it is an ELF file; an arm64 Image is wanted, or type = \"raw\" with a raw binary";
    }
    if (bytes.size() < image_header_bytes) {
        return "it is shorter than the 64 bytes of an arm64 Image header";
    }
    if (load_le(bytes, 56, 4) != image_magic) {
        return "no arm64 Image magic \"ARM\\x64\" at byte 56";
    }
    if (load_le(bytes, 16, 8) == 0) {
        return "its header has image_size 0 (a kernel before 3.17)";
    }
    if ((load_le(bytes, 24, 8) & 1) != 0) {
        return "it is a big-endian kernel";
    }
    if (pe_file_bytes(bytes) > bytes.size()) {
        return "it is truncated: its own section table names more bytes than the file has";
    }
    return "text_offset is no multiple of 4 KiB, or text_offset or image_size exceeds 1 GiB";
}

} // namespace atl::boot
