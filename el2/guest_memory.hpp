// SPDX-License-Identifier: Apache-2.0
// Reading and writing a VM's own memory on its behalf: by IPA, checked page by page, copied. What the guest may change
// meanwhile is read once by the caller and checked as a copy.
// Locks: takes the lock of that VM's map (rank address_space), page by page.
#pragma once
#include <span>

#include "el2/world.hpp"

namespace atl::el2 {

/// The VM when `ipa` lies in what it was given as RAM. not_found, invalid_argument.
Result<Vm*> vm_with_ram(World& world, VmId id, Ipa ipa);

/// Every page must be RAM that the VM owns, shared or not: denied, invalid_argument, not_found otherwise, and pages up to
/// there have been copied. overflow: the range wraps.
Status read_guest_memory(World& world, VmId vm, Ipa ipa, std::span<std::byte> bytes);
Status write_guest_memory(World& world, VmId vm, Ipa ipa, std::span<const std::byte> bytes);

} // namespace atl::el2
