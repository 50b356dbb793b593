// SPDX-License-Identifier: Apache-2.0
// FF-A against arbitrary guests: a byte string is a program of calls, stores and deaths of four VMs. After
// every step the page records, windows and storage must agree with each other; at the end, when every VM has
// died, nothing is left. libFuzzer:  clang++ -fsanitize=fuzzer,address ... ; or with ATOLL_FUZZ_STANDALONE a
// program that runs generated inputs from a fixed seed: ffa_fuzz [inputs].
#include <cstdio>
#include <cstdlib>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

namespace {

constexpr u32 ram_pages = 96;
constexpr u32 window_pages = 40;

/// Reads the program; ends in zeros.
struct Input {
    const u8* data;
    std::size_t size;
    std::size_t at = 0;

    bool more() const { return at < size; }
    u8 byte() { return at < size ? data[at++] : 0; }
    u32 word() {
        u32 value = 0;
        for (int i = 0; i < 4; ++i) {
            value = value << 8 | byte();
        }
        return value;
    }
    u32 below(u32 n) { return byte() % n; }
};

constexpr u32 functions[] = {
    FFA_VERSION,
    FFA_FEATURES,
    FFA_RX_RELEASE,
    FFA_RXTX_MAP,
    FFA_RXTX_MAP64,
    FFA_RXTX_UNMAP,
    FFA_PARTITION_INFO_GET,
    FFA_ID_GET,
    FFA_MEM_SHARE,
    FFA_MEM_SHARE64,
    FFA_MEM_RETRIEVE_REQ,
    FFA_MEM_RETRIEVE_REQ64,
    FFA_MEM_RELINQUISH,
    FFA_MEM_RECLAIM,
    FFA_MEM_FRAG_RX,
    FFA_MEM_FRAG_TX,
    FFA_NOTIFICATION_BITMAP_CREATE,
    FFA_NOTIFICATION_BITMAP_DESTROY,
    FFA_NOTIFICATION_BIND,
    FFA_NOTIFICATION_UNBIND,
    FFA_NOTIFICATION_SET,
    FFA_NOTIFICATION_GET,
    FFA_NOTIFICATION_INFO_GET64,
    FFA_MSG_SEND2,
    FFA_MEM_LEND,
    FFA_MEM_LEND64,
    FFA_MEM_DONATE,
    ATOLL_MEM_REVOKE,
};

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "ffa_fuzz: %s\n", what);
    std::abort();
}

class Run {
  public:
    explicit Run(Input in) : in_(in), host_(in_.below(2) == 0 ? Budget::per_call : 1 + in_.below(20)) {
        host_.between = [this] { interlude(); };
        host_.add_vm(1, ram_pages, 2, 0b1100, window_pages);
        host_.add_vm(2, ram_pages, 1, 0b1010, window_pages);
        host_.add_vm(3, ram_pages, 0, 0b0110, window_pages);
        host_.add_vm(4, ram_pages, 0, 0, 0);
        for (Guest& g : guests_) {
            g.start(in_.byte() % 2 == 0 ? FFA_VERSION_1_1 : FFA_VERSION_1_0);
            g.patience = in_.below(2) == 0 ? 0 : 1 + in_.below(12);
            g.between = [this] { interlude(); };
        }
    }

    void go() {
        while (in_.more()) {
            step();
            check();
        }
        for (u16 id = 1; id <= 4; ++id) {
            host_.die(id);
            check();
        }
        for (const u32 away : host_.tables->away) {
            if (away != 0) {
                fail("pages count as away when every VM has died");
            }
        }
        if (host_.mappings() != 0 || host_.storage_in_use() != 0 || host_.count(PageStateFake::shared) != 0 ||
            host_.count(PageStateFake::lent) != 0 || host_.count(PageStateFake::donating) != 0 ||
            host_.count(PageStateFake::retained) != 0) {
            fail("something outlived every VM");
        }
    }

  private:
    struct Known {
        u64 handle;
        u16 owner;
        u16 borrower; // one of them
    };
    /// Others have their turn in the middle of a long call or a VM's end.
    void interlude() {
        if (depth_ < 3 && in_.below(3) == 0) {
            ++depth_;
            step();
            check();
            --depth_;
        }
    }
    Guest& guest() { return guests_[in_.below(4)]; }
    /// A handle that was given out not long ago, or a made-up one.
    Known known() {
        if (handles_.empty() || in_.below(16) == 0) {
            return {u64{in_.word()} << 32 | in_.word(), static_cast<u16>(in_.below(5)), 0};
        }
        return handles_[in_.below(static_cast<u32>(handles_.size()))];
    }
    void keep(u64 handle, u16 owner, u16 borrower) {
        if (handle != 0) {
            handles_.push_back({handle, owner, borrower});
            if (handles_.size() > 6) {
                handles_.erase(handles_.begin());
            }
        }
    }
    std::vector<u8> descriptor(Guest& g) {
        std::vector<Part> parts;
        const bool wild = in_.below(8) == 0;
        for (u32 n = in_.below(5) + (wild ? 0 : 1); n != 0; --n) {
            parts.emplace_back(Guest::ipa(wild ? in_.below(ram_pages) : 8 + in_.below(ram_pages - 11)),
                               wild ? in_.below(4) : 1 + in_.below(3));
        }
        std::vector<u16> to;
        for (u32 n = 1 + in_.below(8) / 6; n != 0; --n) {
            to.push_back(static_cast<u16>(in_.below(8) == 0 ? in_.below(5) : 1 + (g.id + in_.below(2)) % 3));
            last_receiver_ = to.back();
        }
        kind_ = static_cast<Kind>(in_.below(3));
        ShareOptions o = by_the_book(kind_, to.size(), kind_ == Kind::share ? 0 : in_.below(2));
        o.permissions = wild ? in_.below(16) : kind_ == Kind::donate ? 0 : 1 + in_.below(2);
        std::vector<u8> d = g.share_descriptor(parts, to, o);
        for (u32 n = wild ? in_.below(4) : 0; n != 0; --n) { // and some damage
            d[in_.word() % d.size()] = in_.byte();
        }
        return d;
    }
    void step() {
        Guest& g = guest();
        switch (in_.below(13)) {
        case 0: // any call
            call_anything(g);
            break;
        case 1:
        case 2: {
            const auto d = descriptor(g);
            const Call c = in_.below(3) == 0 ? g.send_fragments(d, 16 * (1 + in_.below(10)), kind_)
                                             : g.send_share(d, false, kind_);
            keep(Guest::handle_of(c), g.id, last_receiver_);
            break;
        }
        case 3: { // the beginning of a transfer
            const auto d = descriptor(g);
            g.put(g.tx(), d.data(), d.size());
            const Call c = g.call(function_of(kind_), d.size(), in_.word() % (d.size() + 16));
            keep(c.x[0] == FFA_MEM_FRAG_RX ? c.x[1] | c.x[2] << 32 : Guest::handle_of(c), g.id,
                 last_receiver_);
            break;
        }
        case 4:
        case 5: {
            const Known k = known();
            Guest& borrower =
                k.borrower == 0 || k.borrower > 4 || in_.below(8) == 0 ? g : guests_[k.borrower - 1];
            if (in_.below(4) != 0) {
                borrower.call(FFA_RX_RELEASE);
            }
            const u32 flags = in_.below(8) == 0 ? in_.byte() : 0;
            const u32 permissions = in_.below(4) == 0 ? in_.below(16) : in_.below(2) * FFA_MEM_PERM_NX;
            borrower.retrieve(k.handle, k.owner, {.permissions = permissions}, flags);
            break;
        }
        case 6: {
            const Known k = known();
            (k.borrower == 0 || k.borrower > 4 || in_.below(8) == 0 ? g : guests_[k.borrower - 1])
                .relinquish(k.handle, in_.below(4) == 0 ? in_.below(4) : 0);
            break;
        }
        case 7:
            reclaim(g);
            break;
        case 8:
            g.call(FFA_RX_RELEASE);
            break;
        case 9:
            g.message(static_cast<u16>(in_.below(5)), "hello");
            break;
        case 10:
            if (in_.below(2) == 0) {
                g.bind(static_cast<u16>(in_.below(5)), in_.byte());
            } else {
                g.ring(static_cast<u16>(in_.below(5)), in_.byte());
            }
            break;
        case 11:
            if (depth_ == 0 && in_.below(4) == 0) {
                die(g);
            }
            break;
        case 12: // something fails
            if (in_.below(3) != 0) {
                break;
            }
            host_.fail_alloc = static_cast<int>(in_.below(4));
            host_.fail_hide = static_cast<int>(in_.below(4));
            host_.fail_map = static_cast<int>(in_.below(4));
            host_.fail_retrieve = static_cast<int>(in_.below(4));
            host_.fail_write = static_cast<int>(in_.below(4));
            host_.fail_read = static_cast<int>(in_.below(8));
            break;
        }
    }
    void reclaim(Guest& g) {
        const Known k = known();
        Guest& owner = k.owner == 0 || k.owner > 4 || in_.below(8) == 0 ? g : guests_[k.owner - 1];
        if (in_.below(3) == 0) {
            owner.call(ATOLL_MEM_REVOKE, k.handle);
        } else {
            owner.reclaim(k.handle, in_.below(4) == 0 ? 1 : 0);
        }
    }
    void call_anything(Guest& g) {
        for (u32 n = in_.below(32); n != 0; --n) { // into the TX buffer
            const u8 value = in_.byte();
            g.put(g.tx() + in_.word() % 128, &value, 1);
        }
        const u64 sizes[] = {0, 16, 18, 48, 64, 96, 112, 4096};
        Call c{{functions[in_.below(std::size(functions))], 0, 0, 0, 0, 0, 0, 0}};
        for (u32 i = 1; i < 6; ++i) {
            switch (in_.below(6)) {
            case 0:
                c.x[i] = in_.word();
                break;
            case 1:
                c.x[i] = Guest::ipa(in_.below(ram_pages));
                break;
            case 2:
                c.x[i] = sizes[in_.below(std::size(sizes))];
                break;
            case 3:
                c.x[i] = u64{in_.below(5)} << 16 | in_.below(5);
                break;
            default:
                break;
            }
        }
        c = g.call(c);
        keep(Guest::handle_of(c), g.id, last_receiver_);
    }
    /// The outside's part of a VM's end: its RAM is whole again when it starts anew.
    void die(Guest& g) {
        const Held held = in_.below(2) == 0 ? Held::keep : Held::revoke;
        if (in_.below(2) == 0) {
            host_.reset(g.id, held);
        } else {
            host_.die(g.id, held);
            check();
            host_.ffa->vm_started(VmId{g.id});
        }
        FakeVm& vm = host_.vms[g.id];
        for (u64& pa : vm.pa_of) {
            if (pa == 0) { // a page that stayed with a borrower is replaced by another
                pa = next_pa_ += 2 * page_size;
                host_.pages[pa] = FakePage{PageStateFake::owned, g.id, 0, 0};
            }
        }
        if (in_.below(4) != 0) {
            g.v1_1 = in_.below(2) == 0;
            g.call(FFA_VERSION, g.v1_1 ? FFA_VERSION_1_1 : FFA_VERSION_1_0);
            g.call(FFA_RXTX_MAP64, g.tx(), g.rx(), 1);
        }
    }

    /// Mapping counts are what the windows hold; every mapping is of a page that its borrower may have.
    void check() {
        if (host_.violations != 0) {
            fail(host_.reason.c_str());
        }
        std::map<u64, u32> seen;
        for (const auto& [id, vm] : host_.vms) {
            for (const auto& [ipa, m] : vm.window) {
                ++seen[m.pa];
                if (ipa < window_base || ipa >= window_base + window_pages * page_size) {
                    fail("mapped outside the window");
                }
                const FakePage& p = host_.pages[m.pa];
                if (p.owner == id) { // donated to it: not counted, and perhaps shared on
                    --seen[m.pa];
                    continue;
                }
                if (p.state != PageStateFake::shared && p.state != PageStateFake::lent &&
                    p.state != PageStateFake::donating && p.state != PageStateFake::retained) {
                    fail("a mapping of a page that is not shared");
                }
            }
        }
        for (const auto& [pa, p] : host_.pages) {
            if (p.mappings != (seen.count(pa) != 0 ? seen[pa] : 0)) {
                fail("a mapping count that is not the number of mappings");
            }
        }
    }

    Input in_;
    FakeHost host_;
    Guest guests_[4] = {{host_, 1}, {host_, 2}, {host_, 3}, {host_, 4}};
    u16 last_receiver_ = 0;
    Kind kind_ = Kind::share;
    u32 depth_ = 0;
    std::vector<Known> handles_;
    u64 next_pa_ = u64{1} << 44;
};

} // namespace

namespace atl {
void panic(std::string_view why, const char* file, int line) {
    std::fprintf(stderr, "panic: %.*s (%s:%d)\n", static_cast<int>(why.size()), why.data(), file, line);
    std::abort();
}
} // namespace atl

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    if (size <= 4096) {
        Run(Input{data, size}).go();
    }
    return 0;
}

#ifdef ATOLL_FUZZ_STANDALONE
int main(int argc, char** argv) {
    const unsigned long inputs = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 2000;
    u64 state = 0x853c'49e6'748f'ea9b;
    u8 bytes[1024];
    for (unsigned long i = 0; i < inputs; ++i) {
        for (u8& b : bytes) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            b = static_cast<u8>(state >> 56);
        }
        LLVMFuzzerTestOneInput(bytes, 64 + (i * 37) % (sizeof(bytes) - 64));
    }
    std::printf("ffa_fuzz: %lu inputs, no complaint\n", inputs);
    return 0;
}
#endif
