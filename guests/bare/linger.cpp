// SPDX-License-Identifier: Apache-2.0
// Payload linger: two edu devices are left in the middle of a transfer when their VM ends. Boot argument linger.device: that
// VM. One device is about to write to a page of its own, the other to a page that it has retrieved; then it restarts
// (or, with linger.off, turns off). In its next life nothing may come to the page of its own. linger.owner: the VM that
// has shared the page, takes it back from the dead, and watches that nothing comes any more. A transfer takes 100 ms from
// its start, so that the case runs with -icount, where that is time enough to end, and to fill both pages anew.
#include "guests/bare/rt/edu.hpp"
#include "guests/bare/rt/ffa.hpp"

using namespace atl;
using namespace atl::bare;

namespace {

constexpr u16 owner_id = 1;
constexpr u16 device_id = 2;
constexpr u64 words = edu_bytes / 8;

enum class Step : u32 { end = 1, live_again, answer };

constexpr u64 device_words = 0xdead'0000'0000'0000; // what the devices would write
constexpr u64 quiet_words = 0x9a1e'0000'0000'0000;  // what must stay

alignas(4096) u64 page[words];

void fill(u64 salt) {
    for (u64 i = 0; i < words; ++i) {
        page[i] = salt + i;
    }
    dsb();
}

/// Until both transfers would long be over.
u64 changed_later() {
    const u64 end = now() + BARE_READ("cntfrq_el0") / 4;
    while (now() < end) {
        yield();
    }
    u64 changed = 0;
    for (u64 i = 0; i < words; ++i) {
        changed += page[i] == quiet_words + i ? 0 : 1;
    }
    return changed;
}

// ---- the VM with the devices ----

/// The first life's end: both devices have their order, and the VM is gone.
void end(u64 handle) {
    Edu devices[2];
    const bool found = edu_find(devices, 2) == 2;
    report("linger.devices", found);
    const u64 window = ffa_retrieve(owner_id, handle, FFA_MEM_PERM_RW);
    report("linger.retrieved", window != 0);
    if (!found || window == 0) {
        return;
    }
    fill(device_words);
    bool ended = true;
    for (const Edu& edu : devices) {
        edu_enable(edu, edu_master);
        ended = edu_transfer(edu, address_of(page), edu_bytes, false) && ended;
    }
    report("linger.devices_are_filled", ended);
    ffa_send(owner_id, {static_cast<u32>(Step::answer), 0, handle, 0});
    edu_start(devices[0], address_of(page), edu_bytes, true);
    edu_start(devices[1], window, edu_bytes, true);
    hvc(has_option("linger.off") ? abi::psci_system_off : abi::psci_system_reset);
}

void device() {
    FfaMessage message{};
    if (!ffa_receive(owner_id, message)) {
        return;
    }
    if (static_cast<Step>(message.step) == Step::end) {
        end(message.handle);
        return; // has failed
    }
    fill(quiet_words);
    report_equal("linger.next_life_is_undisturbed", changed_later(), 0);
    ffa_send(owner_id, {static_cast<u32>(Step::answer), 0, 0, 0});
}

// ---- the owner ----

/// The borrower never relinquishes: its end does. True when the page is ours alone again.
bool take_back(u64 handle) {
    const u64 end = now() + 5 * BARE_READ("cntfrq_el0");
    while (now() < end) {
        if (succeeded(ffa_reclaim(handle))) {
            return true;
        }
        yield();
    }
    return false;
}

void owner() {
    const CallResult shared = ffa_share_page(device_id, address_of(page), FFA_MEM_PERM_RW);
    expect_success("linger.share", shared);
    const u64 handle = ffa_handle(shared);
    fill(quiet_words);
    if (!ffa_send(device_id, {static_cast<u32>(Step::end), 0, handle, 0})) {
        return;
    }
    FfaMessage answer{};
    ffa_receive(device_id, answer); // it has retrieved: until its end a reclaim is refused
    report("linger.taken_back_from_the_dead", take_back(handle));
    fill(quiet_words);
    const bool restarts = !has_option("linger.off");
    if (restarts) {
        ffa_send(device_id, {static_cast<u32>(Step::live_again), 0, 0, 0});
    }
    report_equal("linger.reclaimed_page_is_undisturbed", changed_later(), 0);
    if (restarts) {
        report("linger.next_life_answers", ffa_receive(device_id, answer));
    }
}

} // namespace

void payload() {
    ffa_introduce();
    if (has_option("linger.owner")) {
        owner();
    } else {
        device();
    }
}
