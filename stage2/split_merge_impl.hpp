// SPDX-License-Identifier: Apache-2.0
// BasicAddressSpace: splitting blocks, merging tables back into blocks (both by break-before-make), and
// walks. Included only where the template is instantiated. Lock: see address_space.hpp. [DDI0487 D8.14.1
// break-before-make: invalid entry, invalidation, new entry]
#pragma once
#include "lib/panic.hpp"
#include "stage2/address_space.hpp"

namespace atl::stage2 {

/// How many tables it takes until no leaf crosses `boundary`.
template <class Memory>
u64 BasicAddressSpace<Memory>::tables_to_split(Ipa boundary) const {
    if (boundary.value >= geometry_.ipa_size()) {
        return 0;
    }
    const Walk found = walk(boundary);
    u64 count = 0;
    if (found.mapped) {
        for (unsigned level = found.level; !boundary.is_aligned(level_size(level)); ++level) {
            ++count;
        }
    }
    return count;
}

/// Replaces one block by a table of 512 leaves with the same translation.
template <class Memory>
void BasicAddressSpace<Memory>::split_entry(Pa entry, unsigned level, Ipa ipa, Reserve& reserve) {
    const u64 block = memory_.read(entry);
    const Pa table = take_table(reserve);
    for (unsigned i = 0; i < entries_per_table; ++i) {
        const Pa output = output_address(block) + i * level_size(level + 1);
        memory_.write(table + i * sizeof(u64), leaf_descriptor(output, level + 1, block & attribute_mask));
    }
    memory_.write(entry, 0); // break
    // The invalidation starts by publishing: this write, and the table's contents before the link to it.
    invalidate_now(ipa.align_down(level_size(level)), level_size(level), level);
    memory_.write(entry, table_descriptor(table));
    memory_.publish(); // before the entries of the new table change
}

template <class Memory>
void BasicAddressSpace<Memory>::split_at(Ipa boundary, Reserve& reserve) {
    if (boundary.value >= geometry_.ipa_size()) {
        return;
    }
    Pa table = root_;
    for (unsigned level = geometry_.start_level; !boundary.is_aligned(level_size(level)); ++level) {
        const Pa entry = entry_address(table, level, boundary);
        u64 descriptor = memory_.read(entry);
        if (!is_valid(descriptor)) {
            return;
        }
        if (!is_table(descriptor, level)) {
            split_entry(entry, level, boundary, reserve);
            descriptor = memory_.read(entry);
        }
        table = output_address(descriptor);
    }
}

/// After this no leaf crosses an edge of [ipa, ipa + bytes). no_memory: nothing changed.
template <class Memory>
Status BasicAddressSpace<Memory>::split_edges(Ipa ipa, u64 bytes) {
    // When both edges cut the same block this asks for one or two tables too many: they go back unused.
    const u64 count = tables_to_split(ipa) + tables_to_split(ipa + bytes);
    if (count == 0) {
        return {};
    }
    Reserve reserve;
    ATOLL_TRY(reserve_tables(reserve, count));
    split_at(ipa, reserve);
    split_at(ipa + bytes, reserve);
    release_chain(reserve.head);
    return {};
}

/// True when the 512 entries of `table`, entries of `level`, are leaves that one block of level - 1 could
/// replace; `first` becomes the first of them.
template <class Memory>
bool BasicAddressSpace<Memory>::mergeable(Pa table, unsigned level, u64& first) const {
    first = memory_.read(table);
    if (!is_leaf(first, level) || !output_address(first).is_aligned(level_size(level - 1))) {
        return false;
    }
    u64 expected = first;
    for (unsigned i = 1; i < entries_per_table; ++i) {
        expected += level_size(level); // only the output address differs
        if (memory_.read(table + i * sizeof(u64)) != expected) {
            return false;
        }
    }
    return true;
}

template <class Memory>
u64 BasicAddressSpace<Memory>::merge_range(Pa table, unsigned level, Ipa ipa, u64 bytes) {
    u64 merged = 0;
    while (bytes != 0) {
        const u64 chunk = chunk_at(level, ipa, bytes);
        const Pa entry = entry_address(table, level, ipa);
        const u64 descriptor = memory_.read(entry);
        if (is_table(descriptor, level)) {
            const Pa next = output_address(descriptor);
            merged += merge_range(next, level + 1, ipa, chunk);
            u64 first = 0;
            if (level >= static_cast<unsigned>(largest_) && mergeable(next, level + 1, first)) {
                memory_.write(entry, 0); // break
                invalidate_now(ipa.align_down(level_size(level)), level_size(level), level + 1);
                memory_.write(entry, leaf_descriptor(output_address(first), level, first & attribute_mask));
                memory_.publish();
                memory_.release(next, 0);
                --table_pages_;
                ++merged;
            }
        }
        ipa += chunk;
        bytes -= chunk;
    }
    return merged;
}

template <class Memory>
Result<u64> BasicAddressSpace<Memory>::merge(Ipa ipa, u64 bytes) {
    ATOLL_TRY(check_ipa_range(ipa, bytes));
    return merge_range(root_, geometry_.start_level, ipa, bytes);
}

// ---- protect ----

template <class Memory>
Status BasicAddressSpace<Memory>::check_mapped(Pa table, unsigned level, Ipa ipa, u64 bytes,
                                               MemoryType memory) const {
    while (bytes != 0) {
        const u64 chunk = chunk_at(level, ipa, bytes);
        const u64 descriptor = memory_.read(entry_address(table, level, ipa));
        if (is_table(descriptor, level)) {
            ATOLL_TRY(check_mapped(output_address(descriptor), level + 1, ipa, chunk, memory));
        } else if (!is_valid(descriptor)) {
            return Error::not_found;
        } else if (attributes_of(descriptor).memory != memory) {
            return Error::invalid_argument;
        }
        ipa += chunk;
        bytes -= chunk;
    }
    return {};
}

template <class Memory>
void BasicAddressSpace<Memory>::reprotect(Pa table, unsigned level, Ipa ipa, u64 bytes, u64 permissions,
                                          TlbWork& work) {
    while (bytes != 0) {
        const u64 chunk = chunk_at(level, ipa, bytes);
        const Pa entry = entry_address(table, level, ipa);
        const u64 descriptor = memory_.read(entry);
        if (is_table(descriptor, level)) {
            reprotect(output_address(descriptor), level + 1, ipa, chunk, permissions, work);
        } else if ((descriptor & permission_mask) != permissions) {
            // Permissions may change in a live leaf: no break needed, only the invalidation [DDI0487
            // D8.14.1].
            memory_.write(entry, (descriptor & ~permission_mask) | permissions);
            work.scope_.add(ipa, chunk, level);
        }
        ipa += chunk;
        bytes -= chunk;
    }
}

template <class Memory>
Result<TlbWork> BasicAddressSpace<Memory>::protect(Ipa ipa, u64 bytes, const MapAttributes& attributes) {
    ATOLL_TRY(check_ipa_range(ipa, bytes));
    if (!attributes.valid()) {
        return Error::invalid_argument;
    }
    ATOLL_TRY(check_mapped(root_, geometry_.start_level, ipa, bytes, attributes.memory));
    ATOLL_TRY(split_edges(ipa, bytes));
    TlbWork work{vttbr_};
    reprotect(root_, geometry_.start_level, ipa, bytes, permission_bits(attributes), work);
    work_outstanding_ = true;
    return work;
}

// ---- walks ----

template <class Memory>
Walk BasicAddressSpace<Memory>::walk(Ipa ipa) const {
    Walk found;
    if (!alive() || ipa.value >= geometry_.ipa_size()) {
        return found;
    }
    found.start_level = geometry_.start_level;
    Pa table = root_;
    for (unsigned level = geometry_.start_level;; ++level) {
        const u64 descriptor = memory_.read(entry_address(table, level, ipa));
        found.level = static_cast<u8>(level);
        found.descriptor = descriptor;
        found.entries[level] = descriptor;
        if (is_table(descriptor, level)) {
            table = output_address(descriptor);
            continue;
        }
        const u64 offset = ipa.value & (level_size(level) - 1);
        found.bytes_left = level_size(level) - offset;
        if (is_leaf(descriptor, level)) {
            found.mapped = true;
            found.pa = output_address(descriptor) + offset;
            found.attributes = attributes_of(descriptor);
        }
        return found;
    }
}

template <class Memory>
Result<Pa> BasicAddressSpace<Memory>::translate(Ipa ipa) const {
    if (!alive() || ipa.value >= geometry_.ipa_size()) {
        return Error::not_found;
    }
    // Every access of EL2 to guest memory comes through here: the index arithmetic is kept incremental.
    unsigned level = geometry_.start_level;
    unsigned shift = level_shift(level);
    u64 descriptor = memory_.read(root_ + (ipa.value >> shift) * sizeof(u64));
    while (is_table(descriptor, level)) {
        ++level;
        shift -= 9;
        const u64 index = (ipa.value >> shift) % entries_per_table;
        descriptor = memory_.read(output_address(descriptor) + index * sizeof(u64));
    }
    if (!is_leaf(descriptor, level)) {
        return Error::not_found;
    }
    return output_address(descriptor) + (ipa.value & ((u64{1} << shift) - 1));
}

} // namespace atl::stage2
