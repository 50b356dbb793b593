// SPDX-License-Identifier: Apache-2.0
// A VM's PCI host bridge (pci-host-ecam-generic): one bus with the VM's own functions at places that the
// caller chose. Everything else there reads as all ones and ignores writes. Guest BARs live in the VM's
// address space: moving one is an event for the caller, who maps its pages; the physical BAR is never
// touched.
// Owns the virtual registers, which BAR is mapped where, and the resets. Does not own stage 2, SMMU,
// interrupts.
// Lock: the group's, one for all VMs, rank virtual_pci, held while the hooks are called (they may take address_space and
// later): a PF's reset takes VFs away from other VMs.
// Spec: [PCI 3.0 §6.1, §6.2]; [PCIe Base, ECAM].
#pragma once
#include "lib/result.hpp"
#include "lib/spinlock.hpp"
#include "mmio_emul/device.hpp"
#include "pci/virtual_function.hpp"

namespace atl::pci {

/// A BAR's pages, for the VM's stage 2: device memory, or for a prefetchable one also write-combining.
struct BarMapping {
    Bdf physical{};
    u8 devfn = 0; // the virtual place
    u8 bar = 0;
    Pa pa{};
    Ipa ipa{};
    u64 size = 0; // whole pages
    bool prefetchable = false;
};

/// What a guest got wrong, or its device. Reported once for each BAR and kind between two resets.
struct Offence {
    enum class Kind : u8 {
        bar_outside_windows, // over RAM, over another device, or over nothing
        bar_overlaps,        // over another BAR of this VM
        bar_not_mapped,      // the map hook refused
        reset_failed,        // the function is lost to this VM until the next reset
        pf_reset,            // none of the guest's: its VF is gone for a while
    };
    Kind kind{};
    Bdf physical{};
    u8 devfn = 0;
    u8 bar = 0;
    Ipa ipa{};
    u64 size = 0;
};

const char* to_string(Offence::Kind kind);

class VirtualBridge;

/// The bridges of all VMs, which have to know of each other because a VF depends on its PF.
struct BridgeGroup {
    SpinLock lock{LockRank::virtual_pci};
    VirtualBridge* first = nullptr;
};

class VirtualBridge final : public mmio_emul::Device {
  public:
    static constexpr u64 ecam_size = mib; // bus 0
    static constexpr unsigned max_functions = 16;

    /// All with the bridge's lock held: they must not call back into it, nor wait for another VM.
    struct Hooks {
        void* context = nullptr;
        /// Makes the pages visible to the VM's CPUs. An error leaves the BAR undecoded.
        Status (*map)(void* context, const BarMapping& mapping) = nullptr;
        /// On return no CPU reaches them any more: TLB invalidation complete.
        void (*unmap)(void* context, const BarMapping& mapping) = nullptr;
        void (*report)(void* context, const Offence& offence) = nullptr;
    };

    struct Setup {
        Range<Ipa> mem32{}; // where the guest may put BARs, as its `ranges` say, addresses unchanged
        Range<Ipa> mem64{}; // for 64-bit BARs; may be empty
        Hooks hooks{};
        Clock clock{};
        MmioSeam mmio{}; // for virtio's own reset and VFs' messages; may be empty
        BridgeGroup* group = nullptr;
    };

    constexpr VirtualBridge() = default;

    /// Before everything else. invalid_argument: windows that are not whole pages, mem32 not below 4 GiB, or
    /// hooks, clock or group missing.
    Status init(const Setup& setup);

    /// Puts a function at `devfn` (device << 3 | function) and starts its first reset. `intx`: its pin is
    /// wired. denied: its verdict; already_exists: the place is taken, or the function is here;
    /// invalid_argument: a function above 0 where there is no function 0 (added first); no_memory: more than
    /// max_functions, or no room behind a PF for the stubs of its VFs.
    Status add(const Function& function, u8 devfn, bool intx);

    /// The caller's word that the function's stream leads to this VM's stage 2, or that it no longer does.
    /// Bus mastering is on only while it does. On return of `false` the function has stopped mastering.
    void set_stream_attached(u8 devfn, bool attached);

    u64 read(VcpuIndex vcpu, u64 offset, unsigned size) override;
    void write(VcpuIndex vcpu, u64 offset, unsigned size, u64 value) override;
    /// Power-on state: every BAR unmapped, mastering off, and a reset of every function begun. The VM may run
    /// again when poll() says `idle`.
    void reset() override;

    static constexpr u64 idle = ~u64{0};
    /// Goes on with resets, of PFs elsewhere too that this bridge's VFs wait for. When there is more to do, in the clock's
    /// microseconds; `idle`: nothing is left. A guest's own FLR also goes on when the guest looks.
    u64 poll();
    /// When poll() has something to do.
    u64 next_poll_us();

    /// False when the function at `devfn` did not come back from its last reset: nobody may have it.
    bool came_back(u8 devfn);

    std::size_t function_count() const { return functions_.size(); }

  private:
    VirtualFunction* find(u8 devfn);
    /// The function at an offset of the ECAM when it can be accessed now.
    VirtualFunction* reach(u64 offset);
    bool ready(const VirtualFunction& f) const { return !f.job.busy() && !f.lost && !f.held; }
    bool has_stub(u64 offset) const;
    /// How far behind `devfn` the stubs of `vfs` VFs find places; 0: nowhere.
    u16 place_stubs(u8 devfn, unsigned vfs) const;
    void start_reset(VirtualFunction& f);
    void step_reset(VirtualFunction& f);
    u64 next_step() const;
    void sync();
    bool wants(const VirtualFunction& f, unsigned bar) const;
    void unmap(VirtualFunction& f, unsigned bar);
    void try_map(VirtualFunction& f, unsigned bar);
    bool overlaps(const Range<Ipa>& range) const;
    void report(VirtualFunction& f, unsigned bar, Offence::Kind kind);
    BarMapping mapping_of(const VirtualFunction& f, unsigned bar, Ipa ipa) const;
    // A PF and its VFs, wherever they are. [virtual_vfs.cpp]
    void join_family(VirtualFunction& f);
    void hold_vfs(const VirtualFunction& pf);
    void release_vfs(const VirtualFunction& pf);
    void hold(VirtualFunction& vf);
    void release(VirtualFunction& vf, bool pf_lost);

    Setup setup_{};
    VirtualBridge* next_ = nullptr; // in the group
    StaticVector<VirtualFunction, max_functions> functions_{};
};

} // namespace atl::pci
