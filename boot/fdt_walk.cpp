// SPDX-License-Identifier: Apache-2.0
// Owns: the walk over all nodes: ancestors, `reg` translated through `ranges`, inherited properties.
// Does not own: the structure itself (fdt.cpp). Lock: none. Spec: Devicetree Specification v0.4, 2.3.
#include "boot/fdt.hpp"

namespace atl::boot {

Result<bool> FdtWalk::next() {
    at_ = view_.next_node(at_, level_);
    if (at_ < 0 || level_ < 0) { // open() has checked the structure: this is its end
        return false;
    }
    if (level_ >= static_cast<i32>(fdt_max_depth)) {
        return Error::overflow;
    }
    depth_ = static_cast<unsigned>(level_);
    stack_[depth_] = {at_};
    return true;
}

bool FdtWalk::is_okay() const {
    for (unsigned level = 0; level <= depth_; ++level) {
        if (!view_.is_okay(stack_[level])) {
            return false;
        }
    }
    return true;
}

Result<FdtWalk::Cells> FdtWalk::cells_of(FdtNode node) const {
    Cells cells{2, 1}; // the specification's defaults [DTSpec 2.3.5]
    const auto address = view_.property(node, "#address-cells");
    const auto size = view_.property(node, "#size-cells");
    if ((address.ok() && address->value.size() != 4) || (size.ok() && size->value.size() != 4)) {
        return Error::corrupt;
    }
    cells.address = address.ok() ? address->cell(0) : cells.address;
    cells.size = size.ok() ? size->cell(0) : cells.size;
    if (cells.address == 0 || cells.address > 2 || cells.size > 2) {
        return Error::not_supported;
    }
    return cells;
}

Result<std::size_t> FdtWalk::reg_count() const {
    if (depth_ == 0) {
        return Error::not_found;
    }
    const auto reg = view_.property(node(), "reg");
    if (!reg.ok()) {
        return reg.error();
    }
    const auto cells = cells_of(parent());
    if (!cells.ok()) {
        return cells.error();
    }
    const unsigned stride = cells->address + cells->size;
    if (!reg->is_cells() || reg->cell_count() % stride != 0) {
        return Error::corrupt;
    }
    return reg->cell_count() / stride;
}

Result<Range<Pa>> FdtWalk::reg(std::size_t index) const {
    const auto count = reg_count();
    if (!count.ok()) {
        return count.error();
    }
    if (index >= *count) {
        return Error::not_found;
    }
    const auto cells = cells_of(parent());
    const auto reg = view_.property(node(), "reg");
    const std::size_t first = index * (cells->address + cells->size);
    const auto address = reg->number(first, cells->address);
    const auto size = reg->number(first + cells->address, cells->size);
    if (!address.ok() || !size.ok() || *address + *size < *address) {
        return Error::corrupt;
    }
    const auto base = translate(depth_ - 1, *address, *size);
    if (!base.ok()) {
        return base.error();
    }
    if (*base + *size < *base) {
        return Error::corrupt;
    }
    return Range<Pa>{Pa{*base}, *size};
}

/// From the address space of the bus stack_[level] to that of the root.
Result<u64> FdtWalk::translate(unsigned level, u64 address, u64 size) const {
    for (; level > 0; --level) {
        const auto ranges = view_.property(stack_[level], "ranges");
        if (!ranges.ok()) {
            return Error::not_supported;
        }
        if (ranges->value.empty()) {
            continue;
        }
        const auto here = cells_of(stack_[level]);
        const auto above = cells_of(stack_[level - 1]);
        if (!here.ok() || !above.ok()) {
            return Error::not_supported;
        }
        const std::size_t stride = here->address + above->address + here->size;
        if (!ranges->is_cells() || ranges->cell_count() % stride != 0) {
            return Error::corrupt;
        }
        bool found = false;
        for (std::size_t at = 0; !found && at < ranges->cell_count(); at += stride) {
            const auto child = ranges->number(at, here->address);
            const auto to = ranges->number(at + here->address, above->address);
            const auto length = ranges->number(at + here->address + above->address, here->size);
            if (Range<Pa>{Pa{*child}, *length}.contains(Pa{address}, size)) {
                address = *to + (address - *child);
                found = true;
            }
        }
        if (!found) {
            return Error::not_supported;
        }
    }
    return address;
}

Result<u32> FdtWalk::interrupt_parent() const {
    for (unsigned level = depth_ + 1; level-- > 0;) {
        const auto parent = view_.property(stack_[level], "interrupt-parent");
        if (parent.ok()) {
            return parent->value.size() == 4 ? Result<u32>(parent->cell(0)) : Result<u32>(Error::corrupt);
        }
    }
    return Error::not_found;
}

} // namespace atl::boot
