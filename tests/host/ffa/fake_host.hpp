// SPDX-License-Identifier: Apache-2.0
// The rest of EL2 as FF-A sees it, for tests: guests with RAM, page records, stage-2 windows, a page pool,
// interrupts. Every port checks its own conditions; what FF-A must never do is counted in `violations`, with
// the last reason kept. Failures can be ordered: the n-th alloc_page, map, retrieve or write_guest from now
// fails.
#pragma once
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "el2/ffa/ffa.hpp"
#include "tests/host/ffa/fake_vm.hpp"

namespace atl::ffa::test {

class FakeHost {
  public:
    explicit FakeHost(i32 units = Budget::per_call) {
        ports = Ports{this, read_guest, write_guest, check_owned, claim,    hide,   release,
                      zero, retrieve,   relinquish,  accept,      end_gift, retain, free_retained,
                      map,  unmap,      alloc_page,  free_page,   raise};
        tables = std::make_unique<Tables>();
        ffa = std::make_unique<Ffa>();
        ffa->init(ports, *tables, 0x1234'5678'9abc'def0, units);
    }
    ~FakeHost() {
        for (std::byte* page : storage_) {
            std::free(page);
        }
    }
    FakeHost(const FakeHost&) = delete;
    FakeHost& operator=(const FakeHost&) = delete;

    /// RAM of `ram_pages` pages, physically in chunks of `run` pages that are never neighbours.
    void add_vm(u16 id, u64 ram_pages, u64 run, u32 peers, u64 window_pages, u16 vcpus = 2) {
        FakeVm& vm = vms[id];
        vm.id = id;
        vm.ram_pages = ram_pages;
        for (u64 i = 0; i < ram_pages; ++i) {
            const u64 pa = pa_base + (u64{id} << 32) + (i + (run == 0 ? 0 : i / run)) * page_size;
            vm.pa_of.push_back(pa);
            pages[pa] = FakePage{PageStateFake::owned, id, 0, 0};
        }
        const Status status =
            ffa->add({VmId{id}, vcpus, peers, {Ipa{window_base}, window_pages * page_size}});
        expect(status.ok(), "add_vm");
        ffa->vm_started(VmId{id});
    }

    void expect(bool condition, const char* what) {
        if (!condition) {
            ++violations;
            reason = what;
        }
    }

    /// A VM's end, with all its steps; `between` comes in between.
    void die(u16 id, Held held = Held::keep) {
        for (dying = id; !ffa->vm_died(VmId{id}, held);) {
            step_done();
        }
        dying = 0;
    }
    void reset(u16 id, Held held = Held::keep) {
        for (dying = id; !ffa->vm_reset(VmId{id}, held);) {
            step_done();
        }
        dying = 0;
    }
    void step_done() {
        ++steps;
        if (between) {
            between();
        }
    }

    FakePage& page(u16 vm, u64 number) { return pages[vms[vm].pa_of[number]]; }
    std::size_t storage_in_use() const { return storage_.size(); }

    u32 count(PageStateFake state) const {
        u32 n = 0;
        for (const auto& [pa, p] : pages) {
            n += p.state == state ? 1 : 0;
        }
        return n;
    }
    u32 mappings() const {
        u32 n = 0;
        for (const auto& [pa, p] : pages) {
            n += p.mappings;
        }
        return n;
    }

    std::byte* at(FakeVm& vm, u64 ipa) {
        if (ipa < ram_base || (ipa - ram_base) / page_size >= vm.ram_pages) {
            return nullptr;
        }
        const u64 pa = vm.pa_of[(ipa - ram_base) / page_size];
        if (pa == 0 || pages[pa].owner != vm.id || pages[pa].hidden) {
            return nullptr;
        }
        auto& bytes = vm.content[ipa & ~(page_size - 1)];
        bytes.resize(page_size);
        return bytes.data() + (ipa & (page_size - 1));
    }
    bool copy(u16 id, u64 ipa, std::byte* out, const std::byte* in, std::size_t size) {
        while (size != 0) {
            std::byte* const p = at(vms[id], ipa);
            if (p == nullptr) {
                return false;
            }
            const std::size_t part = std::min<std::size_t>(size, page_size - (ipa & (page_size - 1)));
            if (out != nullptr) {
                std::memcpy(out, p, part);
                out += part;
            } else {
                std::memcpy(p, in, part);
                in += part;
            }
            ipa += part;
            size -= part;
        }
        return true;
    }

    Ports ports;
    std::unique_ptr<Tables> tables;
    std::unique_ptr<Ffa> ffa;
    std::map<u16, FakeVm> vms;
    std::map<u64, FakePage> pages;
    u32 violations = 0;
    std::string reason;
    u32 reads = 0;
    std::set<u64> bytes_read; // IPAs of TX that a single call has read; for the single-fetch check
    bool track_reads = false;
    u32 steps = 0; // that a VM's end took beyond the last
    u16 dying = 0; // makes no calls
    std::function<void()> between;
    int fail_alloc = 0, fail_hide = 0, fail_map = 0, fail_retrieve = 0, fail_write = 0,
        fail_read = 0; // countdowns; 0: never

  private:
    static FakeHost& self(void* context) { return *static_cast<FakeHost*>(context); }
    static bool due(int& countdown) { return countdown > 0 && --countdown == 0; }

    static Status read_guest(void* c, VmId vm, Ipa ipa, std::span<std::byte> bytes) {
        FakeHost& h = self(c);
        ++h.reads;
        if (h.track_reads) {
            for (std::size_t i = 0; i < bytes.size(); ++i) {
                h.expect(h.bytes_read.insert(ipa.value + i).second, "a byte of guest memory was read twice");
            }
        }
        if (due(h.fail_read)) {
            return Error::denied;
        }
        return h.copy(vm.value, ipa.value, bytes.data(), nullptr, bytes.size()) ? Status{} : Error::denied;
    }
    static Status write_guest(void* c, VmId vm, Ipa ipa, std::span<const std::byte> bytes) {
        FakeHost& h = self(c);
        if (due(h.fail_write)) {
            return Error::denied;
        }
        return h.copy(vm.value, ipa.value, nullptr, bytes.data(), bytes.size()) ? Status{} : Error::denied;
    }
    /// RAM, or what was donated to it.
    u64 own_pa(u16 vm, u64 ipa) {
        if (const auto it = vms[vm].window.find(ipa); it != vms[vm].window.end()) {
            return it->second.pa;
        }
        return ipa < ram_base || (ipa - ram_base) / page_size >= vms[vm].ram_pages
                   ? 0
                   : vms[vm].pa_of[(ipa - ram_base) / page_size];
    }
    FakePage* owned(u16 vm, u64 ipa) {
        const u64 pa = own_pa(vm, ipa);
        if (pa == 0) {
            return nullptr;
        }
        FakePage& p = pages[pa];
        return p.owner == vm && p.state == PageStateFake::owned ? &p : nullptr;
    }
    static PageStateFake state_of(Kind kind) {
        return kind == Kind::share  ? PageStateFake::shared
               : kind == Kind::lend ? PageStateFake::lent
                                    : PageStateFake::donating;
    }
    static Status check_owned(void* c, VmId vm, Ipa ipa, u64 count) {
        for (u64 i = 0; i < count; ++i) {
            if (self(c).owned(vm.value, ipa.value + i * page_size) == nullptr) {
                return Error::denied;
            }
        }
        return {};
    }
    static Result<PaRun> claim(void* c, VmId owner, Kind kind, Ipa ipa, u64 max) {
        FakeHost& h = self(c);
        h.expect(max != 0 && ipa.is_aligned(page_size), "claim of nothing");
        h.max_claim = std::max(h.max_claim, max);
        if (kind != Kind::share && ipa.value >= window_base) {
            return Error::denied;
        }
        PaRun run{Pa{0}, 0};
        for (u64 i = 0; i < max; ++i) {
            FakePage* const p = h.owned(owner.value, ipa.value + i * page_size);
            if (p == nullptr) {
                break;
            }
            const u64 pa = h.own_pa(owner.value, ipa.value + i * page_size);
            if (i != 0 && pa != run.base.value + i * page_size) {
                break;
            }
            run.base = i == 0 ? Pa{pa} : run.base;
            run.page_count = i + 1;
            p->state = state_of(kind);
            p->ipa = ipa.value + i * page_size;
            ++p->claims;
        }
        return run.page_count != 0 ? Result<PaRun>(run) : Result<PaRun>(Error::denied);
    }
    template <class F>
    static void each(FakeHost& h, std::span<const PaRun> runs, F f) {
        for (const PaRun& run : runs) {
            h.expect(run.page_count != 0, "an empty run");
            for (u64 i = 0; i < run.page_count; ++i) {
                const auto it = h.pages.find(run.base.value + i * page_size);
                h.expect(it != h.pages.end(), "a page that is not RAM");
                if (it != h.pages.end()) {
                    f(it->first, it->second);
                }
            }
        }
    }
    static Status hide(void* c, VmId owner, std::span<const PaRun> runs) {
        FakeHost& h = self(c);
        const bool fails = due(h.fail_hide);
        std::size_t n = 0;
        for (const PaRun& run : runs) {
            if (fails && n++ == runs.size() / 2) {
                return Error::no_memory; // half way
            }
            each(h, {&run, 1}, [&](u64, FakePage& p) {
                h.expect((p.state == PageStateFake::lent || p.state == PageStateFake::donating) &&
                             p.owner == owner.value && !p.hidden && p.mappings == 0,
                         "hide");
                p.hidden = true;
            });
        }
        return {};
    }
    static void release(void* c, VmId owner, Kind kind, std::span<const PaRun> runs) {
        each(self(c), runs, [&](u64, FakePage& p) {
            self(c).expect(p.state == state_of(kind) && p.owner == owner.value && p.mappings == 0, "release");
            p.state = PageStateFake::owned;
            p.hidden = false;
            --p.claims;
        });
    }
    static void zero(void* c, std::span<const PaRun> runs) {
        each(self(c), runs, [&](u64, FakePage& p) {
            self(c).expect(p.hidden && p.mappings == 0, "zeroed while somebody reaches it");
            ++p.zeroed;
        });
    }
    static Status retrieve(void* c, VmId borrower, std::span<const PaRun> runs) {
        if (due(self(c).fail_retrieve)) {
            return Error::busy;
        }
        each(self(c), runs, [&](u64, FakePage& p) {
            self(c).expect((p.state == PageStateFake::shared || p.hidden) && p.owner != borrower.value,
                           "retrieve");
            self(c).expect(p.state == PageStateFake::shared || p.state == PageStateFake::lent ||
                               p.state == PageStateFake::donating,
                           "retrieve in a wrong state");
            ++p.mappings;
        });
        return {};
    }
    static void accept(void* c, VmId donor, VmId receiver, std::span<const PaRun> runs) {
        each(self(c), runs, [&](u64 pa, FakePage& p) {
            self(c).expect(p.state == PageStateFake::donating && p.owner == donor.value && p.mappings == 1,
                           "accept");
            p = FakePage{PageStateFake::owned, receiver.value, 0, 0, false, p.zeroed, 0};
            for (u64& own : self(c).vms[donor.value].pa_of) {
                own = own == pa ? 0 : own;
            }
        });
    }
    static u64 end_gift(void* c, VmId vm, Ipa ipa, u64 max_pages) {
        FakeHost& h = self(c);
        h.expect(max_pages != 0, "end_gift of nothing");
        auto& window = h.vms[vm.value].window;
        if (const auto it = window.find(ipa.value); it != window.end()) {
            FakePage& p = h.pages[it->second.pa];
            window.erase(it);
            if (p.owner == vm.value && p.state == PageStateFake::owned) {
                p.state = PageStateFake::free;
                p.owner = 0;
            }
        }
        return 1;
    }
    static void relinquish(void* c, VmId borrower, std::span<const PaRun> runs) {
        FakeHost& h = self(c);
        each(h, runs, [&](u64 pa, FakePage& p) {
            h.expect(p.mappings != 0, "relinquish of what is not mapped");
            --p.mappings;
            for (const auto& [ipa, m] : h.vms[borrower.value].window) {
                h.expect(!h.slow_checks || m.pa != pa, "relinquish of what is still in stage 2");
            }
        });
    }
    static void retain(void* c, VmId owner, std::span<const PaRun> runs) {
        each(self(c), runs, [&](u64 pa, FakePage& p) {
            self(c).expect((p.state == PageStateFake::shared || p.state == PageStateFake::lent) &&
                               p.owner == owner.value,
                           "retain");
            p.state = PageStateFake::retained;
            p.owner = 0;
            p.hidden = false;
            for (u64& own : self(c).vms[owner.value].pa_of) {
                own = own == pa ? 0 : own;
            }
            self(c).vms[owner.value].window.erase(p.ipa);
        });
    }
    static void free_retained(void* c, std::span<const PaRun> runs) {
        each(self(c), runs, [&](u64, FakePage& p) {
            self(c).expect(p.state == PageStateFake::retained && p.mappings == 0, "free_retained");
            p.state = PageStateFake::free;
        });
    }
    static Status map(void* c, VmId borrower, Ipa ipa, std::span<const PaRun> runs, Access access,
                      bool execute) {
        FakeHost& h = self(c);
        const bool fails = due(h.fail_map);
        u64 at = ipa.value;
        for (const PaRun& run : runs) {
            for (u64 i = 0; i < run.page_count; ++i, at += page_size) {
                const u64 pa = run.base.value + i * page_size;
                h.expect(h.pages[pa].mappings != 0, "mapped before it is counted");
                h.expect(h.vms[borrower.value].window.emplace(at, FakeMapping{pa, access, execute}).second,
                         "mapped twice");
            }
            if (fails) {
                return Error::no_memory; // half way
            }
        }
        return {};
    }
    static void unmap(void* c, VmId borrower, Ipa ipa, u64 count) {
        FakeVm& vm = self(c).vms[borrower.value];
        ++vm.unmaps;
        vm.window.erase(vm.window.lower_bound(ipa.value),
                        vm.window.lower_bound(ipa.value + count * page_size));
    }
    static std::byte* alloc_page(void* c) {
        FakeHost& h = self(c);
        if (due(h.fail_alloc)) {
            return nullptr;
        }
        auto* const page = static_cast<std::byte*>(std::aligned_alloc(page_size, page_size));
        std::memset(page, 0xa5, page_size);
        h.storage_.insert(page);
        return page;
    }
    static void free_page(void* c, std::byte* page) {
        self(c).expect(self(c).storage_.erase(page) == 1, "free_page of a page that was not allocated");
        std::free(page);
    }
    static void raise(void* c, VmId vm) { ++self(c).vms[vm.value].interrupts; }

    std::set<std::byte*> storage_;

  public:
    bool slow_checks = true;
    u64 max_claim = 0; // pages wanted at once
};

} // namespace atl::ffa::test
