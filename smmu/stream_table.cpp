// SPDX-License-Identifier: Apache-2.0
// Stream table growth and the order of writes to an entry: see stream_table.hpp.
#include "smmu/stream_table.hpp"

namespace atl::smmu {

Status StreamTable::set_up(const Port& port, const Features& features, const Pages& pages) {
    port_ = port;
    pages_ = pages;
    two_level_ = features.two_level && features.sid_bits > split;
    // What the table does not reach aborts with C_BAD_STREAMID [§7.3.3].
    const unsigned most = two_level_ ? most_two_level : most_linear;
    log2_ = static_cast<u8>(features.sid_bits < most ? features.sid_bits : most);
    const u64 bytes = two_level_ ? (u64{1} << (log2_ - split)) * L1std::bytes : (u64{1} << log2_) * ste_bytes;
    const Result<Pa> table = pages_.allocate(pages_.context, order_for(bytes));
    if (!table) {
        return table.error();
    }
    base_ = *table;
    u64 config = StrtabBaseCfg::LOG2SIZE::of(log2_);
    if (two_level_) {
        config |=
            StrtabBaseCfg::FMT::of(1) | StrtabBaseCfg::SPLIT::of(split); // descriptors: zero, all invalid
    }
    port_.write(Reg64::STRTAB_BASE, StrtabBase::RA::mask | base_.value);
    port_.write(Reg32::STRTAB_BASE_CFG, static_cast<u32>(config));
    return {};
}

Pa StreamTable::entry(StreamId stream) const {
    if ((u64{stream.value} >> log2_) != 0) {
        return no_entry;
    }
    if (!two_level_) {
        return base_ + u64{stream.value} * ste_bytes;
    }
    const u64 descriptor = port_.load(base_ + (u64{stream.value} >> split) * L1std::bytes);
    if (L1std::Span::get(descriptor) == 0) {
        return no_entry;
    }
    return Pa{descriptor & L1std::L2Ptr::mask} + (stream.value & ((1u << split) - 1)) * ste_bytes;
}

Status StreamTable::prepare(StreamId stream, const ConfigSync& sync) {
    if ((u64{stream.value} >> log2_) != 0) {
        return Error::overflow;
    }
    if (entry(stream) != no_entry) {
        return {};
    }
    const u64 entries = u64{1} << split;
    const Result<Pa> table = pages_.allocate(pages_.context, order_for(entries * ste_bytes));
    if (!table) {
        return table.error();
    }
    // The table is whole, zeroes are invalid entries, before the descriptor that makes it reachable
    // [§3.21.3.1].
    port_.publish();
    port_.store(base_ + (u64{stream.value} >> split) * L1std::bytes,
                table->value | L1std::Span::of(split + 1));
    port_.publish();
    ++second_levels;
    // The invalid descriptor may be cached; the non-leaf form drops it, and no entry below it can be
    // [§5.1.1].
    return sync(stream, false) ? Status{} : Status{Error::denied};
}

Ste StreamTable::read(StreamId stream) const {
    const Pa at = entry(stream);
    if (at == no_entry) {
        return invalid_ste;
    }
    Ste ste{};
    for (unsigned i = 0; i < ste_words; ++i) {
        ste[i] = port_.load(at + i * 8);
    }
    return ste;
}

/// One single-copy atomic store decides what the entry is.
void StreamTable::store_word0(Pa at, u64 value) {
    port_.store(at, value);
    port_.publish();
}

/// The SMMU may read an entry at any time, its words in any order, and keep what it read [§3.21.3]. So while
/// word 0 lets traffic pass, at most one word may change between two SYNCs.
bool StreamTable::write(StreamId stream, const Ste& next, const ConfigSync& sync) {
    const Pa at = entry(stream);
    const Ste old = read(stream);
    if (!passes(next[0])) {
        if (old[0] == next[0]) {
            return true;
        }
        // Its other words are ignored from here on [§5.2.1]. No mixture with the old ones can be seen: word 0 alone
        // decides, and on return nobody holds the old one.
        store_word0(at, next[0]);
        return sync(stream, true);
    }
    unsigned different = 0;
    unsigned last = 0;
    for (unsigned i = 0; i < ste_words; ++i) {
        if (old[i] != next[i]) {
            ++different;
            last = i;
        }
    }
    if (different == 0) {
        return true;
    }
    if (passes(old[0]) && different == 1) {
        port_.store(at + last * 8, next[last]);
        port_.publish();
        return sync(stream, true);
    }
    if (passes(old[0])) {
        // Silently: what is aborted meanwhile is nobody's mistake.
        store_word0(at, abort_ste[0]);
        if (!sync(stream, true)) {
            return false;
        }
    }
    for (unsigned i = 1; i < ste_words; ++i) {
        port_.store(at + i * 8, next[i]);
    }
    port_.publish();
    // Nobody holds the old words 1 to 7 any more when word 0 makes them count [§3.21.3.1 steps 2 to 4].
    if (!sync(stream, true)) {
        return false;
    }
    store_word0(at, next[0]);
    return sync(stream, true);
}

} // namespace atl::smmu
