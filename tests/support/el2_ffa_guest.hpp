// SPDX-License-Identifier: Apache-2.0
// A guest of el2_world.hpp's machine that speaks FF-A v1.1 through real hypercalls, descriptors in its own
// RAM.
#pragma once
#include <cstring>
#include <utility>

#include "lib/abi/ffa.h"
#include "tests/support/el2_world.hpp"

namespace atl::test {

/// IPA and page count.
using Part = std::pair<u64, u32>;

struct FfaGuest {
    static constexpr u64 tx = 0x4010'0000;
    static constexpr u64 rx = 0x4010'1000;
    Machine& m;
    unsigned id;

    FfaGuest(Machine& machine, unsigned vm) : m(machine), id(vm) {}

    Vcpu& cpu() { return m.vcpu(id); }
    /// x0; negative FF-A codes for FFA_ERROR.
    i64 call(std::initializer_list<u64> x) {
        for (unsigned i = 0; i < 8; ++i) {
            cpu().x[i] = 0; // unused parameters must be zero
        }
        m.call(cpu(), x);
        m.load(cpu());
        return cpu().x[0] == FFA_ERROR ? static_cast<i32>(cpu().x[2]) : static_cast<i64>(cpu().x[0]);
    }
    void start() {
        REQUIRE(call({FFA_VERSION, FFA_VERSION_1_1}) == FFA_VERSION_1_1);
        REQUIRE(call({FFA_RXTX_MAP64, tx, rx, 1}) == FFA_SUCCESS);
    }
    template <class T>
    void append(std::vector<u8>& out, const T& value) {
        const std::size_t at = out.size();
        out.resize(at + sizeof(T));
        std::memcpy(out.data() + at, &value, sizeof(T));
    }
    std::vector<u8> head(u16 sender, u16 receiver, u64 handle, u32 permissions, bool composite) {
        std::vector<u8> out;
        const u16 attributes = FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER;
        append(out, ffa_mem_region{sender, attributes, 0, handle, 7, 16, 1, sizeof(ffa_mem_region), {}});
        const u32 at = composite ? sizeof(ffa_mem_region) + 16 : 0;
        append(out, ffa_mem_region_attributes{receiver, static_cast<u8>(permissions), 0, at, 0});
        return out;
    }
    /// 0 when refused.
    u64 share(unsigned to, const std::vector<Part>& parts, u32 permissions = FFA_MEM_PERM_RW) {
        return send(ffa::Kind::share, to, parts, permissions);
    }
    u64 send(ffa::Kind kind, unsigned to, const std::vector<Part>& parts, u32 permissions) {
        const u64 bytes = describe(kind, to, parts, permissions);
        const u32 function = kind == ffa::Kind::share  ? FFA_MEM_SHARE
                             : kind == ffa::Kind::lend ? FFA_MEM_LEND
                                                       : FFA_MEM_DONATE;
        return call({function, bytes, bytes}) == FFA_SUCCESS ? cpu().x[2] | cpu().x[3] << 32 : 0;
    }
    /// The descriptor, in TX.
    u64 describe(ffa::Kind kind, unsigned to, const std::vector<Part>& parts, u32 permissions) {
        std::vector<u8> d = head(static_cast<u16>(id), static_cast<u16>(to), 0, permissions, true);
        if (kind != ffa::Kind::share) { // the sender must not say [DEN0140]
            d[offsetof(ffa_mem_region, attributes)] = 0;
        }
        u32 total = 0;
        for (const Part& part : parts) {
            total += part.second;
        }
        append(d, ffa_composite_mem_region{total, static_cast<u32>(parts.size()), 0});
        for (const Part& part : parts) {
            append(d, ffa_mem_region_addr_range{part.first, part.second, 0});
        }
        REQUIRE(d.size() <= page_size);
        m.poke(id, tx, d.data(), d.size());
        return d.size();
    }
    /// Where it is; {0, 0} when refused.
    Part retrieve(unsigned owner, u64 handle, u32 permissions = FFA_MEM_PERM_RW) {
        const std::vector<u8> d =
            head(static_cast<u16>(owner), static_cast<u16>(id), handle, permissions, false);
        call({FFA_RX_RELEASE}); // a notice may be there
        m.poke(id, tx, d.data(), d.size());
        if (call({FFA_MEM_RETRIEVE_REQ, d.size(), d.size()}) != FFA_MEM_RETRIEVE_RESP) {
            return {0, 0};
        }
        ffa_mem_region_addr_range range{};
        m.peek(id, rx + sizeof(ffa_mem_region) + 32, &range, sizeof(range));
        REQUIRE(call({FFA_RX_RELEASE}) == FFA_SUCCESS);
        return {range.address, range.pg_cnt};
    }
    i64 relinquish(u64 handle) {
        struct {
            u64 handle;
            u32 flags, count;
            u16 endpoint;
        } d{handle, 0, 1, static_cast<u16>(id)};
        m.poke(id, tx, &d, 18);
        return call({FFA_MEM_RELINQUISH});
    }
    i64 reclaim(u64 handle) { return call({FFA_MEM_RECLAIM, static_cast<u32>(handle), handle >> 32, 0}); }
    i64 revoke(u64 handle) { return call({ATOLL_MEM_REVOKE, handle}); }
};

constexpr u64 buffer = 0x4020'0000;

/// Two VMs that may share.
struct Two {
    Machine m;
    FfaGuest a{m, 1}, b{m, 2};
    u64 all; // free pages with every VM off

    explicit Two(u64 ram_mib = 4, u64 host_mib = 64)
        : m({{.vcpus = 1, .ram_mib = ram_mib, .share_with = 1u << 2},
             {.vcpus = 1, .ram_mib = 4, .share_with = 1u << 1}},
            2, host_mib) {
        all = free();
        m.boot_all();
        a.start();
        b.start();
    }
    u64 free() { return m.world.pool.counters().free_pages; }
    u32 in_state(PageState state) { return m.world.ledger.census().pages[static_cast<unsigned>(state)]; }
    Pa pa(unsigned id, u64 ipa) {
        const auto pa = m.vm(id).space.translate(Ipa{ipa});
        REQUIRE(pa.ok());
        return *pa;
    }
    bool mapped(unsigned id, u64 ipa) { return m.vm(id).space.translate(Ipa{ipa}).ok(); }
    void off(unsigned id) {
        m.on(0);
        stop_vm(m.vm(id), AfterStop::off, false);
        m.settle();
        REQUIRE(m.vm(id).state == VmState::absent);
    }
    void reset(unsigned id) {
        m.on(0);
        stop_vm(m.vm(id), AfterStop::restart, false);
        m.settle();
        REQUIRE(m.vm(id).state == VmState::running);
    }
    /// A guest's access to `ipa` faults: the action.
    Action fault(unsigned id, u64 ipa, u64 fsc, bool write, u64 pstate = arch::Spsr::EL1h) {
        Vcpu& v = m.load(m.vcpu(id));
        v.pc = 0x4000'0000;
        m.hw().here().pstate = pstate;
        m.hw().fault = {0xffff'0000'0000'0000 | ipa, Ipa{ipa}, true};
        return m.exit(v, u64{0x24} << 26 | arch::Esr::IL::mask | fsc | (write ? 0x40 : 0));
    }
};

} // namespace atl::test
