// SPDX-License-Identifier: Apache-2.0
// Owns: the binding to libfdt, for reading (FdtView) and writing (FdtWriter). The only includer of
// <libfdt.h>. Does not own: FdtWalk (fdt_walk.cpp). Functions of libfdt that recurse (fdt_path_offset on an
// alias) or that need SIMD (fdt_open_into, fdt_appendprop_addrrange) are not used. Lock: none. Spec:
// Devicetree Specification v0.4, chapter 5.
#include "boot/fdt.hpp"

#include <cstddef>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" // struct fdt_property and the function of that name
#include <libfdt.h>
#pragma GCC diagnostic pop

namespace atl::boot {
namespace {

constexpr u32 magic = 0xd00dfeed;
constexpr u32 required_version = 17;

u32 load_be32(const u8* bytes) {
    return u32{bytes[0]} << 24 | u32{bytes[1]} << 16 | u32{bytes[2]} << 8 | u32{bytes[3]};
}

Error error_of(int code) {
    switch (code) {
    case -FDT_ERR_NOTFOUND:
        return Error::not_found;
    case -FDT_ERR_NOSPACE:
        return Error::no_memory;
    case -FDT_ERR_BADSTATE:
    case -FDT_ERR_BADVALUE:
    case -FDT_ERR_BADPATH:
        return Error::invalid_argument;
    default:
        return Error::corrupt;
    }
}

/// The name of the property whose tag is at `at` ends within fdt_max_name characters.
bool has_short_name(const void* fdt, int at) {
    const void* property = fdt_offset_ptr(fdt, at, sizeof(struct fdt_property));
    if (property == nullptr) {
        return false;
    }
    const u32 name = load_be32(static_cast<const u8*>(property) + offsetof(struct fdt_property, nameoff));
    const u32 strings = fdt_size_dt_strings(fdt);
    const u8* text = static_cast<const u8*>(fdt) + fdt_off_dt_strings(fdt);
    for (u32 i = 0; i <= fdt_max_name && name < strings && i < strings - name; ++i) {
        if (text[name + i] == 0) {
            return true;
        }
    }
    return false;
}

/// Counts the tags and measures the names: bounds the time of everything that follows, also of
/// fdt_check_full().
Status check_cost(const void* fdt) {
    int at = 0;
    for (u32 n = 0; n < fdt_max_tags; ++n) {
        int next = 0;
        const u32 tag = fdt_next_tag(fdt, at, &next);
        if (next < 0) {
            return Error::corrupt;
        }
        if (tag == FDT_END) {
            return {};
        }
        if ((tag == FDT_PROP && !has_short_name(fdt, at)) ||
            (tag == FDT_BEGIN_NODE && next - at > static_cast<int>(4 + fdt_max_name + 4))) {
            return Error::corrupt;
        }
        at = next;
    }
    return Error::overflow;
}

std::size_t text_length(std::span<const u8> bytes) {
    std::size_t n = 0;
    while (n < bytes.size() && bytes[n] != 0) {
        ++n;
    }
    return n;
}

std::string_view as_text(std::span<const u8> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

} // namespace

bool FdtStrings::next(std::string_view& text) {
    if (rest_.empty()) {
        return false;
    }
    const std::size_t n = text_length(rest_);
    text = as_text(rest_.first(n));
    rest_ = n < rest_.size() ? rest_.subspan(n + 1) : std::span<const u8>{};
    return true;
}

u32 FdtProperty::cell(std::size_t index) const {
    return load_be32(value.data() + index * 4);
}

Result<u64> FdtProperty::number(std::size_t first, unsigned cells) const {
    if (cells > 2) {
        return Error::not_supported;
    }
    if (first > cell_count() || cells > cell_count() - first) {
        return Error::corrupt;
    }
    u64 result = 0;
    for (unsigned i = 0; i < cells; ++i) {
        result = result << 32 | cell(first + i);
    }
    return result;
}

Result<u64> FdtProperty::as_number() const {
    if (value.size() != 4 && value.size() != 8) {
        return Error::invalid_argument;
    }
    return number(0, static_cast<unsigned>(value.size() / 4));
}

Result<std::string_view> FdtProperty::as_string() const {
    if (value.empty() || text_length(value) != value.size() - 1) {
        return Error::invalid_argument;
    }
    return as_text(value.first(value.size() - 1));
}

bool FdtProperty::has_string(std::string_view text) const {
    if (!is_string_list()) {
        return false;
    }
    FdtStrings list = strings();
    std::string_view item;
    while (list.next(item)) {
        if (item == text) {
            return true;
        }
    }
    return false;
}

Result<u32> FdtView::total_size(std::span<const u8> header) {
    if (header.size() < fdt_header_bytes || load_be32(header.data()) != magic) {
        return Error::corrupt;
    }
    const u32 size = load_be32(header.data() + 4);
    return size < fdt_header_bytes || size > 0x7fff'ffff ? Result<u32>(Error::corrupt) : Result<u32>(size);
}

Result<FdtView> FdtView::open(std::span<const u8> bytes) {
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % fdt_alignment != 0) {
        return Error::invalid_argument;
    }
    const auto size = total_size(bytes);
    if (!size.ok()) {
        return size.error();
    }
    if (*size > bytes.size()) {
        return Error::overflow;
    }
    const void* fdt = bytes.data();
    if (fdt_version(fdt) != required_version || fdt_last_comp_version(fdt) > required_version) {
        return Error::not_supported;
    }
    if (fdt_check_header(fdt) != 0) {
        return Error::corrupt;
    }
    ATOLL_TRY(check_cost(fdt));
    if (fdt_check_full(fdt, *size) != 0) {
        return Error::corrupt;
    }
    FdtView view;
    view.bytes_ = bytes.first(*size);
    return view;
}

std::string_view FdtView::name(FdtNode node) const {
    int length = 0;
    const char* text = fdt_get_name(bytes_.data(), node.offset, &length);
    return text == nullptr || length < 0 ? std::string_view{}
                                         : std::string_view(text, static_cast<std::size_t>(length));
}

Result<FdtNode> FdtView::child(FdtNode parent, std::string_view name) const {
    const int at =
        fdt_subnode_offset_namelen(bytes_.data(), parent.offset, name.data(), static_cast<int>(name.size()));
    return at < 0 ? Result<FdtNode>(error_of(at)) : Result<FdtNode>(FdtNode{at});
}

Result<FdtNode> FdtView::find(std::string_view path) const {
    if (path.empty() || path.front() != '/') {
        return Error::invalid_argument;
    }
    FdtNode node = root();
    std::size_t at = 0;
    while (at < path.size()) {
        if (path[at] == '/') {
            ++at;
            continue;
        }
        std::size_t end = at;
        while (end < path.size() && path[end] != '/') {
            ++end;
        }
        const auto next = child(node, std::string_view(path.data() + at, end - at));
        if (!next.ok()) {
            return next.error();
        }
        node = *next;
        at = end;
    }
    return node;
}

Result<FdtNode> FdtView::first_child(FdtNode parent) const {
    const int at = fdt_first_subnode(bytes_.data(), parent.offset);
    return at < 0 ? Result<FdtNode>(error_of(at)) : Result<FdtNode>(FdtNode{at});
}

Result<FdtNode> FdtView::next_sibling(FdtNode node) const {
    const int at = fdt_next_subnode(bytes_.data(), node.offset);
    return at < 0 ? Result<FdtNode>(error_of(at)) : Result<FdtNode>(FdtNode{at});
}

Result<FdtProperty> FdtView::property(FdtNode node, std::string_view name) const {
    int length = 0;
    const void* value =
        fdt_getprop_namelen(bytes_.data(), node.offset, name.data(), static_cast<int>(name.size()), &length);
    if (value == nullptr || length < 0) {
        return length < 0 ? error_of(length) : Error::not_found;
    }
    return FdtProperty{name, {static_cast<const u8*>(value), static_cast<std::size_t>(length)}};
}

u32 FdtView::phandle(FdtNode node) const {
    const u32 value = fdt_get_phandle(bytes_.data(), node.offset);
    return value == 0xffff'ffff ? 0 : value;
}

bool FdtView::is_compatible(FdtNode node, std::string_view text) const {
    const auto list = property(node, "compatible");
    return list.ok() && list->has_string(text);
}

bool FdtView::is_okay(FdtNode node) const {
    const auto status = property(node, "status");
    if (!status.ok()) {
        return true;
    }
    const auto text = status->as_string();
    return text.ok() && (*text == "okay" || *text == "ok");
}

FdtPath FdtView::path(FdtNode node) const {
    FdtPath result;
    char buffer[96];
    if (fdt_get_path(bytes_.data(), node.offset, buffer, sizeof(buffer)) == 0) {
        result.assign(std::string_view(buffer));
    } else if (const std::string_view own = name(node); !result.assign(own)) {
        result.assign(std::string_view(own.data(), 95));
    }
    return result;
}

std::size_t FdtView::reservation_count() const {
    const int n = fdt_num_mem_rsv(bytes_.data());
    return n < 0 ? 0 : static_cast<std::size_t>(n);
}

Result<Range<Pa>> FdtView::reservation(std::size_t index) const {
    u64 base = 0;
    u64 size = 0;
    if (fdt_get_mem_rsv(bytes_.data(), static_cast<int>(index), &base, &size) != 0) {
        return Error::not_found;
    }
    return Range<Pa>{Pa{base}, size};
}

i32 FdtView::property_at(i32 at, FdtProperty& out) const {
    if (at < 0) {
        return -1;
    }
    const char* name = nullptr;
    int length = 0;
    const void* value = fdt_getprop_by_offset(bytes_.data(), at, &name, &length);
    if (value == nullptr || length < 0) {
        return -1;
    }
    out = {std::string_view(name), {static_cast<const u8*>(value), static_cast<std::size_t>(length)}};
    return at;
}

i32 FdtView::first_property(FdtNode node, FdtProperty& out) const {
    return property_at(fdt_first_property_offset(bytes_.data(), node.offset), out);
}

i32 FdtView::next_property(i32 at, FdtProperty& out) const {
    return property_at(fdt_next_property_offset(bytes_.data(), at), out);
}

i32 FdtView::next_node(i32 at, i32& depth) const {
    return fdt_next_node(bytes_.data(), at, &depth);
}

FdtWriter::FdtWriter(std::span<u8> out) : out_(out) {
    note(fdt_create(out_.data(), static_cast<int>(out_.size())));
    note(code_ == 0 ? fdt_finish_reservemap(out_.data()) : 0);
}

void FdtWriter::note(int code) {
    if (code_ == 0) {
        code_ = code;
    }
}

void FdtWriter::begin_node(const char* name) {
    ++open_;
    note(code_ == 0 ? fdt_begin_node(out_.data(), name) : 0);
}

void FdtWriter::end_node() {
    --open_;
    note(code_ == 0 ? fdt_end_node(out_.data()) : 0);
}

void FdtWriter::property(const char* name, std::span<const u8> value) {
    note(code_ == 0 ? fdt_property(out_.data(), name, value.data(), static_cast<int>(value.size())) : 0);
}

void FdtWriter::property_string(const char* name, std::string_view text) {
    property_strings(name, {text});
}

void FdtWriter::property_strings(const char* name, std::initializer_list<std::string_view> texts) {
    std::size_t bytes = 0;
    for (const std::string_view text : texts) {
        bytes += text.size() + 1;
    }
    void* place = nullptr;
    note(code_ == 0 ? fdt_property_placeholder(out_.data(), name, static_cast<int>(bytes), &place) : 0);
    if (code_ != 0) {
        return;
    }
    char* at = static_cast<char*>(place);
    for (const std::string_view text : texts) {
        for (const char c : text) {
            *at++ = c;
        }
        *at++ = '\0';
    }
}

void FdtWriter::property_cells(const char* name, std::initializer_list<u32> cells) {
    void* place = nullptr;
    note(code_ == 0 ? fdt_property_placeholder(out_.data(), name, static_cast<int>(cells.size() * 4), &place)
                    : 0);
    if (code_ != 0) {
        return;
    }
    u8* at = static_cast<u8*>(place);
    for (const u32 cell : cells) {
        for (unsigned shift = 32; shift > 0; shift -= 8) {
            *at++ = static_cast<u8>(cell >> (shift - 8));
        }
    }
}

void FdtWriter::property_u64(const char* name, u64 value) {
    property_cells(name, {static_cast<u32>(value >> 32), static_cast<u32>(value)});
}

void FdtWriter::property_reg(const char* name, u64 base, u64 size) {
    property_cells(name, {static_cast<u32>(base >> 32), static_cast<u32>(base), static_cast<u32>(size >> 32),
                          static_cast<u32>(size)});
}

Result<u32> FdtWriter::finish() {
    note(open_ == 0 ? 0 : -FDT_ERR_BADSTATE); // fdt_finish() would not notice
    note(code_ == 0 ? fdt_finish(out_.data()) : 0);
    if (code_ != 0) {
        return error_of(code_);
    }
    return static_cast<u32>(fdt_totalsize(out_.data()));
}

} // namespace atl::boot
