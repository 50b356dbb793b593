// SPDX-License-Identifier: Apache-2.0
// BasicAddressSpace: creation, end, map and unmap. Included only where the template is
// instantiated. Every change is plan (may fail), reserve (may fail), commit (cannot fail). Lock: see
// address_space.hpp. Recursion goes one translation level down each time: four frames at most. [DDI0487 D8.2
// walks, D8.3 descriptors, D8.14.1 break-before-make]
#pragma once
#include "lib/panic.hpp"
#include "stage2/address_space.hpp"

namespace atl::stage2 {

template <class Memory>
Pa BasicAddressSpace<Memory>::entry_address(Pa table, unsigned level, Ipa ipa) const {
    const u64 index = ipa.value >> level_shift(level);
    // The concatenated root is one long table: its index is as wide as the checked IPA makes it.
    return table + (level == geometry_.start_level ? index : index % entries_per_table) * sizeof(u64);
}

/// True when one leaf at `level` maps the whole chunk.
template <class Memory>
bool BasicAddressSpace<Memory>::leaf_fits(unsigned level, Ipa ipa, Pa pa, u64 bytes) const {
    const u64 size = level_size(level);
    return level >= static_cast<unsigned>(largest_) && bytes == size && ipa.is_aligned(size) &&
           pa.is_aligned(size);
}

/// How much of [ipa, ipa + bytes) lies under one entry of `level`.
template <class Memory>
u64 BasicAddressSpace<Memory>::chunk_at(unsigned level, Ipa ipa, u64 bytes) {
    const u64 to_end = level_size(level) - (ipa.value & (level_size(level) - 1));
    return bytes < to_end ? bytes : to_end;
}

template <class Memory>
Status BasicAddressSpace<Memory>::check_ipa_range(Ipa ipa, u64 bytes) const {
    // Our own callers' bugs: a dead space, or a change while an invalidation is owed.
    ATOLL_CHECK(alive());
    ATOLL_CHECK(!work_outstanding_);
    if (bytes == 0 || !ipa.is_aligned(page_size) || bytes % page_size != 0) {
        return Error::invalid_argument;
    }
    if (!Range<Ipa>{{0}, geometry_.ipa_size()}.contains(ipa, bytes)) {
        return Error::overflow;
    }
    return {};
}

template <class Memory>
Status BasicAddressSpace<Memory>::init(const Geometry& geometry, Vmid vmid, const Memory& memory,
                                       LargestLeaf largest) {
    if (alive()) {
        return Error::already_exists;
    }
    const bool vmid16 = VtcrEl2::VS::test(geometry.vtcr);
    if (geometry.ipa_bits == 0 || vmid.value == 0 || (!vmid16 && vmid.value > 0xff)) {
        return Error::invalid_argument;
    }
    memory_ = memory;
    const Result<Pa> root = memory_.allocate(geometry.root_order);
    if (!root) {
        return root.error();
    }
    const u64 root_pages = u64{1} << geometry.root_order;
    ATOLL_CHECK(root->is_aligned(root_pages * page_size));
    for (u64 i = 0; i < root_pages; ++i) {
        memory_.clear(*root + i * page_size);
    }
    memory_.publish();
    geometry_ = geometry;
    largest_ = largest;
    root_ = *root;
    vttbr_ = make_vttbr(root_, vmid);
    table_pages_ = root_pages;
    work_outstanding_ = false;
    return {};
}

template <class Memory>
void BasicAddressSpace<Memory>::destroy() {
    ATOLL_CHECK(alive());
    ATOLL_CHECK(!work_outstanding_);
    TlbWork work{vttbr_};
    detach(root_, geometry_.start_level, {0}, geometry_.ipa_size(), EmptyTables::release, work);
    work.scope_.whole_vm = true;
    work_outstanding_ = true;
    complete(std::move(work));
    memory_.release(root_, geometry_.root_order);
    root_ = no_table;
    vttbr_ = 0;
    table_pages_ = 0;
}

// ---- table pages: reserved before a change, released after the invalidation ----

template <class Memory>
Status BasicAddressSpace<Memory>::reserve_tables(Reserve& reserve, u64 count) {
    for (u64 i = 0; i < count; ++i) {
        const Result<Pa> page = memory_.allocate(0);
        if (!page) {
            release_chain(reserve.head);
            reserve.head = no_table;
            return page.error();
        }
        memory_.write(*page, reserve.head.value);
        reserve.head = *page;
    }
    return {};
}

template <class Memory>
Pa BasicAddressSpace<Memory>::take_table(Reserve& reserve) {
    const Pa table = reserve.head;
    ATOLL_CHECK(table != no_table); // the plan counted wrongly
    reserve.head = {memory_.read(table)};
    ++table_pages_;
    return table;
}

template <class Memory>
void BasicAddressSpace<Memory>::release_chain(Pa head) {
    while (head != no_table) {
        const Pa next{memory_.read(head)};
        memory_.release(head, 0);
        head = next;
    }
}

template <class Memory>
void BasicAddressSpace<Memory>::retire(Pa table, TlbWork& work) {
    memory_.write(table, work.retired_.value); // an invalid descriptor for a walker that is still in there
    work.retired_ = table;
    --table_pages_;
}

template <class Memory>
void BasicAddressSpace<Memory>::complete(TlbWork&& work) {
    ATOLL_CHECK(work_outstanding_);
    const TlbWork paid{std::move(work)};
    memory_.invalidate(paid.scope());
    release_chain(paid.retired_);
    work_outstanding_ = false;
}

template <class Memory>
void BasicAddressSpace<Memory>::invalidate_now(Ipa ipa, u64 bytes, unsigned leaf_level) {
    TlbScope scope;
    scope.vttbr = vttbr_;
    scope.add(ipa, bytes, leaf_level);
    memory_.invalidate(scope);
}

// ---- map ----

/// How many tables [ipa, ipa + bytes), all under one empty entry of `level`, needs: at least one.
template <class Memory>
u64 BasicAddressSpace<Memory>::tables_below(unsigned level, Ipa ipa, Pa pa, u64 bytes) const {
    u64 count = 1;
    if (level + 1 == last_level) {
        return count; // pages always fit
    }
    while (bytes != 0) {
        const u64 chunk = chunk_at(level + 1, ipa, bytes);
        count += leaf_fits(level + 1, ipa, pa, chunk) ? 0 : tables_below(level + 1, ipa, pa, chunk);
        ipa += chunk;
        pa += chunk;
        bytes -= chunk;
    }
    return count;
}

/// The number of tables that install() will take, or already_exists.
template <class Memory>
Result<u64> BasicAddressSpace<Memory>::plan(Pa table, unsigned level, Ipa ipa, Pa pa, u64 bytes) const {
    u64 count = 0;
    while (bytes != 0) {
        const u64 chunk = chunk_at(level, ipa, bytes);
        const u64 descriptor = memory_.read(entry_address(table, level, ipa));
        if (is_table(descriptor, level)) {
            const Result<u64> below = plan(output_address(descriptor), level + 1, ipa, pa, chunk);
            if (!below) {
                return below;
            }
            count += *below;
        } else if (is_valid(descriptor)) {
            return Error::already_exists;
        } else if (!leaf_fits(level, ipa, pa, chunk)) {
            count += tables_below(level, ipa, pa, chunk);
        }
        ipa += chunk;
        pa += chunk;
        bytes -= chunk;
    }
    return count;
}

template <class Memory>
void BasicAddressSpace<Memory>::install(Pa table, unsigned level, Ipa ipa, Pa pa, u64 bytes, u64 attributes,
                                        Reserve& reserve) {
    while (bytes != 0) {
        const u64 chunk = chunk_at(level, ipa, bytes);
        const Pa entry = entry_address(table, level, ipa);
        const u64 descriptor = memory_.read(entry);
        if (is_table(descriptor, level)) {
            install(output_address(descriptor), level + 1, ipa, pa, chunk, attributes, reserve);
        } else if (leaf_fits(level, ipa, pa, chunk)) {
            memory_.write(entry, leaf_descriptor(pa, level, attributes));
        } else {
            const Pa next = take_table(reserve);
            memory_.clear(next);
            install(next, level + 1, ipa, pa, chunk, attributes, reserve);
            memory_.publish(); // the table's contents before the link to it
            memory_.write(entry, table_descriptor(next));
        }
        ipa += chunk;
        pa += chunk;
        bytes -= chunk;
    }
}

/// Scattered buffers are mapped page by page: when the range lies in one level-3 table that exists already,
/// there is nothing to plan. False: go the general way.
template <class Memory>
Result<bool> BasicAddressSpace<Memory>::map_pages_quickly(Ipa ipa, Pa pa, u64 bytes, u64 attributes) {
    if (chunk_at(last_level - 1, ipa, bytes) != bytes) {
        return false;
    }
    Pa table = root_;
    for (unsigned level = geometry_.start_level; level != last_level; ++level) {
        const u64 descriptor = memory_.read(entry_address(table, level, ipa));
        if (!is_table(descriptor, level)) {
            return false;
        }
        table = output_address(descriptor);
    }
    const Pa first = entry_address(table, last_level, ipa);
    const u64 pages = bytes >> page_shift;
    for (u64 i = 0; i < pages; ++i) {
        if (is_valid(memory_.read(first + i * sizeof(u64)))) {
            return Error::already_exists;
        }
    }
    for (u64 i = 0; i < pages; ++i) {
        memory_.write(first + i * sizeof(u64), leaf_descriptor(pa + i * page_size, last_level, attributes));
    }
    memory_.publish(); // visible to every walker before the caller goes on
    return true;
}

template <class Memory>
Status BasicAddressSpace<Memory>::map(Ipa ipa, Pa pa, u64 bytes, const MapAttributes& attributes) {
    ATOLL_TRY(check_ipa_range(ipa, bytes));
    if (!pa.is_aligned(page_size) || !attributes.valid()) {
        return Error::invalid_argument;
    }
    if (!Range<Pa>{{0}, geometry_.pa_size()}.contains(pa, bytes)) {
        return Error::overflow;
    }
    const Result<bool> done = map_pages_quickly(ipa, pa, bytes, attribute_bits(attributes));
    if (!done) {
        return done.error();
    }
    if (*done) {
        return {};
    }
    const Result<u64> tables = plan(root_, geometry_.start_level, ipa, pa, bytes);
    if (!tables) {
        return tables.error();
    }
    Reserve reserve;
    ATOLL_TRY(reserve_tables(reserve, *tables));
    install(root_, geometry_.start_level, ipa, pa, bytes, attribute_bits(attributes), reserve);
    memory_.publish(); // visible to every walker before the caller goes on
    ATOLL_CHECK(reserve.head == no_table);
    return {};
}

// ---- unmap ----

template <class Memory>
bool BasicAddressSpace<Memory>::is_empty(Pa table) const {
    for (unsigned i = 0; i < entries_per_table; i += 8) { // one test for eight: validity is bit 0
        const Pa at = table + i * sizeof(u64);
        const auto entry = [&](unsigned k) { return memory_.read(at + k * sizeof(u64)); };
        const u64 any = entry(0) | entry(1) | entry(2) | entry(3) | entry(4) | entry(5) | entry(6) | entry(7);
        if (is_valid(any)) {
            return false;
        }
    }
    return true;
}

/// Puts an unlinked table and all below it on the work's chain, and its leaves into the scope.
template <class Memory>
void BasicAddressSpace<Memory>::retire_tree(Pa table, unsigned level, Ipa base, TlbWork& work) {
    if (level == last_level) {
        work.scope_.add(base, level_size(level - 1), level);
    } else {
        for (unsigned i = 0; i < entries_per_table; ++i) {
            const u64 descriptor = memory_.read(table + i * sizeof(u64));
            const Ipa start = base + i * level_size(level);
            if (is_table(descriptor, level)) {
                retire_tree(output_address(descriptor), level + 1, start, work);
            } else if (is_valid(descriptor)) {
                work.scope_.add(start, level_size(level), level);
            }
        }
    }
    retire(table, work);
}

/// Removes every leaf in the range, whose edges cut no leaf, and every table that ends up empty, unless they
/// are to be kept.
template <class Memory>
void BasicAddressSpace<Memory>::detach(Pa table, unsigned level, Ipa ipa, u64 bytes, EmptyTables tables,
                                       TlbWork& work) {
    while (bytes != 0) {
        const u64 chunk = chunk_at(level, ipa, bytes);
        const Pa entry = entry_address(table, level, ipa);
        const u64 descriptor = memory_.read(entry);
        if (is_table(descriptor, level)) {
            const Pa next = output_address(descriptor);
            if (tables == EmptyTables::keep) {
                detach(next, level + 1, ipa, chunk, tables, work);
            } else if (chunk == level_size(level)) {
                memory_.write(entry, 0);
                retire_tree(next, level + 1, ipa, work);
            } else {
                detach(next, level + 1, ipa, chunk, tables, work);
                if (is_empty(next)) {
                    memory_.write(entry, 0);
                    retire(next, work);
                }
            }
        } else if (is_valid(descriptor)) {
            memory_.write(entry, 0);
            work.scope_.add(ipa, chunk, level);
        }
        ipa += chunk;
        bytes -= chunk;
    }
}

template <class Memory>
Result<TlbWork> BasicAddressSpace<Memory>::unmap(Ipa ipa, u64 bytes, EmptyTables tables) {
    ATOLL_TRY(check_ipa_range(ipa, bytes));
    ATOLL_TRY(split_edges(ipa, bytes));
    TlbWork work{vttbr_};
    detach(root_, geometry_.start_level, ipa, bytes, tables, work);
    work_outstanding_ = true;
    return work;
}

} // namespace atl::stage2
