// SPDX-License-Identifier: Apache-2.0
// Owns: kernels for tests: an arm64 Image header around nothing, with a PE section table on request. Test use
// only.
#pragma once
#include "tests/host/boot/tree.hpp"

namespace atl::test {

struct ImageFields {
    u64 text_offset = 0;
    u64 image_size = 0x10000;
    u64 flags = 0xa;
    std::size_t file_bytes = 4096;
    u64 section_end = 0; // not 0: a PE header whose one section ends here in the file
};

inline void put_le(std::string& bytes, std::size_t at, u64 value, unsigned size) {
    for (unsigned i = 0; i < size; ++i, value >>= 8) {
        bytes[at + i] = static_cast<char>(value & 0xff);
    }
}

inline std::string make_image(const ImageFields& fields = {}) {
    std::string image(fields.file_bytes, '\0');
    put_le(image, 8, fields.text_offset, 8);
    put_le(image, 16, fields.image_size, 8);
    put_le(image, 24, fields.flags, 8);
    put_le(image, 56, 0x644d5241, 4);
    if (fields.section_end != 0) {
        image[0] = 'M';
        image[1] = 'Z';
        put_le(image, 60, 64, 4); // the PE header follows the Image header
        image.replace(64, 4, std::string("PE\0\0", 4));
        put_le(image, 64 + 6, 1, 2);   // one section
        put_le(image, 64 + 20, 16, 2); // optional header of 16 bytes
        put_le(image, 64 + 24 + 16 + 16, fields.section_end - 512, 4);
        put_le(image, 64 + 24 + 16 + 20, 512, 4);
    }
    return image;
}

/// Writes a file into the scratch directory, where /incbin/ finds it by its bare name.
inline void scratch_file(const std::string& name, const std::string& bytes) {
    write_file(scratch() + "/" + name, bytes);
}

} // namespace atl::test
