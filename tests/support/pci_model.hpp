// SPDX-License-Identifier: Apache-2.0
// A model of PCI for host tests, the other side of pci/config_hw.hpp: functions with byte-wise write masks,
// bridges that route by their bus numbers and windows, FLR, D3hot, SR-IOV, and a log of every write. Time
// moves when a test moves it. One model at a time.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pci/bridge.hpp"
#include "pci/reset.hpp"

namespace atl::test {

class PciModel;

struct PciFn {
    PciModel* model = nullptr;
    std::string name;
    u8 devfn = 0;
    PciFn* parent = nullptr; // the bridge that it is behind
    bool bridge = false;
    std::vector<u8> cfg = std::vector<u8>(4096);
    std::vector<u8> wmask = std::vector<u8>(4096); // bits that software may write
    std::vector<u8> w1c = std::vector<u8>(4096);   // bits that a written one clears
    std::vector<u8> power_on;                      // what a reset brings back
    u32 pcie = 0, pm = 0, sriov = 0;
    u8 last_cap = 0;
    u32 last_ext = 0;
    // Behaviour.
    u64 recovery_us = 20'000;      // after a reset it does not answer for so long
    bool says_retry = false;       // and shows vendor 0001 meanwhile
    bool dies = false;             // never comes back from a reset
    bool changes_id = false;       // comes back as somebody else
    u64 pending_until_us = 0;      // Transactions Pending
    bool answers_anywhere = false; // on its link, whatever the device number
    // Observed.
    u64 silent_until_us = 0;
    unsigned resets = 0;
    unsigned early_accesses = 0; // within 100 ms of an FLR
    u64 flr_at_us = 0;
    bool mastering_at_reset = false;
    unsigned touched = 0;
    // SR-IOV.
    PciFn* pf = nullptr;
    u16 vf_number = 0;
    std::function<void(PciFn&)> build_vf;
    std::vector<std::unique_ptr<PciFn>> vfs;

    u8 get8(u32 at) const { return cfg[at]; }
    u16 get16(u32 at) const { return static_cast<u16>(cfg[at] | cfg[at + 1] << 8); }
    u32 get32(u32 at) const { return get16(at) | u32{get16(at + 2)} << 16; }
    void set(u32 at, u32 value, unsigned size, u32 writable = 0, u32 clear = 0);
    void bar32(unsigned i, u64 size, u32 flags = 0) { bar_at(0x10, i, size, flags); }
    void bar64(unsigned i, u64 size, bool prefetchable = false);
    void bar_io(unsigned i, u32 size);
    void bar_at(u32 first, unsigned i, u64 size, u32 flags);
    void bar64_at(u32 first, unsigned i, u64 size, bool prefetchable);
    u64 bar_address(unsigned i, u32 first = 0x10) const;
    /// Appends a capability to the list.
    void cap(u8 id, u8 at);
    void add_pm(u8 at, bool no_soft_reset = false);
    void add_msi(u8 at, bool is_64, bool maskable, unsigned log2);
    void add_msix(u8 at, unsigned entries, unsigned bir, u32 table, u32 pba);
    void add_pcie(u8 at, unsigned type, bool flr);
    void add_virtio(u8 at, u8 type, u8 bar, u32 offset, u32 length);
    void add_ext(u16 id, u32 at);
    void add_acs(u32 at, u16 offered = 0x1f);
    void add_sriov(u32 at, u16 total, u16 offset, u16 stride, u16 vf_device);
    u16 command() const { return get16(4); }
};

class PciModel {
  public:
    struct Write {
        PciFn* fn;
        u32 at;
        unsigned size;
        u32 value;
    };

    PciModel();
    ~PciModel();
    PciModel(const PciModel&) = delete;
    PciModel& operator=(const PciModel&) = delete;

    /// A function on the root bus or behind `parent`.
    PciFn& add(PciFn* parent, unsigned device, unsigned function, u32 ids, u32 class_code = 0x020000);
    /// A PCI Express port or a conventional bridge (type 0xff).
    PciFn& add_bridge(PciFn* parent, unsigned device, unsigned function, unsigned pcie_type, bool acs = true);
    /// What is there now is the state of power-on. To be called before the code under test runs.
    void seal();

    PciFn* resolve(unsigned bus, u8 devfn);
    /// Who decodes a memory access to this bus address. The test wants exactly one.
    std::vector<PciFn*> decoders(u64 address) const;
    unsigned bus_of(const PciFn* bridge) const {
        return bridge == nullptr ? host.first_bus : bridge->cfg[0x19];
    }

    u32 config_read(Pa at, unsigned size);
    void config_write(Pa at, unsigned size, u32 value);
    u32 mmio_read(Pa at, unsigned size);
    void mmio_write(Pa at, unsigned size, u32 value);
    pci::MmioSeam mmio() {
        return {this,
                [](void* m, Pa at, unsigned size) { return static_cast<PciModel*>(m)->mmio_read(at, size); },
                [](void* m, Pa at, unsigned size, u32 value) {
                    static_cast<PciModel*>(m)->mmio_write(at, size, value);
                }};
    }

    pci::Clock clock() {
        return {this, [](void* self) { return static_cast<PciModel*>(self)->now_us; }};
    }
    /// Steps a job until it is no longer busy, moving time to when it wants to go on.
    template <class Job>
    pci::Step finish(Job& job) {
        for (unsigned i = 0; i < 100'000; ++i) {
            if (const pci::Step step = job.step(); step != pci::Step::busy) {
                return step;
            }
            now_us = job.not_before_us() > now_us ? job.not_before_us() : now_us + 1;
        }
        return pci::Step::busy;
    }

    pci::HostBridge host{}; // QEMU virt's
    u64 now_us = 1'000'000;
    std::vector<std::unique_ptr<PciFn>> functions;
    std::vector<Write> writes;
    bool logging = true;
    unsigned ambiguous = 0;      // an access that two bridges claimed
    unsigned unaligned = 0;      // an access that no hardware would make
    unsigned outside = 0;        // outside of the ECAM
    u32 virtio_features[2] = {}; // of every virtio function
    u32 virtio_select = 0;
    u8 virtio_status = 0;
    unsigned virtio_slow_reads = 0; // how often the status is not 0 yet after a reset
    unsigned virtio_resets = 0;
    bool virtio_answers = true;
    std::map<u64, u32> vf_words; // what is in VFs' BARs, by bus address; a reset of a PF clears all
    static PciModel* current;

  private:
    void claim(const PciFn* bridge, unsigned bus, u8 devfn, std::vector<PciFn*>& found);
    void decode(const PciFn* bridge, u64 address, std::vector<PciFn*>& found) const;
    void after_write(PciFn& fn, u32 at, unsigned size);
    void reset(PciFn& fn);
    void make_vfs(PciFn& pf);
};

/// 64-bit FNV over what matters, to see that something has not changed.
u64 digest(const std::vector<u8>& bytes, u32 from, u32 to);

} // namespace atl::test
