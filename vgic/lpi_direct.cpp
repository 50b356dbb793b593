// SPDX-License-Identifier: Apache-2.0
// Lpis: towards LPIs that are injected directly. See vgic/direct_lpis.hpp.
#include "vgic/direct_lpis.hpp"

namespace atl::vgic {

VcpuMask Lpis::signal(u32 lpi) {
    if (direct_ != nullptr && exists(lpi)) {
        LockGuard dist(gic_->dist_lock());
        if (direct_->owned(number(lpi))) {
            direct_->raise(number(lpi));
            return 0;
        }
    }
    return arrive(lpi);
}

void Lpis::configure_direct(u32 first, u32 count) {
    u8 bytes[32];
    for (u32 i = 0; i < count; ++i) {
        bytes[i] = priority(first + i) | (config_[first + i] & static_cast<u8>(gic::LpiConfig::Enable::mask));
    }
    direct_->configure(first, std::span<const u8>(bytes, count));
}

u8 Lpis::receiver(u32 n) {
    LockGuard dist(gic_->dist_lock());
    const u8 v = route(n);
    return v != no_vcpu && vcpus_[v].enabled ? v : no_vcpu;
}

/// What is in a list register comes back first, and then by put().
VcpuMask Lpis::pass_on(u32 n) {
    VcpuMask mask = collect({no_vcpu});
    for (unsigned v = 0; v < gic_->vcpu_count(); ++v) {
        if ((vcpus_[v].pending[n / 32] & bit(n)) != 0) {
            take(v, n);
            direct_->raise(n);
        }
        mask |= vcpus_[v].listed != 0 ? post(v, work_recall) : 0;
    }
    return mask;
}

VcpuMask Lpis::restore(unsigned v, u32 n) {
    put(v, n);
    return post(v, work_refill);
}

VcpuMask Lpis::groups_changed() {
    VcpuMask mask = 0;
    if (direct_ != nullptr) {
        LockGuard dist(gic_->dist_lock());
        for (unsigned v = 0; v < gic_->vcpu_count(); ++v) {
            mask |= direct_->refresh_allowed(v);
        }
    }
    return mask;
}

bool Lpis::is_direct(u32 n) const {
    return direct_ != nullptr && direct_->owned(n);
}

bool Lpis::direct_pending(unsigned v) const {
    return direct_ != nullptr && direct_->vpe(v).pending();
}

} // namespace atl::vgic
