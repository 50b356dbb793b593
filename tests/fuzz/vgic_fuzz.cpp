// SPDX-License-Identifier: Apache-2.0
// A VM's interrupt controllers against arbitrary guests: a byte string is a program of register accesses in all frames, ITS
// commands and damage to their tables, SGIs, acknowledges and ends of interrupts, loads and saves of vCPUs, device lines and
// resets. After every step each interrupt is in one place, no list register is left of a vCPU that is not loaded, and the
// timer's physical interrupt is held by loaded ones only; every access ends after a bounded number of repeats; after a reset
// nothing is pending. No lock but those of the code under test.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <cstdlib>

#include "tests/support/gic_its.hpp"

using namespace atl;
using namespace atl::vgic;

namespace {

namespace its_command = gic::its_command;
constexpr u64 sizes[] = {1, 2, 4, 4, 4, 8};

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "vgic_fuzz: %s\n", what);
    std::abort();
}

/// Reads the program; ends in zeros.
struct Input {
    const u8* data;
    std::size_t size;
    std::size_t at = 0;

    bool more() const { return at < size; }
    u8 byte() { return at < size ? data[at++] : 0; }
    u64 bytes(unsigned n) {
        u64 value = 0;
        for (unsigned i = 0; i < n; ++i) {
            value = value << 8 | byte();
        }
        return value;
    }
    u32 below(u32 n) { return byte() % n; }
};

class Run {
  public:
    explicit Run(Input in)
        : in_(in), v2_(in_.below(4) == 0), vcpus_(1 + in_.below(4)), software_(in_.below(3) == 0),
          vm_(vcpus_, 1 + in_.below(gic::max_list_registers), 16, v2_, software_) {
        if (in_.below(8) != 0) {
            boot();
        }
    }

    void go() {
        while (in_.more()) {
            step();
            check();
        }
        reset();
    }

  private:
    static VcpuIndex index(unsigned v) { return {static_cast<u8>(v)}; }

    void boot() {
        if (v2_) {
            vm_.boot();
            vm_.load_all();
            return;
        }
        vm_.boot_its();
        vm_.map_some();
    }

    void step() {
        const unsigned v = in_.below(vcpus_);
        switch (in_.below(16)) {
        case 0:
        case 1:
            distributor(v);
            break;
        case 2:
        case 3:
            redistributor(v);
            break;
        case 4:
            translation_service(v);
            break;
        case 5:
        case 6:
            command();
            break;
        case 7:
            memory();
            break;
        case 8: {
            const auto reg = static_cast<SgiRegister>(in_.below(3));
            if (!v2_) {
                vm_.kick(vm_.gic.sgi_write(index(v), reg, in_.bytes(8)));
            } else {
                vm_.wr(v, gic::gicd::sgir, in_.bytes(4));
            }
            vm_.enter(v);
            break;
        }
        case 9:
            if (vm_.loaded(v)) {
                vm_.save(v);
            } else {
                vm_.load(v);
            }
            break;
        case 10:
        case 11:
            inputs(v);
            break;
        case 12:
        case 13:
        case 14:
            if (vm_.loaded(v)) {
                interface(v);
            }
            break;
        case 15:
            if (in_.below(16) == 0) {
                reset();
                if (in_.below(4) != 0) {
                    boot();
                }
            }
            break;
        }
        for (unsigned i = 0; i < 4 && !v2_ && vm_.its->has_work();
             ++i) { // a long queue waits for later steps
            vm_.its->step();
        }
        vm_.enter_all();
    }

    /// Somewhere in a frame: mostly where its registers are.
    u64 offset(u64 frame) {
        const u64 raw = in_.bytes(2);
        const u64 at = in_.below(4) == 0 ? raw : raw & 0xfff;
        return (in_.below(8) == 0 ? at : at & ~u64{3}) % frame;
    }
    void distributor(unsigned v) {
        const u64 at = offset(gic::gicd::frame_size);
        const auto size = static_cast<unsigned>(sizes[in_.below(std::size(sizes))]);
        if (in_.below(4) == 0) {
            vm_.rd(v, at, size);
        } else {
            vm_.wr(v, at, in_.bytes(size), size);
        }
    }
    void redistributor(unsigned v) {
        const unsigned frame = in_.below(v2_ ? vcpus_ : 9);
        const u64 at = (in_.below(2) != 0 || v2_ ? gic::gicr::sgi_base : 0) + offset(gic::gicr::sgi_base);
        const auto size = static_cast<unsigned>(sizes[in_.below(std::size(sizes))]);
        if (in_.below(4) == 0) {
            vm_.rrd(v, frame, at, size);
        } else {
            vm_.rwr(v, frame, at, in_.bytes(size), size);
        }
    }
    void translation_service(unsigned v) {
        constexpr u64 registers[] = {gic::gits::ctlr,   gic::gits::cbaser, gic::gits::cwriter,
                                     gic::gits::creadr, gic::gits::baser,  gic::gits::baser + 8,
                                     gic::gits::typer};
        const u64 at =
            in_.below(4) == 0 ? offset(gic::gits::frames_size) : registers[in_.below(std::size(registers))];
        const auto size = static_cast<unsigned>(sizes[in_.below(std::size(sizes))]);
        if (v2_) {
            return;
        }
        if (in_.below(4) == 0) {
            vm_.rits(at, size, v);
            return;
        }
        u64 value = in_.bytes(size);
        if (in_.below(2) == 0 && size == 8) { // an address that is there
            value = (value & ~Field<51, 12>::mask) | gic::GitsCbaser::Valid::mask |
                    (GuestRam::base + (value & (GuestRam::size - page_size)));
        }
        vm_.kick(vm_.its->write(at, size, value));
    }
    void command() {
        if (v2_) {
            return;
        }
        gic::ItsCommand c{};
        const u32 device = in_.below(4);
        const u32 event = in_.below(20);
        const auto collection = static_cast<u16>(in_.below(6));
        switch (in_.below(14)) {
        case 0:
            c = its_command::mapd(device, 1 + in_.below(16), ItsVm::itt(device), in_.below(4) != 0);
            break;
        case 1:
            c = its_command::mapc(collection, u64{in_.below(5)} << 16, in_.below(4) != 0);
            break;
        case 2:
        case 3:
            c = its_command::mapti(device, event, gic::first_lpi + in_.below(40), collection);
            break;
        case 4:
            c = its_command::movi(device, event, collection);
            break;
        case 5:
            c = its_command::inv(device, event);
            break;
        case 6:
            c = its_command::invall(collection);
            break;
        case 7:
        case 8:
            c = its_command::raise(device, event);
            break;
        case 9:
            c = its_command::clear(device, event);
            break;
        default: // anything, with an opcode that exists more often than not
            for (u64& word : c) {
                word = in_.bytes(8);
            }
            if (in_.below(4) != 0) {
                c[0] = (c[0] & ~u64{0xff}) | in_.below(0x10);
            }
            break;
        }
        vm_.put(c);
        vm_.kick(vm_.its->write(gic::gits::cwriter, 8, vm_.tail));
    }
    void memory() {
        const u64 page = GuestRam::base + in_.bytes(2) % (GuestRam::size / page_size) * page_size;
        switch (in_.below(4)) {
        case 0:
            vm_.ram.denied.insert(page);
            break;
        case 1:
            vm_.ram.denied.clear();
            break;
        case 2:
            vm_.configure(gic::first_lpi + in_.below(40), in_.below(2) != 0, in_.byte());
            break;
        default: // an entry of a table
            vm_.ram.put64((in_.below(2) == 0 ? ItsVm::device_table : ItsVm::itt(in_.below(4)).value) +
                              8 * in_.below(32),
                          in_.bytes(8));
            break;
        }
    }
    void inputs(unsigned v) {
        switch (in_.below(6)) {
        case 0:
            vm_.line(in_.byte() * 4u, in_.below(2) != 0);
            break;
        case 1:
            vm_.line(32 + in_.below(64), in_.below(2) != 0);
            break;
        case 2:
            vm_.pulse(32 + in_.below(64));
            break;
        case 3:
            vm_.kick(vm_.gic.set_ppi(index(v), {16 + in_.below(16)}, in_.below(2) != 0));
            break;
        case 4:
            vm_.fire_timer(v);
            break;
        default:
            if (!v2_) {
                vm_.kick(vm_.lpis->arrive(in_.below(4) == 0 ? static_cast<u32>(in_.bytes(2))
                                                            : gic::first_lpi + in_.below(40)));
            }
            break;
        }
    }
    /// The guest at its CPU interface, by the rules or not.
    void interface(unsigned v) {
        LrFile& file = vm_.files[v];
        if (software_) {
            if (vm_.loaded(v)) {
                trapped_interface(v);
            }
            return;
        }
        switch (in_.below(5)) {
        case 0:
        case 1: {
            const u32 intid = file.acknowledge(in_.below(4) != 0);
            file.timer_high = file.timer_high && intid != 27;
            if (intid != LrFile::spurious) {
                taken_[v].push_back(intid);
            }
            break;
        }
        case 2:
            file.eoi(known(v), in_.below(4) != 0);
            break;
        case 3:
            vm_.kick(dir_write(vm_.gic, index(v), file, known(v)));
            break;
        default:
            file.set_vmcr(in_.below(4) == 0 ? in_.bytes(4) : TestVm::open_vmcr(in_.below(2) != 0));
            break;
        }
        vm_.enter(v);
    }
    /// The same where EL2 is the interface: by its registers.
    void trapped_interface(unsigned v) {
        namespace icc = gic::icc;
        namespace gicc = gic::gicc;
        enum class Does : u8 { takes, ends, either };
        struct Register {
            u64 v3;
            u64 v2;
            Does does;
        };
        constexpr Register registers[] = {
            {icc::iar1, gicc::aiar, Does::takes},         {icc::iar0, gicc::iar, Does::takes},
            {icc::iar1, gicc::iar, Does::takes},          {icc::eoir1, gicc::aeoir, Does::ends},
            {icc::eoir0, gicc::eoir, Does::ends},         {icc::eoir1, gicc::eoir, Does::ends},
            {icc::pmr, gicc::pmr, Does::either},          {icc::hppir1, gicc::hppir, Does::either},
            {icc::bpr0, gicc::bpr, Does::either},         {icc::bpr1, gicc::abpr, Does::either},
            {icc::ap0r0, gicc::apr, Does::either},        {icc::ap1r0, gicc::apr + 4, Does::either},
            {icc::rpr, gicc::rpr, Does::either},          {icc::ctlr, gicc::ctlr, Does::either},
            {icc::igrpen0, gicc::ctlr, Does::either},     {icc::igrpen1, gicc::iidr, Does::either},
            {icc::ap1r0 + 1, gicc::ahppir, Does::either},
        };
        LrFile& file = vm_.files[v];
        const Register& reg = registers[in_.below(std::size(registers))];
        const auto id = static_cast<u32>(v2_ ? reg.v2 : reg.v3);
        const bool write = reg.does == Does::ends || (reg.does == Does::either && in_.below(2) != 0);
        const u64 value = reg.does == Does::ends ? known(v) : write ? in_.bytes(2) : 0;
        if (reg.does == Does::ends && in_.below(4) == 0) {
            vm_.kick(dir_write(vm_.gic, index(v), file, value));
        } else {
            const InterfaceAccess access = interface_access(vm_.gic, index(v), file, id, write, value);
            vm_.kick(access.kick);
            if (reg.does == Does::takes) {
                file.timer_high = file.timer_high && access.value != 27;
                if (access.value < 1020 || access.value > LrFile::spurious) {
                    taken_[v].push_back(static_cast<u32>(access.value));
                }
            }
        }
        vm_.enter(v);
    }
    u32 known(unsigned v) {
        if (taken_[v].empty() || in_.below(8) == 0) {
            return static_cast<u32>(in_.bytes(in_.below(2) == 0 ? 1 : 3));
        }
        const u32 intid = taken_[v].back();
        taken_[v].pop_back();
        return intid;
    }

    void reset() {
        for (unsigned v = 0; v < vcpus_; ++v) {
            if (vm_.loaded(v)) {
                vm_.save(v);
            }
            taken_[v].clear();
        }
        for (u32 spi = 32; spi < 96; ++spi) {
            vm_.line(spi, false);
        }
        if (!v2_) {
            vm_.its->reset();
        }
        if (!vm_.gic.reset().ok()) {
            fail("no reset though no vCPU is loaded");
        }
        vm_.ram.denied.clear();
        vm_.tail = 0;
        check();
        for (unsigned v = 0; v < vcpus_; ++v) {
            vm_.open_interface(v);
            if (vm_.gic.look_for_pending(index(v))) {
                fail("something is pending after a reset");
            }
        }
    }

    void check() {
        using Lr = gic::IchLr;
        std::set<u32> shared;
        for (unsigned v = 0; v < vcpus_; ++v) {
            VcpuGic& g = vm_.gic.vcpu(index(v));
            LrFile& file = vm_.files[v];
            std::set<u32> own;
            for (unsigned slot = 0; slot < file.count(); ++slot) {
                const u64 lr = file.peek(slot);
                if ((lr & (Lr::Pending::mask | Lr::Active::mask)) == 0) {
                    continue;
                }
                const auto intid = static_cast<u32>(Lr::VINTID::get(lr));
                if (!vm_.loaded(v) || (g.used >> slot & 1) == 0) {
                    fail("a list register that nobody knows of");
                }
                if (intid >= gic::first_lpi && !Lr::Pending::test(lr)) {
                    continue; // over: an LPI is not active
                }
                if (!(intid < gic::first_spi ? own : shared).insert(intid).second) {
                    fail("an interrupt in two list registers");
                }
                if (intid >= gic::first_lpi && pending_lpi(intid - gic::first_lpi)) {
                    fail("an LPI is pending in a list register and beside it");
                }
                if (intid < gic::first_spi && (g.priv.active >> intid & 1) != 0) {
                    fail("a private interrupt is active, and in a list register");
                }
            }
            if (file.trapping != (software_ && vm_.loaded(v)) ||
                file.shown != (file.trapping ? file.lines() : VirtualLines{})) {
                fail("the guest's inputs are not what its interface signals");
            }
            if (!vm_.loaded(v)) {
                if (file.physical_active) {
                    fail("the timer is held for a vCPU that is not loaded");
                }
            } else if (g.needs_flush() || file.maintenance_asserted()) {
                fail("work is left at the entry");
            }
        }
    }

    bool pending_lpi(u32 n) {
        bool pending = false;
        for (unsigned v = 0; v < vcpus_; ++v) {
            pending |= (vm_.lpis->vcpu(v).pending[n / 32] >> (n % 32) & 1) != 0;
        }
        return pending;
    }

    Input in_;
    bool v2_;
    unsigned vcpus_;
    bool software_;
    ItsVm vm_;
    std::vector<u32> taken_[4];
};

/// The test VM's own promises, which doctest tells.
void on_assert(const doctest::AssertData& data) {
    if (data.m_failed) {
        std::fprintf(stderr, "%s:%d: %s\n", data.m_file, data.m_line, data.m_expr);
        std::abort();
    }
}

doctest::Context& context() {
    static doctest::Context instance;
    instance.setAsDefaultForAssertsOutOfTestCases();
    instance.setAssertHandler(on_assert);
    return instance;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    static doctest::Context& asserts = context();
    static_cast<void>(asserts);
    if (size <= 4096) {
        Run(Input{data, size}).go();
    }
    return 0;
}
