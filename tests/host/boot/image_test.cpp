// SPDX-License-Identifier: Apache-2.0
// Tests of boot/image: the arm64 Image header, truncation, and what people pass by mistake.
#include <doctest/doctest.h>

#include "boot/image.hpp"
#include "tests/host/boot/kernel.hpp"

using namespace atl;
using namespace atl::boot;
using test::ImageFields;
using test::make_image;

namespace {
std::span<const u8> bytes(const std::string& text) {
    return {reinterpret_cast<const u8*>(text.data()), text.size()};
}
bool explains(const std::string& image, std::string_view part) {
    return std::string(why_not_image(bytes(image))).find(part) != std::string::npos;
}
} // namespace

TEST_CASE("image: a good header") {
    ImageFields fields;
    fields.text_offset = 0x80000;
    fields.image_size = 0x200000;
    fields.flags = 0xa; // 4 KiB pages, anywhere
    const std::string image = make_image(fields);
    const auto header = parse_image(bytes(image));
    REQUIRE(header.ok());
    CHECK(header->text_offset == 0x80000);
    CHECK(header->memory_bytes == 0x200000);
    CHECK(header->page_kib == 4);
    CHECK(header->anywhere);
    fields.flags = 6; // 64 KiB
    CHECK(parse_image(bytes(make_image(fields)))->page_kib == 64);
    fields.flags = 0;
    fields.image_size = 8; // smaller than the file: the file counts
    CHECK(parse_image(bytes(make_image(fields)))->memory_bytes == fields.file_bytes);
}

TEST_CASE("image: what is refused, and why") {
    CHECK(parse_image({}).error() == Error::corrupt);
    CHECK(explains("", "empty"));
    CHECK(explains(std::string(63, 'x'), "shorter than the 64 bytes"));
    CHECK(explains(std::string(64, 'x'), "no arm64 Image magic"));
    CHECK(explains("\x1f\x8b" + std::string(80, 'x'), "gzip"));
    CHECK(explains("MZ??zimg" + std::string(80, 'x'), "zboot"));
    CHECK(explains("\x7f"
                   "ELF" +
                       std::string(80, 'x'),
                   "ELF"));
    ImageFields fields;
    fields.image_size = 0;
    CHECK(parse_image(bytes(make_image(fields))).error() == Error::not_supported);
    CHECK(explains(make_image(fields), "image_size 0"));
    fields = {};
    fields.flags = 1;
    CHECK(parse_image(bytes(make_image(fields))).error() == Error::not_supported);
    CHECK(explains(make_image(fields), "big-endian"));
    fields = {};
    fields.text_offset = 0x801;
    CHECK(parse_image(bytes(make_image(fields))).error() == Error::invalid_argument);
    CHECK(explains(make_image(fields), "text_offset"));
    fields.text_offset = ~u64{0} & ~u64{0xfff};
    CHECK(parse_image(bytes(make_image(fields))).error() == Error::invalid_argument);
    fields = {};
    fields.image_size = ~u64{0};
    CHECK(parse_image(bytes(make_image(fields))).error() == Error::invalid_argument);
}

TEST_CASE("image: a truncated kernel is noticed by its section table, at every length") {
    ImageFields fields;
    fields.file_bytes = 600;
    fields.section_end = 600;
    const std::string whole = make_image(fields);
    CHECK(parse_image(bytes(whole)).ok());
    for (std::size_t size = image_header_bytes; size < whole.size(); ++size) {
        const test::Blob part(whole.substr(0, size));
        CHECK(parse_image(part.span()).error() == Error::overflow);
    }
    CHECK(explains(whole.substr(0, 599), "truncated"));
    fields.section_end = 0xffff'ffff;
    CHECK(parse_image(bytes(make_image(fields))).error() == Error::overflow);
}
