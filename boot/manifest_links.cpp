// SPDX-License-Identifier: Apache-2.0
// Owns: what needs more than one VM: share-with, start-after and its cycles, exclusive things, and the RAM
// budget. Does not own: one VM alone (manifest_vm.cpp). Lock: none.
#include "boot/manifest_parts.hpp"

namespace atl::boot {
namespace {

constexpr u64 in_mib(u64 bytes) {
    return bytes / mib;
}

/// Writes "alpha -> beta -> alpha" for the cycle through `first`.
FixedString<200> show_cycle(const ManifestReader& reader, std::size_t first) {
    char text[200];
    std::size_t n = 0;
    const auto add = [&](std::string_view part) {
        for (const char c : part) {
            if (n < sizeof(text)) {
                text[n++] = c;
            }
        }
    };
    std::size_t at = first;
    do {
        add(reader.out.vms[at].name.view());
        add(" -> ");
        at = static_cast<std::size_t>(reader.drafts[at].start_after);
    } while (at != first);
    add(reader.out.vms[first].name.view());
    FixedString<200> result;
    result.assign(std::string_view(text, n));
    return result;
}

/// Follows start-after from `index`; true when it comes back.
bool in_cycle(const ManifestReader& reader, std::size_t index) {
    i32 at = reader.drafts[index].start_after;
    for (std::size_t steps = 0; at >= 0 && steps < max_vms; ++steps) {
        if (static_cast<std::size_t>(at) == index) {
            return true;
        }
        at = reader.drafts[static_cast<std::size_t>(at)].start_after;
    }
    return false;
}

/// Appends to start_order whoever can start by now; false when nobody was added.
bool start_round(ManifestReader& reader, const StaticVector<i32, max_vms>& after, u32& started) {
    bool progress = false;
    for (std::size_t i = 0; i < after.size(); ++i) {
        const u32 needs = after[i] < 0 ? 0 : u32{1} << after[i];
        if ((started & (u32{1} << i)) == 0 && (needs & ~started) == 0) {
            started |= u32{1} << i;
            reader.out.start_order.push_back(static_cast<u8>(i));
            progress = true;
        }
    }
    return progress;
}

} // namespace

void link_start_order(ManifestReader& reader) {
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        const auto property = reader.tree.property(reader.node(i), "start-after");
        if (reader.drafts[i].refused || !property.ok()) {
            continue;
        }
        const auto name = property->as_string();
        const i32 other = name.ok() ? reader.find_vm(*name) : -1;
        if (!name.ok()) {
            reader.refuse(i, "start-after", "the name of one VM is wanted");
        } else if (other < 0) {
            reader.refuse(i, "start-after", "there is no VM of this name");
        } else if (other == static_cast<i32>(i)) {
            reader.refuse(i, "start-after", "a VM cannot wait for itself");
        } else {
            reader.drafts[i].start_after = other;
        }
    }
    u32 cyclic = 0;
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        cyclic |= in_cycle(reader, i) ? u32{1} << i : 0;
    }
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        if ((cyclic & (u32{1} << i)) != 0) {
            reader.refuse(i, "start-after", "a cycle, none of these can be first: {}",
                          show_cycle(reader, i).view());
        }
    }
}

void link_shares(ManifestReader& reader) {
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        const auto property = reader.tree.property(reader.node(i), "share-with");
        if (reader.drafts[i].refused || !property.ok()) {
            continue;
        }
        if (!property->is_string_list()) {
            reader.refuse(i, "share-with", "a list of VM names is wanted");
            continue;
        }
        FdtStrings list = property->strings();
        std::string_view name;
        while (!reader.drafts[i].refused && list.next(name)) {
            const i32 other = reader.find_vm(name);
            if (other < 0) {
                reader.refuse(i, "share-with", "there is no VM \"{}\"", name);
            } else if (other == static_cast<i32>(i)) {
                reader.refuse(i, "share-with", "a VM cannot share with itself");
            } else {
                reader.vm(i).share_with |= el2::vm_bit(reader.vm(static_cast<std::size_t>(other)).id);
            }
        }
    }
}

void settle_shares(ManifestReader& reader) {
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        for (std::size_t k = 0; k < reader.drafts.size(); ++k) {
            const el2::VmMask there = el2::vm_bit(reader.vm(k).id);
            const el2::VmMask back = el2::vm_bit(reader.vm(i).id);
            if (reader.drafts[i].refused || (reader.vm(i).share_with & there) == 0) {
                continue;
            }
            if (reader.drafts[k].refused) {
                reader.warn(i, "share-with", "not with {}: that VM is refused", reader.vm(k).name.view());
                reader.vm(i).share_with &= ~there;
            } else if ((reader.vm(k).share_with & back) == 0) {
                reader.warn(i, "share-with", "not with {}: it does not list {}, and both must agree",
                            reader.vm(k).name.view(), reader.vm(i).name.view());
                reader.vm(i).share_with &= ~there;
            }
        }
    }
}

void link_focus(ManifestReader& reader) {
    i32 focus = -1;
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        if (reader.drafts[i].refused) {
            continue;
        }
        if (reader.vm(i).focus && focus >= 0) {
            reader.warn(i, "console-focus", "{} has the keyboard first: ignored",
                        reader.vm(static_cast<std::size_t>(focus)).name.view());
            reader.vm(i).focus = false;
        }
        focus = reader.vm(i).focus ? static_cast<i32>(i) : focus;
    }
}

void link_budget(ManifestReader& reader) {
    u64 left = reader.limits.guest_ram_bytes;
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        const el2::VmConfig& vm = reader.vm(i);
        if (reader.drafts[i].refused) {
            continue;
        }
        const u64 needed = vm.ram_bytes + vm_overhead(vm.ram_bytes, vm.window_bytes);
        if (needed > left) {
            reader.refuse(i, "memory-mib",
                          "the host has {} MiB left for this VM, which needs {} MiB with its tables",
                          in_mib(left), in_mib(needed + mib - 1));
        } else {
            left -= needed;
        }
    }
}

void finish_vms(ManifestReader& reader) {
    i32 new_index[max_vms];
    i32 kept = 0;
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        new_index[i] = reader.drafts[i].refused ? -1 : kept++;
        reader.out.refused += reader.drafts[i].refused ? 1 : 0;
    }
    StaticVector<i32, max_vms> after;
    for (std::size_t i = 0; i < reader.drafts.size(); ++i) {
        const i32 wanted = reader.drafts[i].start_after;
        if (reader.drafts[i].refused) {
            continue;
        }
        const i32 at = wanted < 0 ? -1 : new_index[wanted];
        if (wanted >= 0 && at < 0) {
            reader.warn(i, "start-after", "that VM is refused: not waited for");
        }
        after.push_back(at);
    }
    for (std::size_t i = reader.drafts.size(); i-- > 0;) {
        if (reader.drafts[i].refused) {
            reader.out.vms.erase(i);
        }
    }
    for (u32 started = 0; start_round(reader, after, started);) {
    }
}

} // namespace atl::boot
