// SPDX-License-Identifier: Apache-2.0
// The configuration space that a VM sees of one of its functions: which registers pass, which are copies, and
// which are not there. Internal to VirtualBridge, which owns mapping, resets and the lock.
// Owns the virtual registers; writes those physical registers of its function that a guest may reach, never a
// BAR, a ROM, or device control. Spec: [PCI 3.0 §6.1, §6.2, §6.7, §6.8]; [PCIe Base §7]; [PCI PM 1.2 §3.2].
#pragma once
#include "pci/reset.hpp"
#include "pci/virtual_sriov.hpp"

namespace atl::pci {

class VirtualBridge;

/// One BAR as the guest has programmed it. Smaller ones than a page look like a page, so that no two share
/// one.
struct VirtualBar {
    u64 address = 0;
    Ipa mapped_at{};
    bool mapped = false;
    u8 reported = 0; // kinds of Offence that have been reported, a bit each
};

class VirtualFunction {
  public:
    /// What a write asks of the bridge.
    struct Effect {
        bool decoding = false; // command, a BAR or the power state may have changed
        bool reset = false;    // FLR
        void add(Effect other) {
            decoding = decoding || other.decoding;
            reset = reset || other.reset;
        }
    };

    constexpr VirtualFunction() = default;

    static constexpr unsigned kept_messages = 32; // MSI-X entries that survive a reset of the PF

    /// `intx`: its interrupt pin is wired to the VM. `first_stub`: of a PF with VFs [VirtualSriov::attach()].
    void attach(const Function& function, u8 devfn, bool intx, u16 first_stub = 0);
    /// Virtual registers as after power-on. Mappings are the bridge's to remove.
    void power_on();

    /// `offset`: of a dword, below config_size.
    u32 read(u32 offset) const;
    /// `mask`: the bytes that are written.
    Effect write(u32 offset, u32 value, u32 mask);

    /// What the physical command register has to be now. It always decodes: see decodes().
    u16 wanted_command() const;
    /// As the guest believes: whether its BARs are to be mapped. [docs/adr/0026]
    bool decodes() const { return (command_ & reg::cmd::memory_space) != 0 && !asleep_; }
    /// BAR `i` holds what sizing writes, or nothing.
    bool is_sizing(unsigned i) const;

    /// A VF's PF is about to be reset: reads the MSI-X entries that the guest has written into the VF's BAR. The VF still
    /// decodes.
    void keep_messages(const MmioSeam& mmio);
    /// It is back from that: message registers and entries as the guest knows them. Mastering is off.
    void restore_messages(const MmioSeam& mmio);

    const Function& physical() const { return *f_; }
    u8 devfn() const { return devfn_; }
    /// Whether a stub for a VF of this PF has, or may have, the place `devfn`.
    bool has_stub(u8 devfn) const { return devfn > devfn_ && sriov_.has_stub(devfn - devfn_); }
    bool reserves(u8 devfn) const { return devfn > devfn_ && sriov_.reserves(devfn - devfn_); }

    // The bridge's notes about this function.
    std::array<VirtualBar, reg::type0_bars> bars{};
    ResetJob job{};
    bool multi_function = false; // function 0 of a virtual device that has more
    bool attached = false;       // its stream leads to the VM's stage 2
    bool lost = false;
    VirtualBridge* bridge = nullptr; // that it is in
    VirtualFunction* pf = nullptr;   // of a VF whose PF is in a bridge of the group
    bool held = false;               // that PF is being reset, and this VF is gone meanwhile
    u16 written_command = 0;         // to the physical register; 0, which never is: nothing since a reset

  private:
    u32 read_header(u32 offset) const;
    u32 read_bar(unsigned i) const;
    u32 read_capability(const Capability& capability, u32 next, u32 at) const;
    u32 read_express(u32 head, u32 at, u32 base) const;
    u32 read_msi(u32 head, u32 at, u32 base) const;
    void write_bar(unsigned i, u32 value, u32 mask);
    Effect write_header(u32 offset, u32 value, u32 mask);
    Effect write_capability(const Capability& capability, u32 at, u32 value, u32 mask);
    void write_msi(u32 at, u32 value, u32 mask, u32 base);
    void write_msix(u32 at, u32 value, u32 mask, u32 base);
    /// Index in shown_ of the capability that `offset` is in; shown_.size() when in none.
    std::size_t find_shown(u32 offset) const;

    const Function* f_ = nullptr;
    u8 devfn_ = 0;
    bool intx_ = false;
    bool asleep_ = false; // D3hot, as the guest believes: the function itself stays in D0
    u16 command_ = 0;
    u8 interrupt_line_ = 0;
    u8 cache_line_ = 0;
    u16 msix_control_ = 0;
    u16 msi_control_ = 0;
    std::array<u32, 6> msi_{}; // the registers behind the control word, in their order
    VirtualSriov sriov_{};
    std::array<u32, kept_messages * reg::msix::entry_size / 4> messages_{};
    StaticVector<Capability, 16> shown_{};
};

} // namespace atl::pci
