// SPDX-License-Identifier: Apache-2.0
// Binds FF-A to guest memory, page records, stage 2 and the vGIC.
#pragma once
#include "el2/ffa/ports.hpp"

namespace atl::el2 {

struct World;

ffa::Ports make_ffa_ports(World& world);

} // namespace atl::el2
