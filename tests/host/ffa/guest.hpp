// SPDX-License-Identifier: Apache-2.0
// A guest that speaks FF-A, for tests: builds descriptors as a driver would, in its own RAM, and makes the
// calls.
#pragma once
#include <functional>
#include <utility>

#include "tests/host/ffa/fake_host.hpp"

namespace atl::ffa::test {

/// IPA and page count of a constituent.
using Part = std::pair<u64, u32>;

struct ShareOptions {
    u32 permissions = FFA_MEM_PERM_RW;
    u64 tag = 0x7a67;
    u16 attributes = FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER;
    bool wide = false;
    Kind kind = Kind::share;
    u32 flags = 0;
};

constexpr u32 function_of(Kind kind) {
    return kind == Kind::share ? FFA_MEM_SHARE : kind == Kind::lend ? FFA_MEM_LEND : FFA_MEM_DONATE;
}

/// What a sender says by the book: DEN0140 leaves it no choice.
inline ShareOptions by_the_book(Kind kind, std::size_t borrowers = 1, u32 flags = 0) {
    ShareOptions o;
    o.kind = kind;
    o.flags = flags;
    o.permissions = kind == Kind::donate ? 0 : FFA_MEM_PERM_RW;
    o.attributes = kind == Kind::share || borrowers > 1 ? o.attributes : u16{0};
    return o;
}

class Guest {
  public:
    static constexpr u64 tx_page = 1; // RAM page numbers
    FakeHost& host;
    u16 id;
    u32 buffer_pages = 1;
    bool v1_1 = true;
    u32 repeats = 0;
    u32 patience = 0; // gives up a call after so many repeats in all; 0: never
    std::function<void()> between;

    Guest(FakeHost& h, u16 vm) : host(h), id(vm) {}

    u64 tx() const { return ipa(tx_page); }
    u64 rx() const { return ipa(tx_page + buffer_pages); }
    static u64 ipa(u64 page_number) { return ram_base + page_number * page_size; }

    Call call(u64 x0, u64 x1 = 0, u64 x2 = 0, u64 x3 = 0, u64 x4 = 0, u64 x5 = 0, u64 x6 = 0, u64 x7 = 0) {
        return call(Call{{x0, x1, x2, x3, x4, x5, x6, x7}});
    }
    /// The guest executes the instruction again while it is not finished; `between` comes in between.
    Call call(Call c) {
        if (host.dying == id) {
            return {{FFA_ERROR, 0, static_cast<u32>(FFA_DENIED), 0, 0, 0, 0, 0}}; // it runs no vCPU
        }
        for (const Call before = c; !host.ffa->handle(VmId{id}, c);) {
            ++repeats;
            if (patience != 0 && repeats % patience == 0) {
                return c; // it never comes back
            }
            host.expect(std::memcmp(&before, &c, sizeof(c)) == 0, "an unfinished call changed registers");
            if (between) {
                between();
            }
        }
        return c;
    }
    /// One step of it: nothing when it is not finished.
    bool step(Call& c) { return host.ffa->handle(VmId{id}, c); }
    /// 0 for anything but FFA_ERROR, else the status code.
    static int error(const Call& c) {
        return c.x[0] == FFA_ERROR ? static_cast<int>(static_cast<i32>(static_cast<u32>(c.x[2]))) : 0;
    }

    void start(u32 version = FFA_VERSION_1_1, u32 pages = 1) {
        v1_1 = version >= FFA_VERSION_1_1;
        buffer_pages = pages;
        call(FFA_VERSION, version);
        host.expect(error(call(FFA_RXTX_MAP64, tx(), rx(), pages)) == 0, "RXTX_MAP");
    }
    void put(u64 at, const void* data, std::size_t size) {
        host.expect(host.copy(id, at, nullptr, static_cast<const std::byte*>(data), size),
                    "guest's own store");
    }
    template <class T>
    T get(u64 at) {
        T value{};
        host.expect(
            host.copy(id, at, static_cast<std::byte*>(static_cast<void*>(&value)), nullptr, sizeof(T)),
            "guest's own load");
        return value;
    }

    std::vector<u8> head(u64 handle, u32 flags, const std::vector<u16>& receivers, u16 sender,
                         const ShareOptions& o, bool with_composite) const {
        std::vector<u8> out(v1_1 ? sizeof(ffa_mem_region) : sizeof(ffa_mem_region_v10));
        const auto count = static_cast<u32>(receivers.size());
        if (v1_1) {
            const ffa_mem_region m{sender, o.attributes,           flags, handle, o.tag, 16,
                                   count,  sizeof(ffa_mem_region), {}};
            std::memcpy(out.data(), &m, sizeof(m));
        } else {
            const ffa_mem_region_v10 m{sender, static_cast<u8>(o.attributes), 0, flags, handle, o.tag, 0,
                                       count};
            std::memcpy(out.data(), &m, sizeof(m));
        }
        const auto composite = static_cast<u32>(with_composite ? out.size() + receivers.size() * 16 : 0);
        for (const u16 r : receivers) {
            const ffa_mem_region_attributes e{r, static_cast<u8>(o.permissions), 0, composite, 0};
            append(out, e);
        }
        return out;
    }
    template <class T>
    static void append(std::vector<u8>& out, const T& value) {
        const std::size_t at = out.size();
        out.resize(at + sizeof(T));
        std::memcpy(out.data() + at, &value, sizeof(T));
    }
    std::vector<u8> share_descriptor(const std::vector<Part>& parts, const std::vector<u16>& to,
                                     const ShareOptions& o = {}) const {
        std::vector<u8> out = head(0, o.flags, to, id, o, true);
        u32 total = 0;
        for (const Part& part : parts) {
            total += part.second;
        }
        append(out, ffa_composite_mem_region{total, static_cast<u32>(parts.size()), 0});
        for (const Part& part : parts) {
            append(out, ffa_mem_region_addr_range{part.first, part.second, 0});
        }
        return out;
    }
    Call send_share(const std::vector<u8>& descriptor, bool wide = false, Kind kind = Kind::share) {
        put(tx(), descriptor.data(), descriptor.size());
        return call(function_of(kind) | (wide ? FFA_FN64 : 0), descriptor.size(), descriptor.size());
    }
    /// The whole descriptor in as many fragments as the buffer needs. Returns the last answer.
    Call send_fragments(const std::vector<u8>& descriptor, std::size_t step, Kind kind = Kind::share) {
        std::size_t at = std::min(step, descriptor.size());
        put(tx(), descriptor.data(), at);
        Call c = call(function_of(kind), descriptor.size(), at);
        while (c.x[0] == FFA_MEM_FRAG_RX) {
            host.expect(c.x[3] == at, "fragment offset");
            const std::size_t part = std::min(step, descriptor.size() - at);
            put(tx(), descriptor.data() + at, part);
            at += part;
            c = call(FFA_MEM_FRAG_TX, c.x[1], c.x[2], part, 0);
        }
        return c;
    }
    Call share(const std::vector<Part>& parts, const std::vector<u16>& to, const ShareOptions& o = {}) {
        return send_share(share_descriptor(parts, to, o), o.wide, o.kind);
    }
    static u64 handle_of(const Call& c) { return c.x[0] == FFA_SUCCESS ? c.x[2] | c.x[3] << 32 : 0; }

    Call retrieve(u64 handle, u16 owner, const ShareOptions& o = {}, u32 flags = 0) {
        const std::vector<u8> d = head(handle, flags, {id}, owner, o, false);
        put(tx(), d.data(), d.size());
        return call(o.wide ? FFA_MEM_RETRIEVE_REQ64 : FFA_MEM_RETRIEVE_REQ, d.size(), d.size());
    }
    /// Where the last retrieved buffer is; the RX buffer is released.
    Part response() {
        const u32 size = v1_1 ? sizeof(ffa_mem_region) : sizeof(ffa_mem_region_v10);
        const auto range = get<ffa_mem_region_addr_range>(rx() + size + 32);
        host.expect(error(call(FFA_RX_RELEASE)) == 0, "RX_RELEASE");
        return {range.address, range.pg_cnt};
    }
    Part borrow(u64 handle, u16 owner, const ShareOptions& o = {}) {
        const Call c = retrieve(handle, owner, o);
        host.expect(c.x[0] == FFA_MEM_RETRIEVE_RESP, "RETRIEVE_REQ");
        return c.x[0] == FFA_MEM_RETRIEVE_RESP ? response() : Part{0, 0};
    }
    Call relinquish(u64 handle, u32 flags = 0) {
        struct {
            u64 handle;
            u32 flags, count;
            u16 endpoint;
        } d{handle, flags, 1, id};
        put(tx(), &d, 18);
        return call(FFA_MEM_RELINQUISH);
    }
    Call reclaim(u64 handle, u32 flags = 0) {
        return call(FFA_MEM_RECLAIM, static_cast<u32>(handle), handle >> 32, flags);
    }
    Call message(u16 to, const std::string& text, u32 offset = 24) {
        const ffa_msg_header h{0, 0, offset, u32{id} << 16 | to, static_cast<u32>(text.size())};
        put(tx(), &h, sizeof(h));
        put(tx() + offset, text.data(), text.size());
        return call(FFA_MSG_SEND2);
    }
    std::string received() {
        const auto h = get<ffa_msg_header>(rx());
        std::string text(h.size, ' ');
        host.copy(id, rx() + h.offset, static_cast<std::byte*>(static_cast<void*>(text.data())), nullptr,
                  h.size);
        return text;
    }
    Call ring(u16 to, u64 bits) {
        return call(FFA_NOTIFICATION_SET, u32{id} << 16 | to, 0, static_cast<u32>(bits), bits >> 32);
    }
    Call bind(u16 sender, u64 bits) {
        return call(FFA_NOTIFICATION_BIND, u32{sender} << 16 | id, 0, static_cast<u32>(bits), bits >> 32);
    }
    Call notifications(u32 flags = FFA_NOTIFICATION_FROM_VM | FFA_NOTIFICATION_FROM_HYPERVISOR) {
        return call(FFA_NOTIFICATION_GET, id, flags);
    }
};

/// Three VMs: 1 and 2 may share, 1 and 3 may share, 2 and 3 may not. 4 exists and has no peers.
struct Islands {
    FakeHost host;
    Guest a{host, 1}, b{host, 2}, c{host, 3}, d{host, 4};

    explicit Islands(u64 pages = 256, u64 run = 0, u64 window_pages = 1024, u32 version = FFA_VERSION_1_1,
                     u32 buffer_pages = 1) {
        host.add_vm(1, pages, run, 1u << 2 | 1u << 3, window_pages);
        host.add_vm(2, 64, 0, 1u << 1, window_pages);
        host.add_vm(3, 64, 0, 1u << 1, window_pages);
        host.add_vm(4, 64, 0, 0, 0);
        for (Guest* g : {&a, &b, &c, &d}) {
            g->start(version, buffer_pages);
        }
    }
    /// Nothing of a refused or finished transaction is left anywhere.
    bool pristine() {
        return host.violations == 0 && host.count(PageStateFake::shared) == 0 &&
               host.count(PageStateFake::lent) == 0 && host.count(PageStateFake::donating) == 0 &&
               host.mappings() == 0 && host.storage_in_use() == 0 && host.vms[1].window.empty() &&
               host.vms[2].window.empty() && host.vms[3].window.empty();
    }
};

} // namespace atl::ffa::test
