// SPDX-License-Identifier: Apache-2.0
// Tests of boot/guest_dt and guest_layout: nothing overlaps, everything that EL2 emulates is described.
#include <doctest/doctest.h>

#include "boot/fdt.hpp"
#include "boot/guest_dt.hpp"
#include "boot/platform.hpp"
#include "lib/arch/its.hpp"
#include "tests/host/boot/tree.hpp"

using namespace atl;
using namespace atl::boot;
using el2::KernelImage;
using el2::VmConfig;

namespace {

/// A VM of `ram_mib` with a kernel of `kernel_bytes` at `load` and a ramdisk. The bytes are never touched.
VmConfig make_vm(u64 ram_mib, u64 kernel_bytes, u64 load = 0, u64 ramdisk_bytes = 0) {
    VmConfig vm;
    vm.id = VmId{1};
    vm.name.assign("alpha");
    vm.ram_bytes = ram_mib * mib;
    vm.kernel.memory_bytes = kernel_bytes;
    vm.kernel.load_offset = vm.kernel.entry_offset = load;
    static const u8 byte = 0;
    vm.kernel.bytes = {&byte, 1};
    if (ramdisk_bytes != 0) {
        vm.ramdisk = {&byte, ramdisk_bytes};
    }
    return vm;
}

void check_layout(const VmConfig& vm, const GuestLayout& layout) {
    const Range<Ipa> ram = el2::ram_banks(vm.ram_bytes).low;
    CHECK(ram.contains(layout.kernel.base, layout.kernel.size));
    CHECK(!layout.kernel.overlaps(layout.dtb));
    CHECK(!layout.kernel.overlaps(layout.ramdisk));
    CHECK(!layout.dtb.overlaps(layout.ramdisk));
    if (!layout.dtb.empty()) {
        CHECK(ram.contains(layout.dtb.base, layout.dtb.size));
        CHECK(layout.x0 == layout.dtb.base);
    }
    if (!layout.ramdisk.empty()) {
        CHECK(ram.contains(layout.ramdisk.base, layout.ramdisk.size));
        CHECK(layout.ramdisk.base.is_aligned(page_size));
    }
}

u64 number(const FdtView& view, const char* path, const char* property) {
    const auto node = view.find(path);
    REQUIRE_MESSAGE(node.ok(), path);
    const auto value = view.property(*node, property);
    REQUIRE_MESSAGE(value.ok(), property);
    return value->as_number().value_or(~u64{0});
}

std::string text(const FdtView& view, const char* path, const char* property) {
    const auto node = view.find(path);
    REQUIRE_MESSAGE(node.ok(), path);
    const auto value = view.property(*node, property);
    REQUIRE_MESSAGE(value.ok(), property);
    return std::string(value->as_string().value_or("?"));
}

Range<Pa> reg_of(const FdtView& view, std::string_view path, std::size_t index = 0) {
    FdtWalk walk(view);
    for (auto more = walk.next(); more.ok() && *more; more = walk.next()) {
        if (view.path(walk.node()).view() == path) {
            return walk.reg(index).value_or({});
        }
    }
    return {};
}

} // namespace

TEST_CASE("guest layout: sizes from the least to the largest") {
    for (const u64 ram_mib : {1, 2, 64, 256, 2048, 4096}) {
        for (const u64 load : {u64{0}, u64{0x80000}, el2::ram_banks(ram_mib * mib).low.size / 2}) {
            for (const u64 ramdisk : {u64{0}, u64{1}, u64{300'000}}) {
                CAPTURE(ram_mib);
                CAPTURE(load);
                const VmConfig vm = make_vm(ram_mib, 0x12345, load, ramdisk);
                const auto layout = plan_guest(vm);
                REQUIRE(layout.ok());
                check_layout(vm, *layout);
                CHECK(layout->kernel.base == el2::guest_map::ram_base + load);
                CHECK(layout->entry == layout->kernel.base);
            }
        }
    }
}

TEST_CASE("guest layout: what does not fit") {
    CHECK(plan_guest(make_vm(0, 1)).error() == Error::no_memory);
    CHECK(plan_guest(make_vm(1, 1 * mib + 1)).error() == Error::no_memory);
    CHECK(plan_guest(make_vm(1, 1 * mib)).error() == Error::no_memory); // no room for the device tree
    CHECK(plan_guest(make_vm(1, 64 * kib, 2 * mib)).error() == Error::no_memory);
    CHECK(plan_guest(make_vm(1, ~u64{0})).error() == Error::no_memory);
    CHECK(plan_guest(make_vm(1, 64 * kib, 0, 2 * mib)).error() == Error::no_memory);
    CHECK(plan_guest(make_vm(1, 64 * kib, 0, 1 * mib - 128 * kib)).ok()); // to the last byte
    CHECK(plan_guest(make_vm(1, 64 * kib, 0, 1 * mib - 128 * kib + 1)).error() == Error::no_memory);
}

TEST_CASE("guest layout: offsets of raw images") {
    VmConfig vm = make_vm(16, 4096, 0x100000);
    vm.kernel.kind = el2::ImageKind::raw;
    vm.kernel.dtb = KernelImage::Dtb::none;
    auto layout = plan_guest(vm);
    REQUIRE(layout.ok());
    CHECK(layout->x0 == Ipa{0});
    CHECK(layout->dtb.empty());
    vm.kernel.dtb = KernelImage::Dtb::fixed;
    vm.kernel.dtb_offset = 0x200008;
    layout = plan_guest(vm);
    REQUIRE(layout.ok());
    CHECK(layout->x0 == Ipa{0x4020'0008});
    for (const u64 bad : {u64{0x200004}, u64{0x100000}, u64{0xf8000}, 16 * mib - 64 * kib + 8, ~u64{7}}) {
        vm.kernel.dtb_offset = bad;
        CHECK(plan_guest(vm).error() == Error::invalid_argument);
    }
    vm.kernel.dtb = KernelImage::Dtb::placed;
    for (const u64 bad : {u64{0xffffc}, u64{0x101000}, u64{0x100002}, ~u64{3}}) {
        vm.kernel.entry_offset = bad;
        CHECK(plan_guest(vm).error() == Error::invalid_argument);
    }
    vm.kernel.entry_offset = 0x100ffc;
    CHECK(plan_guest(vm).ok());
}

TEST_CASE("guest device tree: everything that EL2 emulates, and the peers") {
    StaticVector<VmConfig, 3> all;
    all.push_back(make_vm(3072, 32 * mib, 0, 5000));
    all.push_back(make_vm(64, 4096));
    all.push_back(make_vm(64, 4096));
    VmConfig& vm = all[0];
    vm.vcpus = 4;
    vm.window_bytes = 256 * mib;
    vm.bootargs.assign("console=ttyAMA0 quiet");
    all[1].id = VmId{2};
    all[1].name.assign("beta");
    all[2].id = VmId{5};
    all[2].name.assign("gamma");
    vm.share_with = el2::vm_bit(VmId{5});
    const auto layout = plan_guest(vm);
    REQUIRE(layout.ok());
    GuestEntropy entropy;
    entropy.kaslr_seed = 0x1122'3344'5566'7788;
    entropy.rng_seed[3] = 7;
    alignas(8) static u8 buffer[guest_dtb_bytes];
    const auto size = write_guest_dt(vm, all.span(), *layout, entropy, GuestGic::v3, buffer);
    REQUIRE(size.ok());
    const auto view = FdtView::open(std::span<const u8>(buffer, *size));
    REQUIRE(view.ok());
    CHECK(view->is_compatible(view->root(), "linux,dummy-virt"));
    CHECK(view->is_compatible(view->root(), "atoll,vm"));
    CHECK(text(*view, "/chosen", "bootargs") == "console=ttyAMA0 quiet");
    CHECK(view->find(text(*view, "/chosen", "stdout-path")).ok());
    CHECK(number(*view, "/chosen", "linux,initrd-start") == layout->ramdisk.base.value);
    CHECK(number(*view, "/chosen", "linux,initrd-end") == layout->ramdisk.base.value + 5000);
    CHECK(number(*view, "/chosen", "kaslr-seed") == entropy.kaslr_seed);
    CHECK(view->property(*view->find("/chosen"), "rng-seed")->value.size() == 32);
    CHECK(reg_of(*view, "/memory@40000000") == Range<Pa>{Pa{0x4000'0000}, 2 * gib});
    CHECK(reg_of(*view, "/memory@c0000000") == Range<Pa>{Pa{0xc000'0000}, 256 * mib});
    CHECK(reg_of(*view, "/memory@100000000") == Range<Pa>{Pa{0x1'0000'0000}, 1 * gib});
    CHECK(reg_of(*view, "/reserved-memory/lagoon@c0000000") == Range<Pa>{Pa{0xc000'0000}, 256 * mib});
    CHECK(!view->has(*view->find("/reserved-memory/lagoon"), "no-map"));
    CHECK(view->find("/cpus/cpu@3").ok());
    CHECK(!view->find("/cpus/cpu@4").ok());
    CHECK(text(*view, "/cpus/cpu@3", "enable-method") == "psci");
    CHECK(text(*view, "/psci", "method") == "hvc");
    CHECK(reg_of(*view, "/intc@8000000") == Range<Pa>{Pa{0x800'0000}, 0x1'0000});
    CHECK(reg_of(*view, "/intc@8000000", 1) == Range<Pa>{Pa{0x80a'0000}, 4 * 0x2'0000});
    CHECK(reg_of(*view, "/pl011@9000000") == Range<Pa>{Pa{0x900'0000}, 0x1000});
    CHECK(reg_of(*view, "/pl031@9010000") == Range<Pa>{Pa{0x901'0000}, 0x1000});
    CHECK(view->property(*view->find("/timer"), "interrupts")->cell(7) == 11);
    CHECK(text(*view, "/firmware/lagoon/peer@5", "atoll,name") == "gamma");
    CHECK(!view->find("/firmware/lagoon/peer@2").ok());
    CHECK(number(*view, "/firmware/lagoon", "memory-region") ==
          view->phandle(*view->find("/reserved-memory/lagoon@c0000000")));
    const auto doorbell = view->property(*view->find("/firmware/lagoon"), "interrupts");
    CHECK((doorbell->cell(0) == 0 && doorbell->cell(1) == 8 && doorbell->cell(2) == 1));
}

TEST_CASE("guest device tree: a GICv2, as the reader of the host's understands it") {
    VmConfig vm = make_vm(64, 4096);
    vm.vcpus = 3;
    const auto layout = plan_guest(vm);
    alignas(8) static u8 buffer[guest_dtb_bytes];
    const auto size = write_guest_dt(vm, {&vm, 1}, *layout, {}, GuestGic::v2, buffer);
    REQUIRE(size.ok());
    const auto view = FdtView::open(std::span<const u8>(buffer, *size));
    REQUIRE(view.ok());
    CHECK(reg_of(*view, "/intc@8000000") == Range<Pa>{Pa{0x800'0000}, 0x1000});
    CHECK(reg_of(*view, "/intc@8000000", 1) == Range<Pa>{Pa{0x801'0000}, 0x2000});
    // Each PPI: number, then the CPUs that have it and its trigger.
    const auto timer = view->property(*view->find("/timer"), "interrupts");
    for (unsigned i = 0; i < 4; ++i) {
        CHECK(timer->cell(3 * i + 2) == 0x704);
    }
    static Platform platform;
    platform = {};
    test::Sentences sentences;
    REQUIRE_MESSAGE(read_platform(*view, Mpidr{0}, platform, sentences.sink).ok(), sentences.text());
    CHECK(platform.gic.kind == GicKind::v2);
    CHECK(platform.timer.el1_virtual == 27);
}

TEST_CASE("guest device tree: a VM's host bridge, as the reader of the host's understands it") {
    VmConfig vm = make_vm(512, 32 * mib);
    REQUIRE(vm.devices.push_back({0, 0, 2, 0}));
    vm.msi = el2::MsiKind::mbi;
    const auto layout = plan_guest(vm);
    alignas(8) static u8 buffer[guest_dtb_bytes];
    const auto size = write_guest_dt(vm, {&vm, 1}, *layout, {}, GuestGic::v3, buffer);
    REQUIRE(size.ok());
    const auto view = FdtView::open(std::span<const u8>(buffer, *size));
    REQUIRE(view.ok());
    static Platform platform;
    platform = {};
    test::Sentences sentences;
    REQUIRE_MESSAGE(read_platform(*view, Mpidr{0}, platform, sentences.sink).ok(), sentences.text());
    CHECK(sentences.all.empty());
    namespace map = el2::guest_map;
    CHECK(platform.pci.ecam == Range<Pa>{Pa{map::pci_config.base.value}, map::pci_config.size});
    CHECK(platform.pci.first_bus == 0);
    CHECK(platform.pci.last_bus == 0);
    CHECK(platform.pci.coherent);
    CHECK(platform.pci.mmio32.cpu.value == map::pci_mem32.base.value);
    CHECK(platform.pci.mmio32.pci == map::pci_mem32.base.value);
    CHECK(platform.pci.mmio32.size == map::pci_mem32.size);
    CHECK(platform.pci.mmio64.cpu.value == map::pci_mem64.base.value);
    CHECK(platform.pci.mmio64.size == map::pci_mem64.size);
    CHECK(platform.pci.intx[3][2] == map::first_spi + map::pci_spi + ((3 + 2) & 3));
    const auto intc = view->find("/intc@8000000");
    CHECK(platform.pci.msi.translate(0x18, view->phandle(*intc)).value_or(0) == 0x18);
    CHECK(view->has(*intc, "msi-controller"));
    const auto mbi = view->property(*intc, "mbi-ranges");
    REQUIRE(mbi.ok());
    CHECK(mbi->cell(0) == map::first_mbi);
    CHECK(mbi->cell(1) == map::mbi_count);
    CHECK(map::first_mbi + map::mbi_count <= map::first_spi + map::spis_with_mbi);
    CHECK(number(*view, "/intc@8000000", "mbi-alias") == map::msi_page.value);
}

TEST_CASE("guest device tree: an ITS that translates the RequesterIDs of the VM's bus") {
    VmConfig vm = make_vm(64, 4096);
    REQUIRE(vm.devices.push_back({0, 0, 2, 0}));
    const auto layout = plan_guest(vm);
    alignas(8) u8 buffer[8192];
    const auto size = write_guest_dt(vm, {&vm, 1}, *layout, {}, GuestGic::v3, buffer);
    REQUIRE(size.ok());
    const auto view = FdtView::open(std::span<const u8>(buffer, *size));
    REQUIRE(view.ok());
    Platform platform;
    test::Sentences sentences;
    REQUIRE_MESSAGE(read_platform(*view, Mpidr{0}, platform, sentences.sink).ok(), sentences.text());
    namespace map = el2::guest_map;
    const auto its = view->find("/intc@8000000/its@8080000");
    REQUIRE(its.ok());
    CHECK(platform.gic.its == Range<Pa>{Pa{map::its.base.value}, map::its.size});
    CHECK(platform.gic.its_phandle == view->phandle(*its));
    CHECK(map::msi_page.value == map::its.base.value + gic::gits::translation_frame);
    CHECK(platform.pci.msi.translate(0x18, platform.gic.its_phandle).value_or(0) == 0x18);
    CHECK(!view->has(*view->find("/intc"), "mbi-ranges"));
    CHECK(!view->has(*view->find("/intc"), "msi-controller"));
}

TEST_CASE("guest device tree: nothing that is not there") {
    VmConfig vm = make_vm(64, 4096);
    vm.msi = el2::MsiKind::mbi;
    const auto layout = plan_guest(vm);
    alignas(8) u8 buffer[8192];
    const auto size = write_guest_dt(vm, {&vm, 1}, *layout, {}, GuestGic::v3, buffer);
    REQUIRE(size.ok());
    const auto view = FdtView::open(std::span<const u8>(buffer, *size));
    REQUIRE(view.ok());
    CHECK(!view->find("/firmware").ok());
    CHECK(!view->find("/pcie").ok());
    CHECK(!view->has(*view->find("/intc"), "mbi-ranges"));
    CHECK(!view->find("/intc/its").ok());
    CHECK(!view->find("/reserved-memory").ok());
    CHECK(!view->find("/memory@100000000").ok());
    CHECK(!view->has(*view->find("/chosen"), "kaslr-seed"));
    CHECK(!view->has(*view->find("/chosen"), "rng-seed"));
    CHECK(!view->has(*view->find("/chosen"), "linux,initrd-start"));
    for (std::size_t room = 0; room < *size; room += 8) {
        CHECK(write_guest_dt(vm, {&vm, 1}, *layout, {}, GuestGic::v3, std::span<u8>(buffer, room)).error() ==
              Error::no_memory);
    }
}

TEST_CASE("guest device tree: the fullest one fits its place") {
    static StaticVector<VmConfig, max_vms> all;
    for (u16 i = 1; i <= max_vms; ++i) {
        VmConfig vm = make_vm(4096, 32 * mib, 0, 5000);
        vm.id = VmId{i};
        vm.name.assign("fifteen-letters");
        vm.vcpus = max_vcpus_per_vm;
        vm.window_bytes = el2::guest_map::window_max;
        vm.bootargs.assign(std::string(max_bootargs, 'x'));
        vm.share_with = 0x1fffe & ~el2::vm_bit(vm.id);
        vm.devices.push_back({});
        all.push_back(vm);
    }
    const auto layout = plan_guest(all[15]);
    GuestEntropy entropy{1, {}};
    entropy.rng_seed.fill(1);
    alignas(8) static u8 buffer[guest_dtb_bytes];
    const auto size = write_guest_dt(all[15], all.span(), *layout, entropy, GuestGic::v3, buffer);
    REQUIRE(size.ok());
    CHECK(*size < guest_dtb_bytes / 4);
}
