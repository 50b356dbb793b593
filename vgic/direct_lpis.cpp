// SPDX-License-Identifier: Apache-2.0
// See vgic/direct_lpis.hpp. Pure over vgic/its_io_hw.hpp.
#include "vgic/direct_lpis.hpp"

#include <bit>

#include "vgic/its_io_hw.hpp"

namespace atl::vgic {
namespace {

constexpr u16 none = 0;                   // of DirectDevice::want and has
constexpr u32 zero_n = 1;                 // what they count from: number + 1
constexpr unsigned changes_per_step = 16; // each takes up to four commands of the host's ITS
constexpr u64 pending_bytes = (u64{1} << vlpi_id_bits) / 8;
constexpr unsigned event_shift = 8;
static_assert(1u << event_shift == direct_events);

constexpr u32 number_of(u16 kept) {
    return kept - zero_n;
}
constexpr u16 keep(u32 lpi) {
    return lpi == 0 ? none : static_cast<u16>(lpi - gic::first_lpi + zero_n);
}

} // namespace

void DirectLpis::init(VirtualGic& gic, Lpis& lpis, Its& host, const DirectTables& tables) {
    gic_ = &gic;
    lpis_ = &lpis;
    host_ = &host;
    tables_ = tables;
    for (unsigned v = 0; v < gic.vcpu_count(); ++v) {
        vpes_[v].init(*tables.frames[v], tables.configuration, tables.pending[v], vlpi_id_bits);
    }
}

DirectDevice* DirectLpis::add(u32 guest_id, u32 host_id, u32 first_doorbell) {
    if (device_count_ == max_direct_devices) {
        return nullptr;
    }
    DirectDevice& device = devices_[device_count_++];
    device.guest_id = guest_id;
    device.host_id = host_id;
    device.doorbells = first_doorbell;
    for (auto& at : device.at) {
        at.store(no_vcpu, std::memory_order_relaxed);
    }
    return &device;
}

/// Tables change only while no vPE has them: unmapped, then zeroed, then mapped anew.
bool DirectLpis::reset() {
    bool ok = true;
    for (DirectDevice& device : std::span(devices_, device_count_)) {
        for (u32 event = 0; event < direct_events; ++event) {
            device.want[event] = none;
            if (device.at[event].load(std::memory_order_relaxed) != no_vcpu) {
                discard(device, event);
            }
        }
    }
    enabled_ = false;
    leaving_ = 0;
    changed_.store(false, std::memory_order_relaxed);
    scanning_.store(false, std::memory_order_relaxed);
    for (unsigned v = 0; v < gic_->vcpu_count(); ++v) {
        static_cast<void>(host_->unmap_vpe(vpe_id(v))); // not_found: its first life
        its_io::zero(tables_.pending[v], pending_bytes);
        vpes_[v].reset();
    }
    its_io::zero(tables_.configuration, vlpi_count);
    for (unsigned v = 0; v < gic_->vcpu_count(); ++v) {
        ok = host_->map_vpe(vpe_id(v), tables_.targets[v], tables_.pending[v], vlpi_id_bits).ok() &&
             host_->reload_vpe(vpe_id(v)).ok() && ok;
    }
    return ok;
}

// ---- who is who ----

DirectDevice* DirectLpis::find(u32 device) {
    for (DirectDevice& d : std::span(devices_, device_count_)) {
        if (d.guest_id == device) {
            return &d;
        }
    }
    return nullptr;
}

u16 DirectLpis::name_of(const DirectDevice& device, u32 event) const {
    return static_cast<u16>((static_cast<u32>(&device - devices_) << event_shift | event) + 1);
}

DirectLpis::Event DirectLpis::owner_of(u32 n) {
    const u16 name = owner_[n].load(std::memory_order_relaxed);
    return name == 0 ? Event{} : Event{&devices_[(name - 1u) >> event_shift], (name - 1u) % direct_events};
}

/// As the table in memory says; while the vPE is resident, or was a moment ago, that may be old.
bool DirectLpis::in_table(unsigned v, u32 n) const {
    const u32 lpi = gic::first_lpi + n;
    const Pa word = vpes_[v].table() + lpi / 64 * sizeof(u64);
    its_io::refresh(word, sizeof(u64), host_->coherent());
    return (its_io::load64(word) >> (lpi % 64) & 1) != 0;
}

// ---- from what is to what is wanted ----

DirectLpis::Settled DirectLpis::settle(DirectDevice& device, u32 event, VcpuMask& kick) {
    const u16 want = device.want[event];
    const u8 target = want == none || !enabled_ ? no_vcpu : lpis_->receiver(number_of(want));
    u8 at = device.at[event].load(std::memory_order_relaxed);
    if (at != no_vcpu && device.has[event] != want) {
        discard(device, event); // the guest has unmapped it, or mapped it to another LPI
        at = no_vcpu;
    }
    if (at == target) {
        return Settled::yes;
    }
    if (at == no_vcpu) {
        inject(device, event, target, kick);
        return Settled::yes;
    }
    if (target == no_vcpu) {
        return take_back(device, event, kick);
    }
    static_cast<void>(host_->move_direct(device.host_id, event, vpe_id(at), vpe_id(target)));
    device.at[event].store(target, std::memory_order_release);
    mapped_[at].fetch_sub(1, std::memory_order_release);
    mapped_[target].fetch_add(1, std::memory_order_release);
    return Settled::yes;
}

/// An LPI has one owner: an event that is mapped to the same one later takes it over.
void DirectLpis::inject(DirectDevice& device, u32 event, unsigned v, VcpuMask& kick) {
    const u16 lpi = device.want[event];
    if (const Event other = owner_of(number_of(lpi)); other.device != nullptr) {
        other.device->want[other.number] = none;
        discard(*other.device, other.number);
    }
    if (!host_
             ->map_direct(device.host_id, event, gic::first_lpi + number_of(lpi), vpe_id(v),
                          device.doorbells + event)
             .ok()) {
        return;
    }
    device.has[event] = lpi;
    device.at[event].store(static_cast<u8>(v), std::memory_order_release);
    mapped_[v].fetch_add(1, std::memory_order_release);
    LockGuard dist(gic_->dist_lock());
    owner_[number_of(lpi)].store(name_of(device, event), std::memory_order_relaxed);
    kick |= lpis_->pass_on(number_of(lpi));
}

void DirectLpis::forget(DirectDevice& device, u32 event) {
    mapped_[device.at[event].load(std::memory_order_relaxed)].fetch_sub(1, std::memory_order_release);
    device.at[event].store(no_vcpu, std::memory_order_release);
    device.has[event] = none;
}

/// It pends nowhere afterwards.
void DirectLpis::discard(DirectDevice& device, u32 event) {
    {
        LockGuard dist(gic_->dist_lock());
        owner_[number_of(device.has[event])].store(0, std::memory_order_relaxed);
    }
    static_cast<void>(host_->command_direct(gic::ItsOpcode::discard, device.host_id, event,
                                            vpe_id(device.at[event].load(std::memory_order_relaxed))));
    forget(device, event);
}

/// What pends comes back into software; what comes after this was asked for is nothing.
DirectLpis::Settled DirectLpis::take_back(DirectDevice& device, u32 event, VcpuMask& kick) {
    const u8 v = device.at[event].load(std::memory_order_relaxed);
    const u32 n = number_of(device.has[event]);
    {
        LockGuard dist(gic_->dist_lock());
        leaving_ |= 1u << v;
        kick |= refresh_allowed(v);
        if (vpes_[v].resident()) {
            // It may have been loaded, or kicked for something else, before it was told.
            static_cast<void>(gic_->vcpu({v}).post(work_its));
            kick |= 1u << v;
            return Settled::waits;
        }
        owner_[n].store(0, std::memory_order_relaxed); // no INT any more
    }
    static_cast<void>(host_->sync_vpe(vpe_id(v)));
    if (in_table(v, n)) {
        LockGuard dist(gic_->dist_lock());
        kick |= lpis_->restore(v, n);
    }
    static_cast<void>(host_->command_direct(gic::ItsOpcode::discard, device.host_id, event, vpe_id(v)));
    forget(device, event);
    return Settled::yes;
}

VcpuMask DirectLpis::allow_again() {
    LockGuard dist(gic_->dist_lock());
    VcpuMask kick = 0;
    for (u32 left = std::exchange(leaving_, 0); left != 0; left &= left - 1) {
        kick |= refresh_allowed(static_cast<unsigned>(std::countr_zero(left)));
    }
    return kick;
}

VcpuMask DirectLpis::step() {
    VcpuMask kick = 0;
    if (changed_.exchange(false, std::memory_order_acquire)) {
        cursor_ = 0;
        scanning_.store(true, std::memory_order_relaxed);
    }
    unsigned changes = 0;
    for (u32 looked = 0; scanning_.load(std::memory_order_relaxed) && looked < direct_events; ++looked) {
        if (cursor_ == device_count_ * direct_events) {
            scanning_.store(false, std::memory_order_relaxed);
            return kick | allow_again();
        }
        const u64 before = host_->commands();
        if (settle(devices_[cursor_ >> event_shift], cursor_ % direct_events, kick) == Settled::waits) {
            break;
        }
        ++cursor_;
        changes += host_->commands() != before ? 1 : 0;
        if (changes == changes_per_step) {
            break;
        }
    }
    return kick;
}

// ---- what the guest does ----

VcpuMask DirectLpis::map(u32 device, u32 event, u32 lpi) {
    DirectDevice* const d = find(device);
    VcpuMask kick = 0;
    if (d != nullptr && event < direct_events) {
        if (d->at[event].load(std::memory_order_relaxed) != no_vcpu) {
            discard(*d, event); // also where it is mapped to the same LPI once more
        }
        d->want[event] = keep(lpi);
        static_cast<void>(settle(*d, event, kick)); // of one that is not mapped it does not wait
    }
    if (lpi != 0) {
        settle_owner(lpi, kick); // it may be an event of a device that is none that was mapped to it
    }
    return kick;
}

void DirectLpis::settle_owner(u32 lpi, VcpuMask& kick) {
    const Event owner = owner_of(lpi - gic::first_lpi);
    if (owner.device != nullptr && settle(*owner.device, owner.number, kick) == Settled::waits) {
        routes_changed();
    }
}

void DirectLpis::unmap_device(u32 device) {
    if (DirectDevice* const d = find(device); d != nullptr) {
        for (u16& want : d->want) {
            want = none;
        }
        routes_changed();
    }
}

VcpuMask DirectLpis::rerouted(u32 device, u32 event, u32 lpi) {
    VcpuMask kick = 0;
    DirectDevice* const d = find(device);
    if (d != nullptr && event < direct_events && settle(*d, event, kick) == Settled::waits) {
        routes_changed();
    }
    settle_owner(lpi, kick);
    return kick;
}

void DirectLpis::clear(u32 lpi) {
    if (const Event owner = owner_of(lpi - gic::first_lpi); owner.device != nullptr) {
        static_cast<void>(
            host_->command_direct(gic::ItsOpcode::clear, owner.device->host_id, owner.number,
                                  vpe_id(owner.device->at[owner.number].load(std::memory_order_relaxed))));
    }
}

void DirectLpis::set_enabled(bool enabled) {
    if (enabled != enabled_) {
        enabled_ = enabled;
        routes_changed();
    }
}

void DirectLpis::invalidate(u32 lpi) {
    if (const Event owner = owner_of(lpi - gic::first_lpi); owner.device != nullptr) {
        static_cast<void>(
            host_->command_direct(gic::ItsOpcode::inv, owner.device->host_id, owner.number,
                                  vpe_id(owner.device->at[owner.number].load(std::memory_order_relaxed))));
    }
}

void DirectLpis::invalidate_all() {
    for (unsigned v = 0; v < gic_->vcpu_count(); ++v) {
        static_cast<void>(host_->reload_vpe(vpe_id(v)));
    }
}

VcpuMask DirectLpis::ring(const DirectDevice& device, u32 event) {
    const u8 v = device.at[event].load(std::memory_order_acquire);
    return v != no_vcpu ? 1u << v : 0;
}

// ---- with dist_lock ----

void DirectLpis::raise(u32 n) {
    const Event owner = owner_of(n);
    static_cast<void>(host_->raise_direct(owner.device->host_id, owner.number));
}

void DirectLpis::configure(u32 first, std::span<const u8> bytes) {
    const Pa at = tables_.configuration + first;
    for (u32 i = 0; i < bytes.size(); ++i) {
        its_io::store8(at + i, bytes[i] | gic::LpiConfig::res1);
    }
    its_io::publish(at, bytes.size(), host_->coherent());
}

VcpuMask DirectLpis::refresh_allowed(unsigned v) {
    const bool allowed = lpis_->vcpu(v).enabled && (gic_->groups() & 2) != 0 && (leaving_ >> v & 1) == 0;
    return vpes_[v].set_allowed(allowed) && gic_->vcpu({static_cast<u8>(v)}).post(work_its) ? 1u << v : 0;
}

// ---- for the monitor ----

void DirectLpis::dump(const TextSink& sink) {
    for (unsigned v = 0; v < gic_->vcpu_count(); ++v) {
        const Pa table = vpes_[v].table();
        unsigned pending = 0;
        its_io::refresh(table, pending_bytes, host_->coherent());
        for (u64 at = gic::first_lpi / 8; at < pending_bytes; at += sizeof(u64)) {
            for (u64 word = its_io::load64(table + at); word != 0; word &= word - 1) {
                ++pending;
            }
        }
        format_to(sink,
                  "vCPU {} vPE {}, {}: {} events direct, {} pending in its table, {} slow descheduled\n", v,
                  vpe_id(v), vpes_[v].resident() ? "resident" : "not resident", mapped(v), pending,
                  vpes_[v].timeouts());
    }
}

void DirectLpis::explain(u32 n, const TextSink& sink) {
    const Event owner = owner_of(n);
    if (owner.device == nullptr) {
        return;
    }
    const u8 v = owner.device->at[owner.number].load(std::memory_order_relaxed);
    if (v != no_vcpu) {
        format_to(sink, "  direct: event {} of device {:x}, to vPE {} of vCPU {}{}, {} in its table\n",
                  owner.number, owner.device->guest_id, vpe_id(v), v,
                  vpes_[v].resident() ? " (resident)" : "", in_table(v, n) ? "pending" : "not pending");
    }
}

} // namespace atl::vgic
