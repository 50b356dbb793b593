// SPDX-License-Identifier: Apache-2.0
// Tests of boot/platform: real machines' trees, odd boards, and malformed ones.
#include <doctest/doctest.h>

#include "boot/platform.hpp"
#include "tests/host/boot/tree.hpp"

using namespace atl;
using namespace atl::boot;
using test::Blob;
using test::Sentences;

namespace {
struct Reading {
    Blob blob;
    Platform platform;
    Sentences sentences;
    Status status;

    explicit Reading(Blob tree, u64 boot_cpu = 0) : blob(std::move(tree)) {
        const auto view = FdtView::open(blob.span());
        REQUIRE(view.ok());
        status = read_platform(*view, Mpidr{boot_cpu}, platform, sentences.sink);
    }
};

Blob gallery(const char* name) {
    return test::compile_file(std::string("tests/host/boot/dts/") + name);
}

const char* const minimal_gic =
    R"(gic: intc@8000000 { compatible = "arm,gic-v3"; phandle = <1>; #interrupt-cells = <3>;
    reg = <0 0x8000000 0 0x10000 0 0x80a0000 0 0xf60000>; };)";

/// A whole tree around `body`, with RAM and GIC unless `body` brings its own.
Blob tree(const std::string& body, bool memory = true, bool gic = true) {
    std::string text = "/ { #address-cells = <2>; #size-cells = <2>; interrupt-parent = <1>; ";
    text +=
        memory ? "memory@40000000 { device_type = \"memory\"; reg = <0 0x40000000 0 0x10000000>; }; " : "";
    text += gic ? minimal_gic : "";
    return test::compile(text + body + " };");
}
} // namespace

TEST_CASE("platform: QEMU virt with GICv3 and SMMUv3") {
    const Reading r(gallery("virt-gicv3-smmu.dts"), 0x8000'0000 & Mpidr::mask);
    REQUIRE_MESSAGE(r.status.ok(), r.sentences.text());
    CHECK(r.sentences.all.empty());
    const Platform& p = r.platform;
    CHECK(p.model.view() == "linux,dummy-virt");
    REQUIRE(p.ram.size() == 1);
    CHECK(p.ram[0] == Range<Pa>{Pa{0x4000'0000}, 16 * gib});
    CHECK(p.ram_bytes() == 16 * gib);
    CHECK(p.cpus.size() == 8);
    CHECK(p.cpus[7].mpidr.value == 7);
    CHECK(p.cpus[7].enable_method == EnableMethod::psci);
    CHECK(p.gic.kind == GicKind::v3);
    CHECK(p.gic.distributor == Range<Pa>{Pa{0x800'0000}, 0x1'0000});
    REQUIRE(p.gic.redistributors.size() == 1);
    CHECK(p.gic.redistributors[0] == Range<Pa>{Pa{0x80a'0000}, 0xf6'0000});
    CHECK(p.gic.its == Range<Pa>{Pa{0x808'0000}, 0x2'0000});
    CHECK(p.gic.maintenance_intid == 25);
    CHECK(p.console.registers == Range<Pa>{Pa{0x900'0000}, 0x1000});
    CHECK(p.console.intid == 33);
    CHECK(p.console.from_stdout_path);
    CHECK(p.rtc == Range<Pa>{Pa{0x901'0000}, 0x1000});
    CHECK(p.smmu.registers == Range<Pa>{Pa{0x905'0000}, 0x2'0000});
    CHECK(p.smmu.event_intid == 106);
    CHECK(p.smmu.priority_intid == 107);
    CHECK(p.smmu.sync_intid == 108);
    CHECK(p.smmu.error_intid == 109);
    CHECK(p.gic.its_phandle == 0x800a);
    CHECK(p.pci.ecam == Range<Pa>{Pa{0x40'1000'0000}, 256 * mib});
    CHECK(p.pci.first_bus == 0);
    CHECK(p.pci.last_bus == 255);
    CHECK(p.pci.coherent);
    CHECK(p.pci.mmio32.cpu == Pa{0x1000'0000});
    CHECK(p.pci.mmio32.pci == 0x1000'0000);
    CHECK(p.pci.mmio32.size == 0x2eff'0000);
    CHECK(p.pci.mmio64.cpu == Pa{0x80'0000'0000});
    CHECK(p.pci.mmio64.size == 0x80'0000'0000);
    CHECK(p.pci.iommu.translate(0x108, p.smmu.phandle).value_or(0) == 0x108);
    CHECK(p.pci.msi.translate(0x108, p.gic.its_phandle).value_or(0) == 0x108);
    CHECK_FALSE(p.pci.iommu.translate(0x108, p.gic.its_phandle).ok());
    for (unsigned device = 0; device < 32; ++device) {
        for (unsigned pin = 0; pin < 4; ++pin) {
            CHECK(p.pci.intx[device][pin] == 35 + ((device + pin) & 3));
        }
    }
    CHECK(p.timer.secure == 29);
    CHECK(p.timer.el1_physical == 30);
    CHECK(p.timer.el1_virtual == 27);
    CHECK(p.timer.el2_physical == 26);
    CHECK(p.timer.el2_virtual == 0);
    CHECK(p.psci == PsciConduit::smc);
    CHECK(p.initrd == Range<Pa>{Pa{0x4800'0000}, 0x4c5});
    CHECK(p.bootargs.view() == "hello world");
    CHECK(p.kaslr_seed != 0);
    CHECK(p.rng_seed_bytes == 32);
}

TEST_CASE("platform: a GICv2 machine") {
    const Reading r(gallery("virt-gicv2.dts"));
    REQUIRE_MESSAGE(r.status.ok(), r.sentences.text());
    CHECK(r.platform.gic.kind == GicKind::v2);
    CHECK(r.platform.gic.cpu_interface.base == Pa{0x801'0000});
    CHECK(r.platform.gic.hypervisor_interface.base == Pa{0x803'0000});
    CHECK(r.platform.gic.vcpu_interface.base == Pa{0x804'0000});
    CHECK(refusal(r.platform.gic) == nullptr);
    CHECK(r.platform.cpus.size() == 2);
    CHECK(r.platform.initrd.empty());
}

TEST_CASE("platform: GICs that cannot be driven are refused with a sentence") {
    const auto why = [](const HostGic& gic) {
        const char* const sentence = refusal(gic);
        return std::string_view(sentence != nullptr ? sentence : "");
    };
    HostGic gic;
    CHECK(why(gic).find("no interrupt controller") != std::string_view::npos);
    gic.kind = GicKind::v2;
    gic.distributor = {Pa{0x800'0000}, 0x1000};
    gic.cpu_interface = {Pa{0x801'0000}, 0x2000};
    CHECK(why(gic).find("no virtualization extensions") != std::string_view::npos);
    gic.hypervisor_interface = {Pa{0x803'0000}, 0x1000};
    CHECK(why(gic).find("no virtualization extensions") != std::string_view::npos);
    gic.vcpu_interface = {Pa{0x804'0000}, 0x1000};
    CHECK(why(gic).find("GICC_DIR is missing") != std::string_view::npos);
    gic.vcpu_interface.size = 0x2000;
    CHECK(why(gic).empty());
    gic.cpu_interface.size = 0x1000;
    CHECK(why(gic).find("GICC_DIR is missing") != std::string_view::npos);
}

TEST_CASE("platform: an odd board") {
    const Reading r(gallery("odd-board.dts"), 0x1'0000'0101);
    REQUIRE_MESSAGE(r.status.ok(), r.sentences.text());
    const Platform& p = r.platform;
    CHECK(p.compatible.view() == "odd,board-2");
    REQUIRE(p.ram.size() == 2);
    CHECK(p.ram[0] == Range<Pa>{Pa{0}, 0x4100'0000}); // two entries joined, whole pages
    CHECK(p.ram[1] == Range<Pa>{Pa{0x100'0000'0000}, 4 * gib});
    REQUIRE(p.reserved.size() == 2);
    CHECK(p.reserved[0] == Range<Pa>{Pa{0x1000'0000}, 0x2000});
    CHECK(p.reserved[1] == Range<Pa>{Pa{0x2000'0000}, 0x1000});
    CHECK(p.is_free_ram({Pa{0x2000'1000}, 0x1000}));
    CHECK(!p.is_free_ram({Pa{0x1fff'f000}, 0x2000}));
    CHECK(!p.is_free_ram({Pa{0x40ff'f000}, 0x2000}));
    REQUIRE(p.cpus.size() == 3);
    CHECK(p.cpus[0].mpidr.value == 0x1'0000'0101); // the booting one first
    CHECK(p.cpus[1].mpidr.value == 0);
    CHECK(p.cpus[1].enable_method == EnableMethod::other);
    CHECK(p.cpus[2].mpidr.value == 0x100);
    CHECK(r.sentences.has("/cpus/cpu@300: reg = <0x0 0x100>: another CPU has this MPIDR"));
    CHECK(r.sentences.has("/cpus/cpu@80000000: reg"));
    CHECK(p.psci == PsciConduit::hvc);
    CHECK(p.timer.el1_virtual == 27);
    CHECK(p.timer.el2_physical == 26);
    CHECK(p.timer.el1_physical == 30);
    CHECK(p.timer.secure == 0);
    CHECK(p.gic.distributor.base == Pa{0xf900'0000});
    REQUIRE(p.gic.redistributors.size() == 2);
    CHECK(p.gic.redistributors[1] == Range<Pa>{Pa{0xf920'0000}, 0x8'0000});
    CHECK(p.gic.redistributor_stride == 0x4'0000);
    CHECK(p.console.registers.base == Pa{0x1'0000'1000});
    CHECK(p.console.intid == 41);
    CHECK(p.rtc.empty());
    CHECK(r.sentences.has("/unreachable/rtc@0: reg"));
    CHECK(p.initrd == Range<Pa>{Pa{0x800'0000}, 0x10'0000});
    CHECK(p.bootargs.view() == "quiet");
}

TEST_CASE(
    "platform: without stdout-path the first PL011 is the console, an interrupt elsewhere is no interrupt") {
    const Reading r(tree(R"(serial@9000000 { compatible = "arm,pl011"; reg = <0 0x9000000 0 0x1000>;
        interrupt-parent = <9>; interrupts = <0 1 4>; };
        serial@9040000 { compatible = "arm,pl011"; reg = <0 0x9040000 0 0x1000>; interrupts = <0 8 4>; };)"));
    REQUIRE(r.status.ok());
    CHECK(r.platform.console.registers.base == Pa{0x900'0000});
    CHECK(r.platform.console.intid == 0);
    CHECK(!r.platform.console.from_stdout_path);
    CHECK(r.platform.psci == PsciConduit::none);
}

TEST_CASE("platform: consoles that cannot be used are told of") {
    const Reading none(tree("chosen { stdout-path = \"serial3\"; };"));
    CHECK(none.status.ok());
    CHECK(none.platform.console.registers.empty());
    CHECK(none.sentences.has("/chosen: stdout-path = \"serial3\": names no node"));
    const Reading loop(tree("aliases { a = \"a\"; }; chosen { stdout-path = \"a\"; };"));
    CHECK(loop.sentences.has("names no node"));
    const Reading other(tree("uart@1000 { compatible = \"ns16550a\"; reg = <0 0x1000 0 0x1000>; };"
                             "chosen { stdout-path = \"/uart@1000\"; };"));
    CHECK(other.sentences.has("/uart@1000: compatible = \"ns16550a\": the console of /chosen is no PL011"));
}

TEST_CASE("platform: more CPUs than Atoll uses") {
    std::string cpus = "cpus { #address-cells = <1>; #size-cells = <0>; ";
    for (unsigned i = 0; i < 12; ++i) {
        const std::string n = std::to_string(i);
        cpus += "cpu@" + n + " { device_type = \"cpu\"; reg = <" + n + ">; enable-method = \"psci\"; }; ";
    }
    const Reading r(tree(cpus + "};"), 11);
    REQUIRE(r.status.ok());
    CHECK(r.platform.cpus.size() == max_pcpus);
    CHECK(r.platform.cpus[0].mpidr.value == 11);
    CHECK(r.platform.cpus_in_tree == 12);
    CHECK(r.sentences.has("note: /cpus: 12 CPUs; Atoll uses the first 8"));
    const Reading absent(tree(""), 3);
    REQUIRE(absent.status.ok());
    REQUIRE(absent.platform.cpus.size() == 1);
    CHECK(absent.platform.cpus[0].mpidr.value == 3);
    CHECK(absent.sentences.has("does not name the CPU that boots (0x3)"));
}

TEST_CASE("platform: malformed trees are refused with a sentence") {
    struct Case {
        const char* body;
        bool memory, gic;
        const char* sentence;
    };
    const Case cases[] = {
        {"", false, true, "describes no RAM"},
        {"", true, false, "no interrupt controller"},
        {"memory@1 { device_type = \"memory\"; reg = <0 1 0>; };", false, true,
         "/memory@1: reg = <0x0 0x1 0x0>: RAM is not"},
        {"memory@1 { device_type = \"memory\"; };", false, true, "/memory@1: reg: RAM is not"},
        {"memory@1 { device_type = \"memory\"; reg = <0xffffffff 0 1 0>; };", false, true,
         "malformed or wraps"},
        {"reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; x { reg = <1 2 3>; }; };", true,
         true, "/reserved-memory/x: reg = <0x1 0x2 0x3>: it is malformed"},
        {"reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges; x { reg = <0xffffffff "
         "0xfffff000 0 0xfff>; }; };",
         true, true, "wraps around"},
        {"chosen { linux,initrd-start = <8>; linux,initrd-end = <4>; };", true, true,
         "/chosen: linux,initrd-end = <4>"},
        {"chosen { linux,initrd-start = \"what\"; linux,initrd-end = <4>; };", true, true,
         "linux,initrd-end"},
        {"chosen { linux,initrd-start = <0x4fffff00>; linux,initrd-end = <0x50000100>; };", true, true,
         "linux,initrd-start = <1342177024>: the initrd (512 bytes) is not in RAM"},
        {"gic { compatible = \"arm,gic-v3\"; reg = <0 0x8000000 0 0x10000>; };", true, false,
         "/gic: reg = <0x0 0x8000000 0x0 0x10000>: a GICv3 needs"},
        {"gic { compatible = \"arm,gic-v3\"; #redistributor-regions = <99>; reg = <0 0 0 0x10000>; };", true,
         false, "#redistributor-regions = <99>"},
        {"gic { compatible = \"arm,gic-v3\"; redistributor-stride = <12>; reg = <0 0x8000000 0 0x10000 0 "
         "0x80a0000 0 "
         "0x20000>; };",
         true, false, "redistributor-stride = <12>"},
    };
    for (const Case& c : cases) {
        CAPTURE(c.body);
        const Reading r(tree(c.body, c.memory, c.gic));
        CHECK(!r.status.ok());
        CHECK_MESSAGE(r.sentences.has(std::string("refusal: ")), r.sentences.text());
        CHECK_MESSAGE(r.sentences.has(c.sentence), r.sentences.text());
    }
}

TEST_CASE("platform: RAM beyond EL2's reach and described twice") {
    const Reading r(
        tree("memory@1 { device_type = \"memory\"; reg = <0x7fff 0x80000000 1 0>, <0x9000 0 1 0>, "
             "<0 0x40000000 0 0x20000000>, <0 0x70000000 0 0x10>; };"));
    REQUIRE(r.status.ok());
    REQUIRE(r.platform.ram.size() == 2);
    CHECK(r.platform.ram[0] == Range<Pa>{Pa{0x4000'0000}, 0x2000'0000});
    CHECK(r.platform.ram[1] == Range<Pa>{Pa{0x7fff'8000'0000}, 0x8000'0000});
    CHECK(r.sentences.has("described twice"));
    std::string many = "memory@2 { device_type = \"memory\"; reg = ";
    for (unsigned i = 0; i < 40; ++i) {
        many += (i == 0 ? "" : ", ") + std::string("<1 ") + std::to_string(i * 0x10000) + " 0 0x1000>";
    }
    const Reading full(tree(many + "; };"));
    CHECK(full.status.ok());
    CHECK(full.platform.ram.size() == 32);
    CHECK(full.sentences.has("more than 32 RAM ranges"));
}

TEST_CASE("platform: PCI host bridges that are odd, and what is refused of them") {
    const auto pci = [](const std::string& properties) {
        return Reading(tree("pcie@10000000 { compatible = \"pci-host-ecam-generic\"; device_type = \"pci\"; "
                            "#address-cells = <3>; #size-cells = <2>; #interrupt-cells = <1>; " +
                            properties + " };"));
    };
    SUBCASE("fewer buses than the range says, maps with holes") {
        const Reading r =
            pci("reg = <0 0x30000000 0 0x400000>; bus-range = <0x10 0xff>; linux,pci-domain = <2>;"
                "ranges = <0x02000000 0 0x80000000 1 0x0 0 0x10000000>;"
                "iommu-map = <0x1000 7 0x40 0x10 0x1100 7 0x80 0x10>; msi-map-mask = <0xf>;"
                "msi-map = <0 9 5 16>;");
        REQUIRE_MESSAGE(r.status.ok(), r.sentences.text());
        const HostPci& p = r.platform.pci;
        CHECK(p.first_bus == 0x10);
        CHECK(p.last_bus == 0x13);
        CHECK(p.segment == 2);
        CHECK(p.mmio32.pci == 0x8000'0000);
        CHECK(p.mmio32.cpu == Pa{0x1'0000'0000});
        CHECK(p.mmio64.size == 0);
        CHECK(p.iommu.translate(0x1005, 7).value_or(0) == 0x45);
        CHECK(p.iommu.translate(0x110f, 7).value_or(0) == 0x8f);
        CHECK_FALSE(p.iommu.translate(0x1010, 7).ok());
        CHECK(p.msi.translate(0x1233, 9).value_or(0) == 8);
        CHECK(p.intx[0][0] == 0);
    }
    for (const char* bad :
         {"", "reg = <0 0x30000000 0 0x1000>;", "reg = <0 0x30000000 0 0x400000>; bus-range = <4 2>;",
          "reg = <0 0x30000000 0 0x400000>; bus-range = <0 0x1000>;"}) {
        const Reading r = pci(bad);
        CHECK(r.status.ok());
        CHECK(r.platform.pci.ecam.empty());
        CHECK_FALSE(r.sentences.all.empty());
    }
    for (const char* bad : {"ranges = <1 2 3>;", "ranges = <0x02000000 0 0x1000 0 0x10000001 0 0x1000>;",
                            "ranges = <0x03000000 0xffffffff 0xfffff000 0 0x10000000 0 0x2000>;",
                            "ranges = <0x03000000 0 0 0xffffffff 0xfffff000 0 0x2000>;"}) {
        const Reading r = pci(std::string("reg = <0 0x30000000 0 0x400000>; ") + bad);
        CHECK(r.status.ok());
        CHECK_FALSE(r.platform.pci.ecam.empty());
        CHECK(r.platform.pci.mmio32.size == 0);
        CHECK(r.platform.pci.mmio64.size == 0);
        CHECK_FALSE(r.sentences.all.empty());
    }
}
