// SPDX-License-Identifier: Apache-2.0
// Birth, reset and death of a VM [el2/lifecycle.hpp]: what it finds in its RAM, what happens to its pages,
// and that every failure on the way gives everything back.
#include "tests/support/el2_ffa_guest.hpp"

using namespace atl;
using namespace atl::test;

namespace {

u64 free_pages(Machine& m) {
    return m.world.pool.counters().free_pages;
}
u32 in_state(Machine& m, PageState state) {
    return m.world.ledger.census().pages[static_cast<unsigned>(state)];
}

/// Images where they belong.
void check_images(Machine& m, unsigned id) {
    const VmConfig& config = *m.vm(id).config;
    const u64 ramdisk = config.ram_bytes + 0x4000'0000 - 512 * kib;
    for (u64 i = 0; i < config.kernel.bytes.size(); i += 61) {
        REQUIRE(*m.guest(id, 0x4000'0000 + i) == config.kernel.bytes[i]);
    }
    for (u64 i = 0; i < config.ramdisk.size(); i += 61) {
        REQUIRE(*m.guest(id, ramdisk + i) == config.ramdisk[i]);
    }
    for (u64 i = 0; i < 0x1234; i += 61) {
        REQUIRE(*m.guest(id, ramdisk + 256 * kib + i) == 0xd0 + id);
    }
}

} // namespace

TEST_CASE("lifecycle: a VM starts with its images, zeroes everywhere else, and the agreed registers") {
    Machine m({{.ram_mib = 4, .kernel_bytes = 2 * mib + 5000}}, 2, 32);
    std::fill_n(m.hw().ram.at(Machine::ram_base, 32 * mib), 32 * mib, u8{0xee}); // what others left
    m.boot(1);
    check_images(m, 1);
    const u64 end_of_kernel = 2 * mib + 5000;
    for (u64 offset = end_of_kernel; offset < 3 * mib + 512 * kib; offset += 509) {
        REQUIRE(*m.guest(1, 0x4000'0000 + offset) == 0);
    }
    CHECK(m.hw().zeroed_pages >= 1024);
    CHECK(m.hw().synced_bytes >= end_of_kernel); // instruction caches know
    Vcpu& v = m.load(m.vcpu(1));
    CHECK(v.pc == 0x4000'0040);
    CHECK(v.x[0] == Machine::context);
    CHECK(v.power.load() == Power::on);
    CHECK(m.vcpu(1, 1).power.load() == Power::off);
    CHECK(m.vm(1).cntvoff != 0);
    CHECK(m.vm(1).boots == 1);
    // IPA != PA, each page its own.
    CHECK(m.vm(1).space.translate(Ipa{0x4000'0000})->value != 0x4000'0000);
    CHECK(in_state(m, PageState::owned) == 1024);
}

TEST_CASE("lifecycle: loading goes by bounded steps, and another VM's vCPU runs between them") {
    Machine m({{.ram_mib = 4}, {.ram_mib = 16}}, 1);
    m.boot(1);
    REQUIRE(create_vm(m.world, m.vm(2)).ok());
    unsigned steps = 0;
    while (m.vm(2).state == VmState::loading) {
        REQUIRE(++steps < 100);
        const u64 before = m.hw().zeroed_pages;
        m.cpu(0).work_pending |= work::resched;
        CHECK(m.enter(0, 1) != nullptr);
        CHECK(m.hw().zeroed_pages - before <= 512); // 2 MiB
    }
    CHECK(steps >= 8);
}

TEST_CASE("lifecycle: a reset restores the images, the devices and the registers") {
    Machine m({{.vcpus = 2}, {.vcpus = 1}});
    m.boot_all();
    const u64 before = free_pages(m);
    const u64 pa = m.vm(1).space.translate(Ipa{0x4000'0000})->value;
    for (unsigned boot = 2; boot < 6; ++boot) {
        Vcpu& v = m.load(m.vcpu(1));
        m.call(v, {abi::psci_cpu_on | abi::smccc_64, 1, 0x4000'0000, 0});
        m.settle();
        *m.guest(1, 0x4000'0010) ^= 0xff; // its own kernel destroyed
        m.write(v, guest_map::gicd.base, 3);
        m.write(v, guest_map::uart.base + 0x38, 0x50);
        v.sys.ttbr0 = 0x1234;
        v.os_lock = false;
        v.ptimer.write_ctl(1);
        m.hw().counter += 1000;
        m.call(v, {abi::psci_system_reset});
        m.settle();
        CHECK(m.vm(1).state == VmState::running);
        CHECK(m.vm(1).boots == boot);
        check_images(m, 1);
        Vcpu& again = m.load(m.vcpu(1));
        CHECK(again.sys.ttbr0 == 0);
        CHECK(again.os_lock);
        CHECK(again.ptimer.read_ctl(m.hw().counter) == 0);
        CHECK(m.vcpu(1, 1).power.load() == Power::off);
        CHECK((m.read(again, guest_map::gicd.base) & 3) == 0);
        CHECK(m.read(again, guest_map::uart.base + 0x38) == 0);
        CHECK(m.vm(1).cntvoff == m.hw().counter);
        CHECK(m.vm(1).last_on[1].vcpu == nullptr); // no stale TLB entry of the last boot is used
    }
    CHECK(free_pages(m) == before);
    CHECK(m.vm(1).space.translate(Ipa{0x4000'0000})->value == pa);
    CHECK(m.vm(2).boots == 1);
}

TEST_CASE("lifecycle: off gives everything back, scrubbed; on again works") {
    Machine m({{.ram_mib = 4, .window_mib = 4}, {.ram_mib = 2}});
    const u64 all = free_pages(m);
    for (unsigned round = 0; round < 4; ++round) {
        m.boot(1);
        const Pa pa = *m.vm(1).space.translate(Ipa{0x4008'0000});
        *m.guest(1, 0x4008'0000) = 0x5e; // a secret
        m.call(m.vcpu(1), {abi::psci_system_off});
        m.settle();
        CHECK(m.vm(1).state == VmState::absent);
        CHECK(free_pages(m) == all);
        CHECK(*m.hw().ram.at(pa, 1) == 0);
        CHECK(in_state(m, PageState::owned) == 0);
        CHECK(in_state(m, PageState::scrubbing) == 0);
        CHECK(!m.vm(1).space.alive());
        CHECK(m.vm(1).vmid.value == 0);
        CHECK(m.powered_off == round + 1); // nobody else was alive
    }
}

TEST_CASE("lifecycle: the machine goes off with the last VM, not before, and never after a crash") {
    Machine m({VmSpec{}, VmSpec{}});
    m.boot_all();
    m.call(m.vcpu(1), {abi::psci_system_off});
    m.settle();
    CHECK(m.powered_off == 0);
    SUBCASE("the second goes off by itself") {
        m.call(m.vcpu(2), {abi::psci_system_off});
        m.settle();
        CHECK(m.powered_off == 1);
    }
    SUBCASE("the second crashes: somebody will want to look") {
        crash_vm(m.load(m.vcpu(2)), "test", 0, Ipa{0});
        m.settle();
        CHECK(m.vm(2).state == VmState::absent);
        CHECK(m.powered_off == 0);
    }
    SUBCASE("unless asked not to") {
        m.world.power_off_when_done = false;
        m.call(m.vcpu(2), {abi::psci_system_off});
        m.settle();
        CHECK(m.powered_off == 0);
    }
}

TEST_CASE("lifecycle: a crash stops the VM or restarts it, as the manifest says") {
    for (const CrashPolicy policy : {CrashPolicy::stop, CrashPolicy::restart}) {
        Machine m({{.vcpus = 2, .on_crash = policy}});
        m.boot(1);
        Vcpu& v = m.load(m.vcpu(1));
        CHECK((crash_vm(v, "a reason to read", 0x9200'0007, Ipa{0x5000'0000}) & action::leave) != 0);
        m.settle();
        CHECK(m.hw().logged("a reason to read"));
        CHECK(m.vm(1).state == (policy == CrashPolicy::stop ? VmState::absent : VmState::running));
        CHECK(m.vm(1).crashed == (policy == CrashPolicy::stop));
        CHECK(m.vm(1).boots == (policy == CrashPolicy::stop ? 1 : 2));
    }
}

TEST_CASE("lifecycle: stopping twice, starting twice, stopping what is off") {
    Machine m;
    stop_vm(m.vm(1), AfterStop::off, false); // absent: nothing
    CHECK(m.vm(1).state == VmState::absent);
    m.boot(1);
    CHECK(create_vm(m.world, m.vm(1)).error() == Error::busy);
    m.on(1);
    stop_vm(m.vm(1), AfterStop::restart, false);
    stop_vm(m.vm(1), AfterStop::off, true); // the first wish counts
    CHECK(create_vm(m.world, m.vm(1)).error() == Error::busy);
    m.settle();
    CHECK(m.vm(1).state == VmState::running);
    CHECK(!m.vm(1).crashed);
}

TEST_CASE("lifecycle: too little memory at any point: refused, and nothing is kept") {
    Machine m({{.ram_mib = 1, .window_mib = 2}}, 1, 8);
    bool started = false;
    u64 left = 0;
    for (; !started; ++left) {
        REQUIRE(left < 300);
        m.leave_free(left);
        REQUIRE(free_pages(m) == left);
        const Status status = create_vm(m.world, m.vm(1));
        started = status.ok();
        if (!started) {
            CHECK(status.error() == Error::no_memory);
            CHECK(free_pages(m) == left);
            CHECK(m.vm(1).state == VmState::absent);
            CHECK(m.vm(1).vmid.value == 0);
            CHECK(!m.vm(1).space.alive());
            CHECK(in_state(m, PageState::owned) == 0);
            m.give_back();
        }
    }
    CHECK(left > 256); // RAM and tables
    m.settle();
    CHECK(m.vm(1).state == VmState::running);
}

TEST_CASE("lifecycle: an image that cannot be placed, a device tree that cannot be written") {
    for (const bool tree : {false, true}) {
        Machine m;
        const u64 all = free_pages(m);
        m.fail_place = !tree;
        m.fail_tree = tree;
        REQUIRE(create_vm(m.world, m.vm(1)).ok());
        m.settle();
        CHECK(m.vm(1).state == VmState::absent);
        CHECK(m.vm(1).crashed);
        CHECK(free_pages(m) == all);
        CHECK(m.hw().logged("cannot be loaded"));
        m.fail_place = m.fail_tree = false;
        m.boot(1);
        CHECK(!m.vm(1).crashed);
        // The same at a reboot.
        m.fail_place = !tree;
        m.fail_tree = tree;
        m.call(m.vcpu(1), {abi::psci_system_reset});
        m.settle();
        CHECK(m.vm(1).state == VmState::absent);
        CHECK(free_pages(m) == all);
    }
}

TEST_CASE("lifecycle: a kernel that does not fit ends in a refusal") {
    Machine m({{.ram_mib = 1, .kernel_bytes = 2 * mib}});
    const u64 all = free_pages(m);
    REQUIRE(create_vm(m.world, m.vm(1)).ok());
    m.settle();
    CHECK(m.vm(1).state == VmState::absent);
    CHECK(free_pages(m) == all);
}

TEST_CASE("lifecycle: RAM in two banks around the window") {
    Machine m({{.vcpus = 1, .ram_mib = 2 * 1024 + 2, .window_mib = 256}}, 1, 2 * 1024 + 64);
    // No zeroing by the job here: it would touch 2 GiB of the host. Straight to the map.
    REQUIRE(create_vm(m.world, m.vm(1)).ok());
    CHECK(m.vm(1).space.translate(Ipa{0xbfff'f000}).ok());
    CHECK(!m.vm(1).space.translate(Ipa{0xc000'0000}).ok());
    CHECK(m.vm(1).space.translate(Ipa{0x1'0000'0000}).ok());
    CHECK(m.vm(1).space.translate(Ipa{0x1'001f'f000}).ok());
    CHECK(!m.vm(1).space.translate(Ipa{0x1'0020'0000}).ok());
}

TEST_CASE("lifecycle: many VMs, many boots, random ends: the pool is whole at the end") {
    u64 seed = 3;
    const auto random = [&seed](u64 below) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return (seed >> 33) % below;
    };
    Machine m({{.vcpus = 2, .ram_mib = 2},
               {.vcpus = 1, .ram_mib = 1, .on_crash = CrashPolicy::restart},
               {.ram_mib = 3}},
              3);
    const u64 all = free_pages(m);
    for (unsigned step = 0; step < 300; ++step) {
        const auto id = static_cast<unsigned>(1 + random(3));
        Vm& vm = m.vm(id);
        if (vm.state == VmState::absent) {
            REQUIRE(create_vm(m.world, vm).ok());
        } else if (vm.state == VmState::running && m.cpu(0).current != nullptr && random(2) == 0) {
            m.on(static_cast<unsigned>(random(3)));
            stop_vm(vm, random(2) == 0 ? AfterStop::off : AfterStop::restart, random(3) == 0);
        }
        m.enter(static_cast<unsigned>(random(3)), static_cast<unsigned>(random(4)));
        if (random(4) == 0) {
            m.settle();
        }
    }
    m.settle();
    for (unsigned id = 1; id <= 3; ++id) {
        m.on(0);
        stop_vm(m.vm(id), AfterStop::off, false);
    }
    m.settle();
    CHECK(free_pages(m) == all);
    CHECK(in_state(m, PageState::owned) == 0);
}
