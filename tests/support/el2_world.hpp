// SPDX-License-Identifier: Apache-2.0
// A machine for tests of the resident core: real World, Vm, Vcpu, PerCpu, VirtualGic, AddressSpace, page pool
// and FF-A over the fakes, and the loop that el2/trap_hw.cpp and el2/switch_hw.cpp are on the target: exits,
// the world switch, the scheduler, timers and kicks. One pCPU at a time; a test chooses every interleaving.
#pragma once
#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <vector>

#include "el2/dispatch.hpp"
#include "el2/ffa_ports.hpp"
#include "el2/inject.hpp"
#include "el2/lifecycle.hpp"
#include "el2/run.hpp"
#include "el2/vm_time.hpp"
#include "el2/world.hpp"
#include "lib/abi/smccc.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/arch/esr.hpp"
#include "tests/support/fake_el2_hw.hpp"

namespace atl::test {

using namespace atl::el2;

struct VmSpec {
    unsigned vcpus = 2;
    u64 ram_mib = 4;
    u64 window_mib = 16;
    VmMask share_with = 0;
    CrashPolicy on_crash = CrashPolicy::stop;
    u64 kernel_bytes = 0x3000;
    u64 ramdisk_bytes = 0x1800;
    VmClock clock = VmClock::wall;
    bool gicv2 = false; // of all VMs of a machine, or of none
    InterruptMode interrupts = InterruptMode::virtual_interface;
    unsigned first_pcpu = 0; // vCPU i lives on pCPU (first_pcpu + i) % pcpus
};

class Machine {
  public:
    static constexpr Pa ram_base{0x8000'0000};
    static constexpr Ipa kernel_at{0x4000'0000};
    static constexpr u64 context = 0x1234'5678; // x0 of a booted guest

    explicit Machine(std::vector<VmSpec> specs = {VmSpec{}}, unsigned pcpus = 2, u64 ram_mib = 64);
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    FakeEl2Hw& hw() { return fake_el2(); }
    Vm& vm(unsigned id) { return *world.vms[id]; }
    Vcpu& vcpu(unsigned id, unsigned index = 0) { return *vm(id).vcpus[index]; }
    PerCpu& cpu(unsigned index) { return *cpus[index]; }

    /// create_vm() and the whole load job: vCPU 0 is loaded or in its queue afterwards.
    void boot(unsigned id);
    void boot_all();

    /// The code that follows runs on this pCPU.
    void on(unsigned cpu_index) { hw().current = PcpuIndex{static_cast<u8>(cpu_index)}; }
    /// What happens between an exit and the next entry: the loaded vCPU, or nullptr when the pCPU would
    /// sleep.
    Vcpu* enter(unsigned cpu_index, unsigned max_job_steps = 100'000);
    /// Lets every pCPU act until none has anything to do.
    void settle();
    /// Makes the vCPU the loaded one of its pCPU: whoever is before it in the queue is preempted.
    Vcpu& load(Vcpu& wanted);
    /// The end of the slice: the loaded vCPU goes to the tail of the queue.
    void preempt(unsigned cpu_index);

    /// A synchronous exit of a loaded vCPU, handled to the next entry. Returns what the handler said.
    Action exit(Vcpu& from, u64 esr);
    /// The same without the entry that follows.
    Action handle(Vcpu& from, u64 esr);
    /// HVC or SMC with registers; returns x0 (as it is when the vCPU runs on).
    u64 call(Vcpu& from, std::initializer_list<u64> x, bool smc = false);

    /// Data aborts with a valid syndrome.
    struct Extra {
        bool sign_extend = false;
        bool to_64 = true;
        u64 fsc = 0b000111; // translation fault, level 3
        u64 bits = 0;
    };
    static u64 abort_esr(bool write, unsigned size, unsigned rt, const Extra& extra);
    Action access(Vcpu& from, Ipa ipa, bool write, unsigned size, unsigned rt, const Extra& extra);
    Action access(Vcpu& from, Ipa ipa, bool write, unsigned size, unsigned rt) {
        return access(from, ipa, write, size, rt, Extra{});
    }
    /// Repeats while the vGIC asks for it.
    u64 read(Vcpu& from, Ipa ipa, unsigned size = 4);
    void write(Vcpu& from, Ipa ipa, u64 value, unsigned size = 4);

    /// Time passes; timers that are due fire, on each pCPU once per level.
    void pass(u64 ticks);
    /// Delivers the timers that are asserted now.
    void fire_timers();

    /// The guest's RAM as bytes, by IPA: one page at most.
    u8* guest(unsigned id, u64 ipa);
    void poke(unsigned id, u64 ipa, const void* data, u64 bytes);
    void peek(unsigned id, u64 ipa, void* data, u64 bytes);

    /// Takes pages from the pool until `left` remain; give_back() returns them.
    void leave_free(u64 left);
    void give_back();

    std::unique_ptr<World> owned = std::make_unique<World>();
    World& world = *owned;
    std::vector<std::unique_ptr<PerCpu>> cpus;
    std::vector<std::unique_ptr<VmConfig>> configs;
    Action last_action = 0;
    bool fail_place = false;
    bool fail_tree = false;
    unsigned powered_off = 0;
    unsigned repeats = 0; // hypercalls that were not finished at once
    std::function<void()> between_steps;

  private:
    void add_vm(const VmSpec& spec, unsigned id);
    void load_registers(Vcpu& v);
    void save_registers(Vcpu& v);
    Vcpu* next(PerCpu& c, unsigned& job_steps);
    void take_exception(Vcpu& v);
    Action run_handler(Vcpu& from, u64 esr);
    void live_virtual_timer(unsigned index);

    std::vector<PageRecord> records_;
    std::vector<std::unique_ptr<Vm>> vms_;
    std::vector<std::unique_ptr<Vcpu>> vcpus_;
    std::vector<std::vector<u8>> images_;
    std::unique_ptr<ffa::Tables> tables_;
    std::vector<PageRun> hogged_;
};

} // namespace atl::test
