// SPDX-License-Identifier: Apache-2.0
// The VM's host bridge: decoding of its configuration window, BAR mappings, resets. See virtual_bridge.hpp.
// Lock: the group's, taken at each entry point.
// Spec: [PCIe Base, ECAM]; [PCI 3.0 §6.2.2 command register, §6.2.5 BARs].
#include "pci/virtual_bridge.hpp"

namespace atl::pci {

using namespace reg;

namespace {

bool valid(const Range<Ipa>& window, u64 end_limit) {
    return window.empty() || (window.base.is_aligned(page_size) && window.size % page_size == 0 &&
                              window.size <= end_limit && window.base.value <= end_limit - window.size);
}

u32 byte_mask(unsigned first, unsigned count) {
    return static_cast<u32>(((u64{1} << (8 * count)) - 1) << (8 * first));
}

} // namespace

const char* to_string(Offence::Kind kind) {
    switch (kind) {
    case Offence::Kind::bar_outside_windows:
        return "BAR programmed outside of the VM's PCI windows: it does not decode";
    case Offence::Kind::bar_overlaps:
        return "BAR programmed over another BAR: it does not decode";
    case Offence::Kind::bar_not_mapped:
        return "BAR could not be mapped: it does not decode";
    case Offence::Kind::reset_failed:
        return "function did not come back from its reset: the VM has lost it";
    case Offence::Kind::pf_reset:
        return "its physical function is being reset: it is gone until that is back";
    }
    return "?";
}

Status VirtualBridge::init(const Setup& setup) {
    const Hooks& hooks = setup.hooks;
    if (!valid(setup.mem32, u64{1} << 32) || !valid(setup.mem64, u64{1} << 48) || hooks.map == nullptr ||
        hooks.unmap == nullptr || hooks.report == nullptr || setup.clock.now_us == nullptr ||
        setup.group == nullptr) {
        return Error::invalid_argument;
    }
    setup_ = setup;
    functions_.clear();
    const LockGuard guard(setup.group->lock);
    next_ = setup.group->first;
    setup.group->first = this;
    return {};
}

Status VirtualBridge::add(const Function& function, u8 devfn, bool intx) {
    const LockGuard guard(setup_.group->lock);
    if (function.verdict != Verdict::assignable) {
        return Error::denied;
    }
    for (const VirtualFunction& other : functions_) {
        if (other.devfn() == devfn || other.reserves(devfn) || other.physical().bdf == function.bdf) {
            return Error::already_exists;
        }
    }
    VirtualFunction* first = (devfn & 7) != 0 ? find(devfn & 0xf8) : nullptr;
    if ((devfn & 7) != 0 && first == nullptr) {
        return Error::invalid_argument; // nobody looks for the others where function 0 is missing
    }
    const unsigned vfs = function.sriov.enabled_vfs;
    const u16 first_stub = vfs != 0 ? place_stubs(devfn, vfs) : u16{0};
    if ((vfs != 0 && first_stub == 0) || !functions_.push_back(VirtualFunction())) {
        return Error::no_memory;
    }
    if (first != nullptr) {
        first->multi_function = true;
    }
    VirtualFunction& f = functions_.back();
    f.attach(function, devfn, intx, first_stub);
    join_family(f);
    if (!f.held) {
        f.job.start(function, setup_.clock, setup_.mmio);
    }
    return {};
}

u16 VirtualBridge::place_stubs(u8 devfn, unsigned vfs) const {
    const auto taken = [&](unsigned place) {
        for (const VirtualFunction& other : functions_) {
            if (other.devfn() == place || other.reserves(static_cast<u8>(place))) {
                return true;
            }
        }
        return false;
    };
    unsigned run = 0; // free places in a row
    for (unsigned place = (devfn + 1u) | 1u; place < 256; place += VirtualSriov::stride) {
        run = taken(place) ? 0 : run + 1;
        if (run == vfs) {
            return static_cast<u16>(place - VirtualSriov::stride * (vfs - 1) - devfn);
        }
    }
    return 0;
}

bool VirtualBridge::has_stub(u64 offset) const {
    for (const VirtualFunction& f : functions_) {
        if (offset < ecam_size && ready(f) && f.has_stub(static_cast<u8>(offset / config_size))) {
            return true;
        }
    }
    return false;
}

VirtualFunction* VirtualBridge::find(u8 devfn) {
    for (VirtualFunction& f : functions_) {
        if (f.devfn() == devfn) {
            return &f;
        }
    }
    return nullptr;
}

void VirtualBridge::set_stream_attached(u8 devfn, bool attached) {
    const LockGuard guard(setup_.group->lock);
    if (VirtualFunction* f = find(devfn); f != nullptr) {
        f->attached = attached;
        sync();
    }
}

VirtualFunction* VirtualBridge::reach(u64 offset) {
    VirtualFunction* f = offset < ecam_size ? find(static_cast<u8>(offset / config_size)) : nullptr;
    if (f == nullptr) {
        return nullptr;
    }
    step_reset(*f); // the guest polls until it answers again
    return ready(*f) ? f : nullptr;
}

/// An access is what its bytes are: each dword that it touches is read once, and merged.
u64 VirtualBridge::read(VcpuIndex, u64 offset, unsigned size) {
    const LockGuard guard(setup_.group->lock);
    u64 value = 0;
    for (unsigned done = 0; done < size;) {
        const unsigned first = static_cast<unsigned>((offset + done) & 3);
        const unsigned count = size - done < 4 - first ? size - done : 4 - first;
        const u64 at = offset + done - first;
        const VirtualFunction* f = reach(at);
        const u32 offset_in_page = static_cast<u32>(at % config_size);
        const u32 dword = f != nullptr   ? f->read(offset_in_page)
                          : has_stub(at) ? VirtualSriov::read_stub(offset_in_page)
                                         : absent;
        value |= u64{(dword & byte_mask(first, count)) >> (8 * first)} << (8 * done);
        done += count;
    }
    return value;
}

void VirtualBridge::write(VcpuIndex, u64 offset, unsigned size, u64 value) {
    const LockGuard guard(setup_.group->lock);
    bool decoding = false;
    for (unsigned done = 0; done < size;) {
        const unsigned first = static_cast<unsigned>((offset + done) & 3);
        const unsigned count = size - done < 4 - first ? size - done : 4 - first;
        const u64 at = offset + done - first;
        if (VirtualFunction* f = reach(at); f != nullptr) {
            const u32 dword = static_cast<u32>(value >> (8 * done)) << (8 * first);
            const VirtualFunction::Effect effect =
                f->write(static_cast<u32>(at % config_size), dword, byte_mask(first, count));
            decoding = decoding || effect.decoding;
            if (effect.reset) {
                start_reset(*f);
            }
        }
        done += count;
    }
    if (decoding) {
        sync(); // once, so that both halves of a 64-bit BAR written at once move together
    }
}

void VirtualBridge::reset() {
    const LockGuard guard(setup_.group->lock);
    for (VirtualFunction& f : functions_) {
        for (VirtualBar& bar : f.bars) {
            bar.reported = 0;
        }
        start_reset(f);
    }
}

void VirtualBridge::start_reset(VirtualFunction& f) {
    // Before the reset turns decoding off: an access to a BAR that nobody decodes may end as an SError.
    for (unsigned i = 0; i < type0_bars; ++i) {
        unmap(f, i);
    }
    f.power_on();
    // A job that runs ends in the same state, and may not be disturbed; the end of the PF's does for a VF that waits.
    if (!f.job.busy() && !f.held) {
        f.lost = false;
        hold_vfs(f);
        f.job.start(f.physical(), setup_.clock, setup_.mmio);
    }
}

void VirtualBridge::step_reset(VirtualFunction& f) {
    if (f.held) {
        f.pf->bridge->step_reset(*f.pf); // whoever has the PF may not look for a while
    }
    if (f.held || !f.job.busy()) {
        return;
    }
    switch (f.job.step()) {
    case Step::busy:
        break;
    case Step::done:
        f.written_command = 0;
        f.restore_messages(setup_.mmio);
        sync();
        release_vfs(f);
        break;
    case Step::failed:
        f.lost = true;
        report(f, 0, Offence::Kind::reset_failed);
        release_vfs(f);
        break;
    }
}

u64 VirtualBridge::poll() {
    const LockGuard guard(setup_.group->lock);
    for (VirtualFunction& f : functions_) {
        step_reset(f);
    }
    return next_step(); // with the lock still held: another CPU may finish what is left
}

u64 VirtualBridge::next_poll_us() {
    const LockGuard guard(setup_.group->lock);
    return next_step();
}

bool VirtualBridge::came_back(u8 devfn) {
    const LockGuard guard(setup_.group->lock);
    const VirtualFunction* const f = find(devfn);
    return f != nullptr && !f->lost;
}

u64 VirtualBridge::next_step() const {
    u64 next = idle;
    for (const VirtualFunction& f : functions_) {
        const ResetJob& job = f.held ? f.pf->job : f.job;
        if (job.busy() && job.not_before_us() < next) {
            next = job.not_before_us();
        }
    }
    return next;
}

BarMapping VirtualBridge::mapping_of(const VirtualFunction& f, unsigned bar, Ipa ipa) const {
    const Bar& physical = f.physical().bars[bar];
    return {f.physical().bdf,     f.devfn(), static_cast<u8>(bar), physical.pa, ipa, physical.span(),
            physical.prefetchable};
}

bool VirtualBridge::wants(const VirtualFunction& f, unsigned bar) const {
    const Bar& physical = f.physical().bars[bar];
    if (!ready(f) || !f.decodes() || !physical.is_memory()) {
        return false;
    }
    const Ipa at{f.bars[bar].address};
    return setup_.mem32.contains(at, physical.span()) ||
           (physical.kind == BarKind::mem64 && setup_.mem64.contains(at, physical.span()));
}

/// Brings mappings and physical command registers in line with the virtual registers. First what must go,
/// then the command registers, which decode from the end of a reset on, then what comes: no CPU reaches a BAR that its
/// function does not decode.
void VirtualBridge::sync() {
    for (VirtualFunction& f : functions_) {
        for (unsigned i = 0; i < type0_bars; ++i) {
            if (f.bars[i].mapped && (!wants(f, i) || f.bars[i].mapped_at.value != f.bars[i].address)) {
                unmap(f, i);
            }
        }
    }
    for (VirtualFunction& f : functions_) {
        if (const u16 wanted = f.wanted_command(); ready(f) && wanted != f.written_command) {
            f.physical().config.write16_settled(command, wanted);
            f.written_command = wanted;
        }
    }
    for (VirtualFunction& f : functions_) {
        for (unsigned i = 0; i < type0_bars; ++i) {
            try_map(f, i);
        }
    }
}

void VirtualBridge::unmap(VirtualFunction& f, unsigned bar) {
    VirtualBar& state = f.bars[bar];
    if (state.mapped) {
        state.mapped = false;
        setup_.hooks.unmap(setup_.hooks.context, mapping_of(f, bar, state.mapped_at));
    }
}

bool VirtualBridge::overlaps(const Range<Ipa>& range) const {
    for (const VirtualFunction& f : functions_) {
        for (unsigned i = 0; i < type0_bars; ++i) {
            const VirtualBar& other = f.bars[i];
            if (other.mapped && range.overlaps({other.mapped_at, f.physical().bars[i].span()})) {
                return true;
            }
        }
    }
    return false;
}

void VirtualBridge::try_map(VirtualFunction& f, unsigned bar) {
    VirtualBar& state = f.bars[bar];
    if (state.mapped || !ready(f) || !f.decodes() || !f.physical().bars[bar].is_memory()) {
        return;
    }
    if (!wants(f, bar)) {
        if (!f.is_sizing(bar)) {
            report(f, bar, Offence::Kind::bar_outside_windows);
        }
        return;
    }
    const BarMapping mapping = mapping_of(f, bar, Ipa{state.address});
    if (overlaps({mapping.ipa, mapping.size})) {
        report(f, bar, Offence::Kind::bar_overlaps);
    } else if (!setup_.hooks.map(setup_.hooks.context, mapping).ok()) {
        report(f, bar, Offence::Kind::bar_not_mapped);
    } else {
        state.mapped = true;
        state.mapped_at = mapping.ipa;
    }
}

void VirtualBridge::report(VirtualFunction& f, unsigned bar, Offence::Kind kind) {
    const u8 bit = static_cast<u8>(1u << static_cast<unsigned>(kind));
    if ((f.bars[bar].reported & bit) != 0) {
        return;
    }
    f.bars[bar].reported |= bit;
    const Bar& physical = f.physical().bars[bar];
    setup_.hooks.report(setup_.hooks.context, {kind, f.physical().bdf, f.devfn(), static_cast<u8>(bar),
                                               Ipa{f.bars[bar].address}, physical.span()});
}

} // namespace atl::pci
