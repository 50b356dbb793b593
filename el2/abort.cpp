// SPDX-License-Identifier: Apache-2.0
// Stage-2 aborts: emulated devices, revoked shares, and what a guest should not have touched. Portable.
// Every way out is one of: the access was emulated, it is repeated, or the guest takes an external abort and
// the log a sentence that says who, where and why. [DDI0487 D19.2.40 ISS of data and instruction aborts]
#include "el2/dispatch.hpp"
#include "el2/hw.hpp"
#include "el2/inject.hpp"
#include "el2/insn_decode.hpp"
#include "el2/its.hpp"
#include "el2/lifecycle.hpp"
#include "el2/passthrough.hpp"
#include "el2/virtual_interface.hpp"
#include "el2/vm_memory.hpp"
#include "el2/world.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/arch/esr.hpp"
#include "lib/log.hpp"

namespace atl::el2 {
namespace {

using arch::DataAbort::DFSC;
using arch::DataAbort::WnR;

enum class Outcome : u8 { done, retry, nobody };

constexpr u64 vector_table_bytes = 0x800;

/// HPFAR_EL2, or a translation of FAR_EL2, names the place of these; of nothing else [DDI0487 D19.2.52].
constexpr bool has_ipa(u64 fsc) {
    const u64 type = arch::fsc_type(fsc);
    return type == arch::fsc_translation || type == arch::fsc_access_flag || type == arch::fsc_permission;
}

constexpr u64 size_mask(unsigned size) {
    return ~u64{0} >> (64 - 8 * size);
}

struct Reply {
    u64 value; // of a load
    Outcome outcome;
};

enum class GicFrame : u8 { distributor, redistributors };

template <GicFrame frame, bool write>
[[gnu::always_inline]] inline vgic::Access gic_attempt(Vcpu& vcpu, u64 offset, unsigned size, u64 value) {
    vgic::VirtualGic& gic = vcpu.vm->gic;
    if constexpr (frame == GicFrame::distributor) {
        return write ? gic.gicd_write(vcpu.index, offset, size, value)
                     : gic.gicd_read(vcpu.index, offset, size);
    } else {
        return write ? gic.gicr_write(vcpu.index, offset, size, value)
                     : gic.gicr_read(vcpu.index, offset, size);
    }
}

/// List registers must be read back first. The vCPU's own are, now: if the guest had to come again, it could take the
/// interrupt that it asks about in between. For others' it has to.
template <GicFrame frame, bool write>
[[gnu::noinline]] Reply gic_retry(Vcpu& vcpu, u64 offset, unsigned size, u64 value) {
    kick_vcpus(*vcpu.vm, hw::gic_flush(vcpu));
    const vgic::Access access = gic_attempt<frame, write>(vcpu, offset, size, value);
    kick_vcpus(*vcpu.vm, access.kick);
    return {access.value, access.retry ? Outcome::retry : Outcome::done};
}

/// The interrupt controller may ask for a repeat and for others to be told.
template <GicFrame frame, bool write>
[[gnu::always_inline]] inline Reply access_gic(Vcpu& vcpu, u64 offset, unsigned size, u64 value) {
    const vgic::Access access = gic_attempt<frame, write>(vcpu, offset, size, value);
    if (access.kick != 0) [[unlikely]] {
        kick_vcpus(*vcpu.vm, access.kick);
    }
    if (access.retry) [[unlikely]] {
        return gic_retry<frame, write>(vcpu, offset, size, value);
    }
    return {access.value, Outcome::done};
}

/// One access to an emulated device. Two copies, because a load and a store share little but the look-up.
template <bool write>
[[gnu::always_inline]] inline Reply access_device(Vcpu& vcpu, Ipa ipa, unsigned size, u64 value) {
    Vm& vm = *vcpu.vm;
    if (const auto target = vm.bus.find(ipa, size); target.device != nullptr) {
        if constexpr (write) {
            target.device->write(vcpu.index, target.offset, size, value);
            return {0, Outcome::done};
        } else {
            return {target.device->read(vcpu.index, target.offset, size), Outcome::done};
        }
    }
    const u64 gicd_offset = ipa.value - guest_map::gicd.base.value;
    if (gicd_offset < guest_map::gicd.size) {
        return access_gic<GicFrame::distributor, write>(vcpu, gicd_offset, size, value);
    }
    const u64 gicr_offset = ipa.value - guest_map::gicr_base.value;
    if (gicr_offset < vm.gicr_bytes) {
        return access_gic<GicFrame::redistributors, write>(vcpu, gicr_offset, size, value);
    }
    if (vm.its != nullptr && guest_map::its.contains(ipa, size)) {
        if constexpr (write) {
            its_write(vcpu, ipa - guest_map::its.base, size, value);
            return {0, Outcome::done};
        } else {
            const vgic::Access access = its_read(vcpu, ipa - guest_map::its.base, size);
            return {access.value, access.retry ? Outcome::retry : Outcome::done};
        }
    }
    return {0, Outcome::nobody};
}

/// One access where only some VMs have something: the PCI windows of those with devices, what of a GICv2's CPU interface is
/// not mapped. Not on the fast way.
Reply access_other(Vcpu& vcpu, Ipa ipa, bool write, unsigned size, u64 value) {
    if (access_interface(vcpu, ipa, write, size, value)) {
        return {value, Outcome::done};
    }
    u64 read = 0;
    const bool there = write ? pci_write(*vcpu.vm, vcpu.index, ipa, size, value)
                             : pci_read(*vcpu.vm, vcpu.index, ipa, size, read);
    return {read, there ? Outcome::done : Outcome::nobody};
}

constexpr Action not_done(Outcome outcome) {
    return outcome == Outcome::retry ? action::resume : action::full_frame;
}

[[gnu::noinline]] Action emulate_store(Vcpu& vcpu, u64 esr, Ipa ipa) {
    const auto size = 1u << arch::DataAbort::SAS::get(esr);
    const u64 value = vcpu.reg(static_cast<unsigned>(arch::DataAbort::SRT::get(esr))) & size_mask(size);
    const Reply reply = access_device<true>(vcpu, ipa, size, value);
    return reply.outcome == Outcome::done ? action::advance : not_done(reply.outcome);
}

[[gnu::noinline]] Action emulate_load(Vcpu& vcpu, u64 esr, Ipa ipa) {
    const auto size = 1u << arch::DataAbort::SAS::get(esr);
    const Reply reply = access_device<false>(vcpu, ipa, size, 0);
    if (reply.outcome != Outcome::done) [[unlikely]] {
        return not_done(reply.outcome);
    }
    u64 value = reply.value & size_mask(size);
    if (arch::DataAbort::SSE::test(esr)) [[unlikely]] {
        value = loaded_value(value, size, true, arch::DataAbort::SF::test(esr));
    }
    vcpu.set_reg(static_cast<unsigned>(arch::DataAbort::SRT::get(esr)), value);
    return action::advance;
}

/// The same for an access with a valid syndrome. full_frame: it is nowhere there.
Action emulate_other(Vcpu& vcpu, u64 esr, Ipa ipa) {
    using namespace arch::DataAbort;
    const auto size = 1u << SAS::get(esr);
    const auto reg = static_cast<unsigned>(SRT::get(esr));
    const Reply reply = access_other(vcpu, ipa, WnR::test(esr), size, vcpu.reg(reg) & size_mask(size));
    if (reply.outcome != Outcome::done) {
        return action::full_frame;
    }
    if (!WnR::test(esr)) {
        vcpu.set_reg(reg, loaded_value(reply.value & size_mask(size), size, SSE::test(esr), SF::test(esr)));
    }
    return action::advance;
}

Action refuse(Vcpu& vcpu, u64 esr, u64 far, Ipa ipa, std::string_view why) {
    const bool fetch = arch::exception_class(esr) == arch::ExceptionClass::instruction_abort_lower;
    if (fetch && vcpu.pc - hw::guest_vbar() < vector_table_bytes &&
        (hw::guest_pstate() & arch::Spsr::mode_mask) == arch::Spsr::EL1h) {
        // Its own vectors cannot be fetched: every further exception would only fault again.
        return crash_vm(vcpu, "its exception vectors are not in memory", esr, ipa);
    }
    if (may_report(*vcpu.vm)) {
        log::warn("{} vcpu {}: {} at pc {:x}, va {:x}, ipa {:x}: {} ({}): external abort injected",
                  vcpu.vm->name(), vcpu.index, fetch ? "fetch" : (WnR::test(esr) ? "write" : "read"), vcpu.pc,
                  far, ipa, why, arch::fault_status_name(DFSC::get(esr)));
    }
    return inject_external_abort(vcpu, esr, far, hw::guest_pstate());
}

/// No valid syndrome: look at the instruction itself [el2/insn_decode.hpp].
Action emulate_instruction(Vcpu& vcpu, u64 esr, const hw::FaultAddress& fault) {
    const u64 pstate = hw::guest_pstate();
    const bool el0 = (pstate & arch::Spsr::mode_mask) != arch::Spsr::EL1h &&
                     (pstate & arch::Spsr::mode_mask) != arch::Spsr::EL1t;
    if ((pstate & arch::Spsr::M4_AArch32) != 0) {
        return refuse(vcpu, esr, fault.far, fault.ipa, "an AArch32 access that carries no syndrome");
    }
    const auto code = hw::translate_guest_read(GuestVa{vcpu.pc}, el0);
    if (!code.ok() || vcpu.vm->world->ledger.record(*code) == nullptr) {
        // It was fetched a moment ago: execute-only, or its map has changed. Repeating could go on for ever.
        return refuse(vcpu, esr, fault.far, fault.ipa, "an instruction that cannot be read for emulation");
    }
    u32 word = 0;
    hw::copy_in(&word, *code, sizeof(word));
    const auto decoded = decode_load_store(word);
    if (!decoded.ok()) {
        return refuse(vcpu, esr, fault.far, fault.ipa, "an instruction that is not emulated for devices");
    }
    const LoadStore& ls = *decoded;
    const u64 base = ls.base == 31 ? hw::guest_sp() : vcpu.reg(ls.base);
    const u64 index = ls.has_index ? vcpu.reg(ls.index) : 0;
    // FAR names the part that faulted; the first access may lie below it, in the same page or not at all.
    u64 values[2] = {};
    for (unsigned i = 0; i < ls.count; ++i) {
        const RegisterAccess& access = ls.access[i];
        const auto ipa = hw::translate_stage1(GuestVa{ls.address(i, base, index)}, access.write, el0);
        if (!ipa.ok()) {
            return refuse(vcpu, esr, fault.far, fault.ipa, "an access that leaves the device's page");
        }
        values[i] = vcpu.reg(access.reg) & size_mask(access.size);
        Reply reply = access.write ? access_device<true>(vcpu, *ipa, access.size, values[i])
                                   : access_device<false>(vcpu, *ipa, access.size, 0);
        if (reply.outcome == Outcome::nobody) {
            reply = access_other(vcpu, *ipa, access.write, access.size, values[i]);
        }
        switch (reply.outcome) {
        case Outcome::done:
            values[i] = reply.value;
            break;
        case Outcome::retry:
            return action::resume;
        case Outcome::nobody:
            return refuse(vcpu, esr, fault.far, *ipa, "no memory and no device there");
        }
    }
    for (unsigned i = 0; i < ls.count; ++i) {
        const RegisterAccess& access = ls.access[i];
        if (!access.write) {
            vcpu.set_reg(access.reg, loaded_value(values[i], access.size, access.sign_extend, access.to_64));
        }
    }
    if (ls.writeback) {
        const u64 updated = base + static_cast<u64>(ls.writeback_amount);
        if (ls.base == 31) {
            hw::set_guest_sp(updated);
        } else {
            vcpu.set_reg(ls.base, updated);
        }
    }
    return action::advance;
}

/// An abort where the guest has, or had, memory.
Action on_memory_fault(Vcpu& vcpu, u64 esr, const hw::FaultAddress& fault) {
    Vm& vm = *vcpu.vm;
    World& world = *vm.world;
    stage2::Walk walk;
    {
        LockGuard guard(vm.space.lock());
        walk = vm.space.walk(fault.ipa);
    }
    const bool fetch = arch::exception_class(esr) == arch::ExceptionClass::instruction_abort_lower;
    // A walk that may not update its descriptor faults on permission: that is a write, whatever the access
    // was.
    const bool walk_fault = arch::DataAbort::S1PTW::test(esr);
    const bool write =
        !fetch && (walk_fault ? arch::fsc_type(DFSC::get(esr)) == arch::fsc_permission : WnR::test(esr));
    if (walk.mapped &&
        (fetch ? walk.attributes.execute : (write ? walk.attributes.write : walk.attributes.read))) {
        return action::resume; // a block was being split or merged: repeat [stage2/address_space.hpp]
    }
    if (walk.mapped) {
        return refuse(vcpu, esr, fault.far, fault.ipa,
                      write ? "shared read-only by its owner" : "mapped without that permission");
    }
    const u64 pstate = hw::guest_pstate();
    const bool el1 =
        (pstate & arch::Spsr::M4_AArch32) == 0 && (pstate & arch::Spsr::mode_mask) != arch::Spsr::EL0t;
    // A process gets SIGBUS and its kernel lives on. The kernel itself would die of an abort: it gets a page
    // of zeroes of its own to finish on. [docs/sharing.md "Revocation"]
    bool stand_in = false;
    const bool revoked = world.ffa.while_revoked(
        vm.id, fault.ipa, [&] { stand_in = el1 && !fetch && map_scratch(vm, fault.ipa).ok(); });
    if (stand_in) {
        return action::resume;
    }
    if (revoked) {
        return refuse(vcpu, esr, fault.far, fault.ipa, "its owner took this shared buffer back");
    }
    if (window_of(*vm.config).contains(fault.ipa)) {
        return refuse(vcpu, esr, fault.far, fault.ipa,
                      "nothing is retrieved at this place of the share window");
    }
    const RamBanks banks = ram_banks(vm.config->ram_bytes);
    if (banks.low.contains(fault.ipa) || banks.high.contains(fault.ipa)) {
        return refuse(vcpu, esr, fault.far, fault.ipa, "it has lent or donated this memory to another VM");
    }
    return refuse(vcpu, esr, fault.far, fault.ipa, "no memory and no device there");
}

} // namespace

Action emulate_access(Vcpu& vcpu, u64 esr, Ipa ipa) {
    return WnR::test(esr) ? emulate_store(vcpu, esr, ipa) : emulate_load(vcpu, esr, ipa);
}

Action on_data_abort(Vcpu& vcpu, u64 esr) {
    const hw::FaultAddress fault = hw::fault_address(esr);
    const u64 fsc = DFSC::get(esr);
    if (arch::fsc_type(fsc) == arch::fsc_translation && arch::DataAbort::ISV::test(esr) &&
        !arch::DataAbort::S1PTW::test(esr)) {
        Action action = emulate_access(vcpu, esr, fault.ipa);
        if (action == action::full_frame) {
            action = emulate_other(vcpu, esr, fault.ipa);
        }
        return action != action::full_frame ? action : on_memory_fault(vcpu, esr, fault);
    }
    if (!has_ipa(fsc)) {
        return refuse(vcpu, esr, fault.far, Ipa{}, "the memory system reported an error");
    }
    if (!fault.ipa_known) {
        return action::resume;
    }
    const bool device =
        fault.ipa.value < guest_map::ram_base.value || guest_map::pci_mem64.contains(fault.ipa);
    if (device && arch::fsc_type(fsc) == arch::fsc_translation && !arch::DataAbort::S1PTW::test(esr)) {
        if (arch::DataAbort::CM::test(esr)) {
            return action::advance; // cache maintenance of a device's address does nothing
        }
        return emulate_instruction(vcpu, esr, fault);
    }
    return on_memory_fault(vcpu, esr, fault);
}

Action on_instruction_abort(Vcpu& vcpu, u64 esr) {
    const hw::FaultAddress fault = hw::fault_address(esr);
    if (!has_ipa(DFSC::get(esr))) {
        return refuse(vcpu, esr, fault.far, Ipa{}, "the memory system reported an error");
    }
    if (!fault.ipa_known) {
        return action::resume;
    }
    return on_memory_fault(vcpu, esr, fault);
}

} // namespace atl::el2
