// SPDX-License-Identifier: Apache-2.0
// A model SMMU with the driver on it, for the tests of smmu/: VTCR values and shorthands.
#pragma once
#include <memory>

#include "tests/support/smmu_model.hpp"

namespace atl::test {

/// VTCR_EL2 of a 40-bit IPA: T0SZ 24, SL0 1 (start at level 1), write-back inner shareable, 4 KiB, PA 40
/// bits.
constexpr u64 vtcr_40 = 24 | 1 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 0 << 14 | 2 << 16;

struct SmmuFixture {
    SmmuModel model;
    std::unique_ptr<smmu::Smmu> smmu = std::make_unique<smmu::Smmu>();

    smmu::Config config() {
        return {{SmmuModel::registers, smmu::register_bytes}, model.pages(), Pa{u64{1} << 40}};
    }
    Status init() { return smmu->init(config()); }
    static smmu::Stage2 stage2(unsigned vm, u16 vmid) {
        return {{0x8000'0000 + vm * 0x1'0000}, vtcr_40, {vmid}};
    }
    smmu::Ste ste(const smmu::Stage2& stage2) const { return *smmu::encode(stage2, smmu->features()); }
    void map(const smmu::Stage2& stage2, u64 ipa, u64 pa, bool writable = true, u64 size = page_size) {
        model.tables[stage2.root.value][ipa] = {pa, writable, size};
    }
    void unmap(const smmu::Stage2& stage2, u64 ipa) { model.tables[stage2.root.value].erase(ipa); }
    /// What drain() hands out.
    std::vector<smmu::FaultRecord> faults;
    smmu::FaultSink sink() {
        return {this, [](void* self, const smmu::FaultRecord& record) {
                    static_cast<SmmuFixture*>(self)->faults.push_back(record);
                }};
    }
};

} // namespace atl::test
