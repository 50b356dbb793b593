// SPDX-License-Identifier: Apache-2.0
// Owns: every look at, and every write of, a flattened device tree. fdt.cpp is the only file that knows
// libfdt. Does not own: what the nodes mean (platform, manifest, guest_dt). Lock: none; a view is immutable
// and a writer has one user. Spec: Devicetree Specification v0.4, chapters 2 and 5. The bytes are untrusted:
// open() checks the whole structure once, every later read is bounded by it, and no function recurses, so
// that a hostile tree can neither be read past its end nor exhaust the stack.
#pragma once
#include <array>
#include <span>
#include <string_view>

#include "lib/containers.hpp"
#include "lib/result.hpp"

namespace atl::boot {

constexpr std::size_t fdt_header_bytes = 40;
constexpr std::size_t fdt_alignment = 8;            // of the blob's first byte
constexpr std::size_t host_fdt_max_bytes = 2 * mib; // what an arm64 boot loader may pass [Linux booting.rst]
constexpr u32 fdt_max_tags = 256 * 1024; // nodes + properties; more is refused (bounds every later walk)
constexpr unsigned fdt_max_name = 120;   // characters of a node's or property's name
constexpr unsigned fdt_max_depth = 16;   // of a FdtWalk

/// A node: an offset into the structure block of the view that it came from.
struct FdtNode {
    i32 offset = -1;
    constexpr bool operator==(const FdtNode&) const = default;
};

/// The strings of a string-list value, one after the other.
class FdtStrings {
  public:
    explicit FdtStrings(std::span<const u8> value) : rest_(value) {}
    /// False at the end. `text` has no NUL. The value must have passed FdtProperty::is_string_list().
    bool next(std::string_view& text);

  private:
    std::span<const u8> rest_;
};

/// One property. Name and value point into the view's bytes.
struct FdtProperty {
    std::string_view name;
    std::span<const u8> value;

    bool is_cells() const { return value.size() % 4 == 0; }
    std::size_t cell_count() const { return value.size() / 4; }
    /// Big-endian cell `index`; the caller checked index < cell_count().
    u32 cell(std::size_t index) const;
    /// A number of `cells` cells (0, 1 or 2; 0 yields 0) from cell `first` on. corrupt: not there.
    /// not_supported: > 2.
    Result<u64> number(std::size_t first, unsigned cells) const;
    /// The whole value as one number of one or two cells, else invalid_argument.
    Result<u64> as_number() const;
    /// The whole value as exactly one NUL-terminated string, else invalid_argument.
    Result<std::string_view> as_string() const;
    /// True when the value is one or more NUL-terminated strings.
    bool is_string_list() const { return !value.empty() && value.back() == 0; }
    FdtStrings strings() const { return FdtStrings(value); }
    /// True when one string of the list equals `text`.
    bool has_string(std::string_view text) const;
};

using FdtPath = FixedString<95>;

/// A checked, immutable device tree.
class FdtView {
  public:
    FdtView() = default;
    /// Checks header, blocks, every tag and every property name against `bytes` (which may be longer than the
    /// tree). corrupt: not a device tree or damaged. overflow: truncated (totalsize > bytes) or more than
    /// fdt_max_tags. invalid_argument: not 8-byte aligned. not_supported: a version other than 17.
    static Result<FdtView> open(std::span<const u8> bytes);
    /// totalsize out of a header of at least fdt_header_bytes, for a caller that has only an address.
    /// corrupt: no magic.
    static Result<u32> total_size(std::span<const u8> header);

    FdtNode root() const { return {0}; }
    std::span<const u8> bytes() const { return bytes_; }
    /// "memory@40000000", without the path; "" for the root.
    std::string_view name(FdtNode node) const;
    /// By absolute path. Unit addresses may be left out, as the specification allows. not_found otherwise.
    Result<FdtNode> find(std::string_view path) const;
    Result<FdtNode> child(FdtNode parent, std::string_view name) const;
    Result<FdtNode> first_child(FdtNode parent) const;
    Result<FdtNode> next_sibling(FdtNode node) const;
    Result<FdtProperty> property(FdtNode node, std::string_view name) const;
    bool has(FdtNode node, std::string_view name) const { return property(node, name).ok(); }
    /// The node's phandle, 0 when it has none.
    u32 phandle(FdtNode node) const;
    /// True when `compatible` lists `text`.
    bool is_compatible(FdtNode node, std::string_view text) const;
    /// True unless `status` is there and neither "okay" nor "ok".
    bool is_okay(FdtNode node) const;
    /// "/vms/alpha"; the node's own name when the path is too long. For messages.
    FdtPath path(FdtNode node) const;

    std::size_t reservation_count() const;
    /// Entry `index` of the memory reservation block.
    Result<Range<Pa>> reservation(std::size_t index) const;

    /// Calls visit(FdtProperty) for each property of `node`, in the tree's order.
    template <class Visit>
    void each_property(FdtNode node, Visit visit) const {
        FdtProperty property;
        for (i32 at = first_property(node, property); at >= 0; at = next_property(at, property)) {
            visit(property);
        }
    }
    /// Calls visit(FdtNode) for each child of `node`, in the tree's order.
    template <class Visit>
    void each_child(FdtNode node, Visit visit) const {
        for (auto at = first_child(node); at.ok(); at = next_sibling(*at)) {
            visit(*at);
        }
    }

  private:
    friend class FdtWalk;
    i32 first_property(FdtNode node, FdtProperty& out) const;
    i32 next_property(i32 at, FdtProperty& out) const;
    i32 property_at(i32 at, FdtProperty& out) const;
    i32 next_node(i32 at, i32& depth) const;

    std::span<const u8> bytes_;
};

/// Visits every node in document order and knows its ancestors, hence address translation and inherited
/// properties.
class FdtWalk {
  public:
    explicit FdtWalk(const FdtView& view) : view_(view) {}
    /// The next node (the root first). False: no more. overflow: nested deeper than fdt_max_depth.
    Result<bool> next();
    FdtNode node() const { return stack_[depth_]; }
    unsigned depth() const { return depth_; } // 0: the root
    /// Only when depth() > 0.
    FdtNode parent() const { return stack_[depth_ - 1]; }
    /// True when neither the node nor an ancestor is disabled.
    bool is_okay() const;
    /// Number of entries in `reg` by the parent's cell sizes; corrupt when its length is no multiple of them.
    Result<std::size_t> reg_count() const;
    /// Entry `index` of `reg`, translated through every `ranges` up to the root. not_found: no such entry.
    /// not_supported: a bus above has no `ranges` or more than two address cells. corrupt: malformed or
    /// wraps.
    Result<Range<Pa>> reg(std::size_t index) const;
    /// The phandle of the interrupt parent that the node inherits; not_found when there is none.
    Result<u32> interrupt_parent() const;

  private:
    struct Cells {
        unsigned address;
        unsigned size;
    };
    Result<Cells> cells_of(FdtNode node) const;
    Result<u64> translate(unsigned level, u64 address, u64 size) const;

    const FdtView& view_;
    std::array<FdtNode, fdt_max_depth> stack_{};
    unsigned depth_ = 0;
    i32 at_ = -1;
    i32 level_ = -1;
};

/// Writes a tree front to back. The first error sticks and finish() returns it, so that callers need not
/// check each call.
class FdtWriter {
  public:
    explicit FdtWriter(std::span<u8> out);
    void begin_node(const char* name);
    void end_node();
    void property(const char* name, std::span<const u8> value);
    void property_empty(const char* name) { property(name, std::span<const u8>{}); }
    void property_string(const char* name, std::string_view text);
    void property_strings(const char* name, std::initializer_list<std::string_view> texts);
    void property_cells(const char* name, std::initializer_list<u32> cells);
    void property_u64(const char* name, u64 value);
    /// Two address cells and two size cells.
    void property_reg(const char* name, u64 base, u64 size);
    /// Total bytes written. no_memory: `out` is too small. invalid_argument: nodes not closed, or a bad
    /// string.
    Result<u32> finish();

  private:
    void note(int code);
    std::span<u8> out_;
    int code_ = 0;
    int open_ = 0; // nodes begun and not ended
};

} // namespace atl::boot
