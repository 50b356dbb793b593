// SPDX-License-Identifier: Apache-2.0
// The reset job's steps: see reset.hpp. Lock: the caller's.
// Spec: [PCIe Base, Function Level Reset; Device Status, Transactions Pending; Request Retry Status];
// [PCI PM 1.2 §3.2.4 PMCSR, §5.6.1]; [SR-IOV §3.4.1 a VF's header]; [virtio 1.2 §4.1.4.3 device status].
#include "pci/reset.hpp"

#include "pci/describe.hpp"
#include "pci/sriov.hpp"

namespace atl::pci {

using namespace reg;

void ResetJob::enter(State state, u64 wait_us) {
    state_ = state;
    until_us_ = clock_.now() + wait_us;
}

void ResetJob::start(const Function& function, const Clock& clock, const MmioSeam& mmio) {
    function_ = &function;
    clock_ = clock;
    mmio_ = mmio;
    forced_ = false;
    const Config& config = function.config;
    silence(config);
    // No message may follow that was decided before: an MSI is a memory write, which mastering off stops, but
    // after the reset nobody must find it enabled.
    if (const u8 at = function.find(cap_msix); at != 0) {
        config.write16(at + msix::control, 0);
    }
    if (const u8 at = function.find(cap_msi); at != 0) {
        config.write16(at + msi::control, 0);
    }
    enter(State::draining, 0);
    deadline_us_ = until_us_ + drain_us;
}

bool ResetJob::drained() {
    const u8 at = function_->find(cap_pcie);
    if (at == 0 || (function_->config.read16(at + pcie::device_status) & pcie::transactions_pending) == 0) {
        return true;
    }
    // Late completions may meet a function that has forgotten its requests; the specification lets software
    // go on when it has waited long enough.
    forced_ = clock_.now() >= deadline_us_;
    return forced_;
}

void ResetJob::begin() {
    const Function& f = *function_;
    const u8 power = f.find(cap_power);
    if (f.flr) {
        method_ = ResetMethod::flr;
        const u32 at = f.find(cap_pcie) + pcie::device_control;
        f.config.write16(at, f.device_control | pcie::initiate_flr); // not read back: it may not answer
        enter(State::in_reset, flr_us);
    } else if (f.virtio.has_common && f.bars[f.virtio.common_bar].assigned && mmio_.write != nullptr) {
        method_ = ResetMethod::virtio;
        f.config.write16_settled(command, cmd::interrupt_disable | cmd::memory_space);
        mmio_.write(mmio_.context, virtio_status(), 1, 0);
        enter(State::clearing, 0);
    } else if (power != 0 && f.soft_reset && !f.is_vf()) {
        method_ = ResetMethod::power;
        f.config.write16(power + pm::pmcsr, pm::d3hot);
        enter(State::asleep, power_us);
    } else {
        method_ = ResetMethod::quiesced_only;
        enter(State::returning, 0);
    }
    deadline_us_ = until_us_ + ready_us;
}

Pa ResetJob::virtio_status() const {
    const VirtioInfo& info = function_->virtio;
    return function_->bars[info.common_bar].pa + info.common_offset + virtio::device_status;
}

/// Answers as the function that was enumerated.
bool ResetJob::answers() const {
    const Function& f = *function_;
    if (f.is_vf()) {
        // A VF's ids read as all ones always; its command register does not, once it is back.
        return f.config.read32(command) != absent;
    }
    // A function that is not ready yet shows nothing, or the vendor 0001 where the root port reports retries.
    return f.config.read32(vendor_id) == (u32{f.device} << 16 | f.vendor);
}

/// Registers that a reset has cleared get back what enumeration and assignment had put there. What it has not cleared
/// goes on decoding: the machine's memory map does not change then. [docs/adr/0026]
bool ResetJob::restore() const {
    const Function& f = *function_;
    silence(f.config);
    if (const u8 at = f.find(cap_pcie); at != 0) {
        f.config.write16(at + pcie::device_control, f.device_control);
    }
    if (f.is_vf()) {
        return true; // its BARs are the PF's
    }
    f.config.write32(rom0, 0);
    const auto bars = std::span(f.bars).first(f.bar_count());
    if (has_bars(f.config, bar0, bars)) {
        return true;
    }
    quiesce(f.config);
    return put_bars(f.config, bar0, bars);
}

void ResetJob::finish() {
    if (!restore() || (function_->sriov.enabled_vfs != 0 && !enable_vfs(*function_))) {
        state_ = State::failed;
    } else if (function_->sriov.enabled_vfs != 0) {
        enter(State::enabling_vfs, vf_enable_us);
    } else {
        state_ = State::idle;
    }
}

void ResetJob::start_after_pf(const Function& vf, const Clock& clock) {
    function_ = &vf;
    clock_ = clock;
    forced_ = false;
    method_ = ResetMethod::flr;
    enter(State::returning, 0);
    deadline_us_ = until_us_ + ready_us;
}

Step ResetJob::step() {
    while (state_ != State::idle && state_ != State::failed) {
        if (clock_.now() < until_us_) {
            return Step::busy;
        }
        switch (state_) {
        case State::draining:
            if (!drained()) {
                enter(State::draining, poll_us);
                return Step::busy;
            }
            begin();
            break;
        case State::asleep:
            function_->config.write16(function_->find(cap_power) + pm::pmcsr, 0);
            enter(State::waking, power_us);
            break;
        case State::clearing:
            // 0 when it has forgotten its queues [virtio 1.2 §4.1.4.3].
            if (mmio_.read(mmio_.context, virtio_status(), 1) == 0) {
                enter(State::returning, 0);
                deadline_us_ = until_us_ + ready_us;
            } else if (clock_.now() >= deadline_us_) {
                quiesce(function_->config);
                state_ = State::failed;
            } else {
                enter(State::clearing, poll_us);
                return Step::busy;
            }
            break;
        case State::in_reset:
        case State::waking:
            enter(State::returning, 0);
            deadline_us_ = until_us_ + ready_us;
            break;
        case State::returning:
            if (answers()) {
                finish();
            } else if (clock_.now() >= deadline_us_) {
                state_ = State::failed;
            } else {
                enter(State::returning, poll_us);
                return Step::busy;
            }
            break;
        case State::enabling_vfs:
            state_ = State::idle;
            break;
        case State::idle:
        case State::failed:
            break;
        }
    }
    return state_ == State::idle ? Step::done : Step::failed;
}

} // namespace atl::pci
