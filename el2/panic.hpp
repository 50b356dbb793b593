// SPDX-License-Identifier: Apache-2.0
// The end: EL2's own fault or broken invariant. lib/panic.hpp declares panic() itself.
#pragma once
#include "lib/panic.hpp"
#include "lib/types.hpp"

namespace atl::el2 {

struct World;

/// Whose console a panic prints on. Once, at boot.
void set_panic_world(World& world);
/// This pCPU was told to stop by one that panicked.
[[noreturn]] void stop_for_panic();

} // namespace atl::el2
