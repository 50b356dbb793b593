// SPDX-License-Identifier: Apache-2.0
// The model's devices, caches and the watch on stream table entries, and the host side of Port: see
// smmu_model.hpp.
#include "tests/support/smmu_model.hpp"

#include <algorithm>

namespace atl::test {

using namespace smmu;

namespace {

u32 vmid_of(const Ste& ste) {
    return static_cast<u32>(Ste2::S2VMID::get(ste[2]));
}

/// [IHI0070 §5.2.2], as far as a stage-2-only entry goes.
bool legal(const Ste& ste, const IdRegisters& id) {
    return Ste0::Config::get(ste[0]) == config_stage2 && Ste2::S2AA64::test(ste[2]) &&
           Ste2::S2TG::get(ste[2]) == 0 && !Ste2::S2ENDI::test(ste[2]) && !Ste2::S2HA::test(ste[2]) &&
           !Ste2::S2HD::test(ste[2]) &&
           (Idr0::STALL_MODEL::get(id.idr0) != stall_none || !Ste2::S2S::test(ste[2])) &&
           (Idr0::VMID16::test(id.idr0) || vmid_of(ste) < 256);
}

/// Whether it drops a translation of [ipa, ipa + size).
bool hits(const Command& command, u32 vmid, u64 ipa, u64 size) {
    switch (op_of(command.word[0])) {
    case Op::TLBI_NSNH_ALL:
        return true;
    case Op::TLBI_S12_VMALL:
        return Cmd0::VMID::get(command.word[0]) == vmid;
    case Op::TLBI_S2_IPA: {
        u64 pages = 1;
        if (Cmd1::TG::get(command.word[1]) != 0) {
            pages = (Cmd0::NUM::get(command.word[0]) + 1) << Cmd0::SCALE::get(command.word[0]);
        }
        const u64 first = command.word[1] & Cmd1::Address::mask;
        return Cmd0::VMID::get(command.word[0]) == vmid && ipa < first + pages * page_size &&
               first < ipa + size;
    }
    default:
        return false;
    }
}

bool hits_stream(const Command& command, u32 stream) {
    return op_of(command.word[0]) == Op::CFGI_STE_RANGE ||
           (op_of(command.word[0]) == Op::CFGI_STE && Cmd0::StreamID::get(command.word[0]) == stream);
}

} // namespace

/// Where the entry is by what memory says; nothing when the table does not reach it.
std::optional<u64> SmmuModel::entry_address(u32 stream) {
    const u64 config = value(Reg32::STRTAB_BASE_CFG);
    const u64 base = value(Reg64::STRTAB_BASE) & 0x000f'ffff'ffff'ffc0;
    if ((u64{stream} >> StrtabBaseCfg::LOG2SIZE::get(config)) != 0) {
        return std::nullopt;
    }
    if (StrtabBaseCfg::FMT::get(config) == 0) {
        return base + u64{stream} * ste_bytes;
    }
    const u64 split = StrtabBaseCfg::SPLIT::get(config);
    const u32 top = static_cast<u32>(stream >> split);
    const u64 descriptor = l1_cache_.count(top) ? l1_cache_[top] : memory_[base + top * L1std::bytes];
    const u64 span = L1std::Span::get(descriptor);
    if (span == 0 || span > split + 1 || (stream & ((1u << split) - 1)) >= u64{1} << (span - 1)) {
        return std::nullopt;
    }
    return (descriptor & L1std::L2Ptr::mask) + (stream & ((1u << split) - 1)) * ste_bytes;
}

const Ste* SmmuModel::find_entry(u32 stream) {
    if (const auto cached = ste_cache_.find(stream); cached != ste_cache_.end()) {
        return &cached->second;
    }
    const u64 config = value(Reg32::STRTAB_BASE_CFG);
    if (StrtabBaseCfg::FMT::get(config) == 1 && (u64{stream} >> StrtabBaseCfg::LOG2SIZE::get(config)) == 0) {
        // Invalid descriptors are cached like valid ones [§3.21.3].
        const u32 top = static_cast<u32>(stream >> StrtabBaseCfg::SPLIT::get(config));
        l1_cache_.try_emplace(top, memory_[(value(Reg64::STRTAB_BASE) & 0x000f'ffff'ffff'ffc0) + top * 8]);
    }
    const std::optional<u64> at = entry_address(stream);
    if (!at) {
        return nullptr;
    }
    Ste ste{};
    for (unsigned i = 0; i < ste_words; ++i) {
        ste[i] = memory_[*at + i * 8];
    }
    return &(ste_cache_[stream] = ste);
}

void SmmuModel::fault(u8 number, u32 stream, u64 ipa, bool write) {
    const bool has_address = number >= 0x10;
    event({number | u64{stream} << 32,
           has_address ? (write ? 0 : Evt1::RnW::mask) | Evt1::S2::mask | Evt1::CLASS::of(2) : 0,
           has_address ? ipa : 0, 0});
}

/// The physical address, or nothing.
std::optional<u64> SmmuModel::translate(u32 stream, u64 ipa, bool write, u32* vmid) {
    if (!Cr0::SMMUEN::test(cr0_ & cr0ack_)) {
        if (Gbpa::ABORT::test(gbpa_)) {
            return std::nullopt;
        }
        bypassed = true;
        return ipa;
    }
    const Ste* ste = find_entry(stream);
    if (ste == nullptr) {
        if (Cr2::RECINVSID::test(value(Reg32::CR2))) {
            fault(0x02, stream, ipa, write);
        }
        return std::nullopt;
    }
    if (!Ste0::V::test((*ste)[0])) {
        fault(0x04, stream, ipa, write);
        return std::nullopt;
    }
    if (!passes((*ste)[0])) {
        return std::nullopt;
    }
    if (!legal(*ste, id)) {
        complain("an illegal entry is used");
        fault(0x04, stream, ipa, write);
        return std::nullopt;
    }
    *vmid = vmid_of(*ste);
    const std::pair<u32, u64> key{*vmid, ipa};
    auto entry = tlb_.upper_bound(key);
    const bool cached = entry != tlb_.begin() && (--entry)->first.first == *vmid &&
                        ipa - entry->first.second < entry->second.size;
    if (!cached) {
        const auto& table = tables[(*ste)[3] & Ste3::S2TTB::mask];
        auto leaf = table.upper_bound(ipa);
        if (leaf == table.begin() || ipa - (--leaf)->first >= leaf->second.size) {
            if (Ste2::S2R::test((*ste)[2])) {
                fault(0x10, stream, ipa, write);
            }
            return std::nullopt;
        }
        entry = tlb_.insert_or_assign({*vmid, leaf->first}, leaf->second).first;
    }
    if (write && !entry->second.writable) {
        fault(0x13, stream, ipa, write);
        return std::nullopt;
    }
    return entry->second.pa + (ipa - entry->first.second);
}

SmmuModel::Access SmmuModel::dma(StreamId stream, Ipa ipa, bool write) {
    u32 vmid = 0;
    const std::optional<u64> pa = translate(stream.value, ipa.value, write, &vmid);
    return pa ? Access{true, Pa{*pa}} : Access{};
}

bool SmmuModel::start(StreamId stream, Ipa ipa) {
    u32 vmid = 0;
    const std::optional<u64> pa = translate(stream.value, ipa.value, true, &vmid);
    if (pa) {
        const u64 in_page = ipa.value & (page_size - 1);
        flights_.push_back({stream.value, vmid, ipa.value - in_page, *pa - in_page});
    }
    return pa.has_value();
}

void SmmuModel::finish_one(const Flight& flight) {
    written.push_back(flight.pa);
    if (quiet_pages.count(flight.pa) != 0) {
        complain("an access reaches a page that has moved on");
    }
}

void SmmuModel::finish() {
    for (const Flight& flight : flights_) {
        finish_one(flight);
    }
    flights_.clear();
}

/// Everything before it is complete: caches dropped, accesses that used them in memory [§4.7.3].
void SmmuModel::sync() {
    ++syncs;
    for (const Command& command : pending_) {
        std::erase_if(
            tlb_, [&](const auto& e) { return hits(command, e.first.first, e.first.second, e.second.size); });
        std::erase_if(ste_cache_, [&](const auto& e) { return hits_stream(command, e.first); });
        const u64 split = StrtabBaseCfg::SPLIT::get(value(Reg32::STRTAB_BASE_CFG));
        std::erase_if(l1_cache_, [&](const auto& e) {
            return op_of(command.word[0]) == Op::CFGI_STE_RANGE ||
                   (op_of(command.word[0]) == Op::CFGI_STE && !Cmd1::Leaf::test(command.word[1]) &&
                    Cmd0::StreamID::get(command.word[0]) >> split == e.first);
        });
        std::erase_if(flights_, [&](const Flight& flight) {
            const bool done =
                hits(command, flight.vmid, flight.ipa, page_size) || hits_stream(command, flight.stream);
            if (done) {
                finish_one(flight);
            }
            return done;
        });
    }
    pending_.clear();
    for (auto& [stream, watch] : watches_) {
        if (watch.invalidating) {
            watch.seen = watch.after;
            watch.invalidating = false;
        }
        check_watch(stream, watch);
    }
}

void SmmuModel::watch(StreamId stream, std::vector<Ste> allowed) {
    Watch& watch = watches_[stream.value];
    watch.allowed = std::move(allowed);
    const std::optional<u64> at = entry_address(stream.value);
    for (unsigned i = 0; i < ste_words; ++i) {
        watch.seen[i] = {at ? memory_[*at + i * 8] : invalid_ste[i]};
    }
}

void SmmuModel::watch_store(u64 pa, u64 word_value) {
    for (auto& [stream, watch] : watches_) {
        const std::optional<u64> at = entry_address(stream);
        if (at && pa >= *at && pa < *at + ste_bytes) {
            watch.seen[(pa - *at) / 8].insert(word_value);
            watch.after[(pa - *at) / 8].insert(word_value);
            check_watch(stream, watch);
        }
    }
}

/// Every combination of the words that the SMMU may hold is aborting or allowed.
void SmmuModel::check_watch(u32 stream, Watch& watch) {
    ++watch_checks;
    Ste candidate{};
    const std::function<void(unsigned)> pick = [&](unsigned i) {
        if (i == ste_words) {
            const bool fine = std::any_of(watch.allowed.begin(), watch.allowed.end(), [&](const Ste& ste) {
                for (unsigned k = 0; k < ste_words; ++k) {
                    if (((ste[k] ^ candidate[k]) & used_bits(candidate[0], k)) != 0) {
                        return false;
                    }
                }
                return true;
            });
            if (!fine) {
                complain("the entry of stream " + std::to_string(stream) + " can be seen as a mixture");
            }
            return;
        }
        for (const u64 word_value : watch.seen[i]) {
            candidate[i] = word_value;
            if (i == 0 && (!passes(word_value))) {
                if (!Ste0::V::test(word_value) && std::find(watch.allowed.begin(), watch.allowed.end(),
                                                            invalid_ste) == watch.allowed.end()) {
                    complain("the entry can be seen invalid, so that what is nobody's mistake is reported");
                }
                continue;
            }
            pick(i + 1);
        }
    };
    pick(0);
}

} // namespace atl::test

// Host side of smmu/port_hw.hpp.
namespace atl::smmu {

using test::SmmuModel;

u32 Port::read(Reg32 reg) const {
    return SmmuModel::current().read(reg);
}
void Port::write(Reg32 reg, u32 value) const {
    SmmuModel::current().write(reg, value);
}
void Port::write(Reg64 reg, u64 value) const {
    SmmuModel::current().write(reg, value);
}
u64 Port::load(Pa at) const {
    return SmmuModel::current().load(at.value);
}
void Port::store_word(Pa at, u64 value) const {
    SmmuModel::current().store(at.value, value);
}
void Port::clean(Pa at) const {
    SmmuModel::current().clean(at.value);
}
void Port::drop(Pa at) const {
    SmmuModel::current().invalidate_line(at.value);
}
void Port::publish() const {
    SmmuModel::current().publish();
}
void Port::observe() const {
    SmmuModel::current().observe();
}
void Port::relax() {}

} // namespace atl::smmu
