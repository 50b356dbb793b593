// SPDX-License-Identifier: Apache-2.0
// Hypercall dispatch [DEN0028E]: unknown functions, the architecture calls, FF-A and Atoll's own, by HVC and
// SMC alike.
#include "lib/abi/ffa.h"
#include "tests/support/el2_world.hpp"

using namespace atl;
using namespace atl::test;

TEST_CASE("smccc: version and features") {
    Machine m;
    m.boot(1);
    Vcpu& v = m.vcpu(1);
    for (const bool smc : {false, true}) {
        CHECK(m.call(v, {abi::smccc_version}, smc) == 0x0001'0002);
        CHECK(m.call(v, {abi::smccc_arch_features, abi::smccc_version}, smc) == 0);
        CHECK(m.call(v, {abi::smccc_arch_features, abi::smccc_arch_features}, smc) == 0);
        for (const u64 function : {abi::smccc_arch_workaround_1, abi::smccc_arch_workaround_2,
                                   abi::smccc_arch_workaround_3, abi::smccc_arch_soc_id, 0x1234u}) {
            CHECK(m.call(v, {abi::smccc_arch_features, function}, smc) == abi::smccc_not_supported);
        }
    }
}

TEST_CASE("smccc: an unknown function is NOT_SUPPORTED and changes no other register") {
    Machine m;
    m.boot(1);
    Vcpu& v = m.load(m.vcpu(1));
    for (const u64 function : {u64{0}, u64{1}, u64{0x8000'0003}, u64{0x8400'0020}, u64{0x8400'005f},
                               u64{0x8400'00f0}, u64{0x8600'0000}, u64{0x8700'0000}, u64{0xbf00'ff01},
                               u64{0xc200'0000}, u64{0x0400'0000}, u64{0xffff'ffff}, u64{0x7fff'ffff}}) {
        for (const bool smc : {false, true}) {
            for (unsigned i = 1; i < 31; ++i) {
                v.x[i] = 0x1000 + i;
            }
            const u64 pc = v.pc;
            v.x[0] = function;
            CHECK(m.call(v, {function}, smc) == abi::smccc_not_supported);
            for (unsigned i = 8; i < 31; ++i) {
                CHECK(v.x[i] == 0x1000 + i);
            }
            CHECK(v.pc == pc + (smc ? 4 : 0));
        }
    }
}

TEST_CASE("smccc: FF-A and Atoll's own calls reach their owner by both conduits") {
    Machine m({VmSpec{}, VmSpec{}});
    m.boot_all();
    for (unsigned id = 1; id <= 2; ++id) {
        for (const bool smc : {false, true}) {
            CHECK(m.call(m.vcpu(id), {FFA_VERSION, FFA_VERSION_1_1}, smc) == FFA_VERSION_1_1);
            CHECK(m.call(m.vcpu(id), {FFA_ID_GET}, smc) == FFA_SUCCESS);
            CHECK(m.vcpu(id).x[2] == id);
            m.call(m.vcpu(id), {ATOLL_CALL_UID}, smc);
            CHECK(m.vcpu(id).x[0] == ATOLL_UID_0);
            CHECK(m.vcpu(id).x[3] == ATOLL_UID_3);
        }
    }
}

TEST_CASE("smccc: random functions and arguments never stop EL2") {
    u64 seed = 99;
    const auto random = [&seed] {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return seed ^ seed >> 31;
    };
    Machine m({{.vcpus = 2, .share_with = 1u << 2}, {.vcpus = 1, .share_with = 1u << 1}});
    m.boot_all();
    constexpr u64 bases[] = {0x8400'0000, 0xc400'0000, 0x8600'0000, 0xc600'0000, 0x8000'0000, 0xc500'0000};
    for (unsigned step = 0; step < 20'000; ++step) {
        Vcpu* const v = m.enter(0);
        if (v == nullptr) {
            for (unsigned id = 1; id <= 2; ++id) {
                if (m.vm(id).state == VmState::absent) {
                    m.boot(id);
                }
                kick_vcpus(m.vm(id), 1);
            }
            m.settle();
            continue;
        }
        const u64 which = random() % 6;
        v->x[0] = bases[which] + random() % (which == 4 ? 4 : 0xf0);
        for (unsigned i = 1; i < 8; ++i) {
            v->x[i] = random() % 3 == 0   ? random()
                      : random() % 3 == 0 ? 0x4000'0000 + (random() & 0x3f'f000)
                                          : random() % 5;
        }
        m.exit(*v, (random() % 2 == 0 ? u64{0x16} : u64{0x17}) << 26 | arch::Esr::IL::mask);
    }
}
