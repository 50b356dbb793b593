// SPDX-License-Identifier: Apache-2.0
// From the bundle to running VMs: manifest, objects, devices, wiring. Boot CPU, once.
#pragma once
#include "boot/host.hpp"

namespace atl::boot {

/// Reads the manifest and starts what can be started; refusals are sentences in the log. With nothing to
/// start the monitor is still there.
void start_vms(Host& host);

} // namespace atl::boot
