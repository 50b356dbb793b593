// SPDX-License-Identifier: Apache-2.0
// See el2/guest_memory.hpp. Portable.
#include "el2/guest_memory.hpp"

#include "el2/hw.hpp"

namespace atl::el2 {
namespace {

/// Each page is copied under the lock of the map: it cannot change hands meanwhile, even if the VM ends on another CPU.
template <class Copy>
Status for_guest(World& world, VmId id, Ipa ipa, u64 bytes, Copy copy) {
    if (bytes > 0 && ipa.value + bytes - 1 < ipa.value) {
        return Error::overflow;
    }
    u64 done = 0;
    while (done < bytes) {
        const Ipa at = ipa + done;
        const u64 in_page = page_size - (at.value & (page_size - 1));
        const u64 part = in_page < bytes - done ? in_page : bytes - done;
        const auto vm = vm_with_ram(world, id, at);
        ATOLL_TRY(vm);
        LockGuard guard((*vm)->space.lock());
        const auto pa = (*vm)->space.translate(at);
        ATOLL_TRY(pa);
        const PageRecord* const record = world.ledger.record(*pa);
        if (record == nullptr || record->owner != id ||
            (record->state != PageState::owned && record->state != PageState::shared)) {
            return Error::denied;
        }
        copy(*pa, done, part);
        done += part;
    }
    return {};
}

} // namespace

Result<Vm*> vm_with_ram(World& world, VmId id, Ipa ipa) {
    Vm* const vm = world.vm(id);
    if (vm == nullptr) {
        return Error::not_found;
    }
    const RamBanks banks = ram_banks(vm->config->ram_bytes);
    if (!banks.low.contains(ipa) && !banks.high.contains(ipa)) {
        return Error::invalid_argument;
    }
    return vm;
}

Status read_guest_memory(World& world, VmId vm, Ipa ipa, std::span<std::byte> bytes) {
    return for_guest(world, vm, ipa, bytes.size(),
                     [&](Pa pa, u64 done, u64 part) { hw::copy_in(bytes.data() + done, pa, part); });
}

Status write_guest_memory(World& world, VmId vm, Ipa ipa, std::span<const std::byte> bytes) {
    return for_guest(world, vm, ipa, bytes.size(),
                     [&](Pa pa, u64 done, u64 part) { hw::copy_out(pa, bytes.data() + done, part); });
}

} // namespace atl::el2
