// SPDX-License-Identifier: Apache-2.0
// Host side of el2/hw.hpp and el2/uart_hw.hpp: a counter that tests move, one deadline timer per pCPU, kicks
// that are noted, RAM of the direct map, the loaded guest's live state, and a UART that keeps what it is
// told. One per process; tests/support/el2_world.hpp makes a fresh one for each test.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "el2/hw.hpp"
#include "el2/vcpu.hpp"
#include "tests/support/gic_fake_lr.hpp"

namespace atl::test {

/// RAM of the direct map: one block of host memory, untouched pages cost nothing.
class Arena {
  public:
    Arena() = default;
    Arena(Pa base, u64 bytes);
    ~Arena();
    Arena(Arena&& other) noexcept;
    Arena& operator=(Arena&& other) noexcept;

    u8* at(Pa pa, u64 bytes) const; // stops the test when it is not RAM
    Pa pa_of(const void* pointer) const;
    Range<Pa> range() const { return {base_, bytes_}; }

  private:
    Pa base_{};
    u64 bytes_ = 0;
    u8* memory_ = nullptr;
};

struct FakeEl2Hw {
    struct Cpu {
        bool timer_is_held = false;
        u64 timer = ~u64{0}; // CNTHP: asserted from this counter value on, until it is moved
        u64 timer_writes = 0;
        bool kicked = false; // an SGI that has not been delivered
        unsigned kicks = 0;
        u64 pstate = 0; // of the loaded guest
        u64 sp = 0;
        u64 hcr = 0;
        vgic::LrFile lrs{};
        el2::Vcpu* picked = nullptr; // will be loaded next
    };

    u64 counter = 1'000'000;
    std::function<void()> counter_is_read; // time passes for code that waits
    PcpuIndex current{};                   // the pCPU that runs the code under test
    el2::World* world = nullptr;
    Cpu cpu[max_pcpus];
    el2::hw::FaultAddress fault{};
    std::map<u64, Ipa> stage1; // guest virtual page -> IPA; a page that is not there faults
    std::map<u64, bool> stage1_read_only;
    struct HostSpi {
        bool enabled = false;
        bool active = false; // acknowledged, not yet deactivated
    };
    std::map<u32, HostSpi> host_spis;
    Arena ram;
    u64 zeroed_pages = 0;
    u64 cleaned_bytes = 0;
    u64 synced_bytes = 0;
    unsigned debug_entered = 0;
    unsigned debug_left = 0;

    std::string uart_out;
    std::deque<u8> uart_in;
    bool uart_stuck = false;
    bool uart_tx_interrupt = false;

    std::vector<std::string> log;

    Cpu& here() { return cpu[current.value]; }
    bool timer_asserted(unsigned index) const { return cpu[index].timer <= counter; }
    /// Whether a line of the log contains `text`.
    bool logged(std::string_view text) const;
};

FakeEl2Hw& fake_el2();

} // namespace atl::test
