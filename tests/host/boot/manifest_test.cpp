// SPDX-License-Identifier: Apache-2.0
// Tests of boot/manifest: good manifests become VMs, each mistake becomes one sentence and harms no other VM.
#include <doctest/doctest.h>

#include "tests/host/boot/manifest_reading.hpp"

using namespace atl;
using namespace atl::boot;
using namespace atl::test;

namespace {

/// One mistake in alpha; beta is good.
struct Mistake {
    const char* vm;       // alpha's properties
    const char* sentence; // part of the refusal
};

} // namespace

TEST_CASE("manifest: a full one") {
    const Reading r(bundle(R"(
        alpha { cpus = <2>; memory-mib = <256>; kernel = "linux"; ramdisk = "rootfs"; bootargs = "console=ttyAMA0";
                share-with = "beta", "raw1"; start-after = "beta"; devices = "0000:00:02.0", "0000:01:1f.7"; };
        beta { memory-mib = <64>; kernel = "linux"; share-with = "alpha"; share-window-mib = <64>; console-focus;
               on-crash = "restart"; msi = "mbi"; lpis = "software"; interrupts = "vi"; };
        raw1 { memory-mib = <2>; kernel = "payload"; start = "manual"; };)"));
    REQUIRE_MESSAGE(r.status.ok(), r.sentences.text());
    REQUIRE(r.manifest.vms.size() == 3);
    CHECK(r.manifest.refused == 0);
    const el2::VmConfig& alpha = r.manifest.vms[0];
    CHECK(alpha.id == VmId{1});
    CHECK(alpha.name.view() == "alpha");
    CHECK(alpha.vcpus == 2);
    CHECK(alpha.ram_bytes == 256 * mib);
    CHECK(alpha.window_bytes == 256 * mib);
    CHECK(alpha.bootargs.view() == "console=ttyAMA0");
    CHECK(alpha.kernel.kind == el2::ImageKind::linux_image);
    CHECK(alpha.kernel.bytes.size() == 4096);
    CHECK(alpha.kernel.memory_bytes == 0x10000);
    CHECK(alpha.ramdisk.size() == 5);
    CHECK(alpha.share_with == el2::vm_bit(VmId{2})); // raw1 does not list alpha
    CHECK(r.sentences.has(
        "warning: /vms/alpha: share-with = \"beta\", ...: not with raw1: it does not list alpha"));
    REQUIRE(alpha.devices.size() == 2);
    CHECK(alpha.devices[1] == el2::PciAddress{0, 1, 0x1f, 7});
    CHECK(alpha.autostart);
    CHECK(!alpha.focus);
    const el2::VmConfig& beta = r.manifest.vms[1];
    CHECK(beta.vcpus == 1);
    CHECK(beta.window_bytes == 64 * mib);
    CHECK(beta.focus);
    CHECK(beta.on_crash == el2::CrashPolicy::restart);
    CHECK(alpha.msi == el2::MsiKind::its);
    CHECK(beta.msi == el2::MsiKind::mbi);
    CHECK(alpha.interrupts == el2::InterruptMode::virtual_interface);
    CHECK(beta.interrupts == el2::InterruptMode::vi);
    CHECK(alpha.lpis == el2::LpiKind::automatic);
    CHECK(beta.lpis == el2::LpiKind::software);
    CHECK(beta.share_with == el2::vm_bit(VmId{1}));
    const el2::VmConfig& raw = r.manifest.vms[2];
    CHECK(raw.kernel.kind == el2::ImageKind::raw);
    CHECK(raw.kernel.load_offset == 0x1000);
    CHECK(raw.kernel.entry_offset == 0x1004);
    CHECK(raw.kernel.dtb == el2::KernelImage::Dtb::none);
    CHECK(!raw.autostart);
    CHECK(raw.window_bytes == 0);
    REQUIRE(r.manifest.start_order.size() == 3);
    CHECK(r.manifest.start_order[0] == 1); // beta, then whoever is left in order
    CHECK(r.manifest.start_order[1] == 2);
    CHECK(r.manifest.start_order[2] == 0);
}

TEST_CASE("manifest: each mistake refuses its VM with its sentence, and the other VM starts") {
    const Mistake mistakes[] = {
        {"memory-mib = <16>; kernel = \"linux\"; cpus = <0>;",
         "/vms/alpha: cpus = <0>: a VM has 1 to 8 vCPUs"},
        {"memory-mib = <16>; kernel = \"linux\"; cpus = <1000>;",
         "/vms/alpha: cpus = <1000>: a VM has 1 to 8 vCPUs"},
        {"memory-mib = <16>; kernel = \"linux\"; cpus = \"two\";", "cpus = \"two\": a VM has 1 to 8"},
        {"memory-mib = <16>; kernel = \"linux\"; cpus;", "cpus = (0 bytes): one number"},
        {"memory-mib = <16>; kernel = \"linux\"; cpus = <1 2 3>;", "cpus = <0x1 0x2 0x3>: one number"},
        {"kernel = \"linux\";", "/vms/alpha: memory-mib: it is missing"},
        {"memory-mib = <0>; kernel = \"linux\";", "memory-mib = <0>: a VM has 1 to 262144 MiB"},
        {"memory-mib = <4000000000>; kernel = \"linux\";", "memory-mib = <4000000000>: a VM has 1 to"},
        {"memory-mib = <2000>; kernel = \"linux\";",
         "memory-mib = <2000>: the host has 1024 MiB left for this VM, which needs 2005 MiB"},
        {"memory-mib = <1>; kernel = \"big\";",
         "memory-mib = <1>: too little: kernel (64 MiB at offset 0x0), ramdisk (0 MiB)"},
        {"memory-mib = <16>;", "/vms/alpha: kernel: it is missing"},
        {"memory-mib = <16>; kernel = \"nosuch\";", "kernel = \"nosuch\": there is no /images/nosuch"},
        {"memory-mib = <16>; kernel = <7>;", "kernel = <7>: the name of one image"},
        {"memory-mib = <16>; kernel = \"\";", "kernel = (1 bytes): the name of one image"},
        {"memory-mib = <16>; kernel = \"linux\", \"linux\";",
         "kernel = \"linux\", ...: the name of one image"},
        {"memory-mib = <16>; kernel = \"rootfs\";", "kernel = \"rootfs\": this image is a ramdisk"},
        {"memory-mib = <16>; kernel = \"nomagic\";", "...\": no usable kernel: no arm64 Image magic"},
        {"memory-mib = <16>; kernel = \"nomagic\";",
         "/vms/alpha: not started: data of /images/nomagic: no usable"},
        {"memory-mib = <16>; kernel = \"packed\";", "compressed with gzip; `make bundle`"},
        {"memory-mib = <16>; kernel = \"cut\";", "no usable kernel: it is truncated"},
        {"memory-mib = <16>; kernel = \"empty\";", "/images/empty: data = (0 bytes): it is empty"},
        {"memory-mib = <16>; kernel = \"nodata\";", "/images/nodata: data: it is missing"},
        {"memory-mib = <16>; kernel = \"notype\";", "/images/notype: type: it is missing"},
        {"memory-mib = <16>; kernel = \"oddtype\";", "/images/oddtype: type = \"elf\": it is \"kernel\""},
        {"memory-mib = <16>; kernel = \"far\";",
         "/images/far: load-offset = <0x1 0x0>: one number below 2 GiB"},
        {"memory-mib = <16>; kernel = \"outside\";", "memory-mib = <16>: too little"},
        {"memory-mib = <16>; kernel = \"badentry\";",
         "kernel = \"badentry\": its offsets do not work: entry 0x9000"},
        {"memory-mib = <16>; kernel = \"baddtb\";", "at dtb-offset 0x4, a multiple of 8"},
        {"memory-mib = <16>; kernel = \"linux\"; ramdisk = \"none\";",
         "ramdisk = \"none\": there is no /images/none"},
        {"memory-mib = <16>; kernel = \"linux\"; ramdisk = \"linux\";", "this image is of type \"kernel\""},
        {"memory-mib = <16>; kernel = \"linux\"; bootargs = <1>;", "bootargs = <1>: one string"},
        {"memory-mib = <16>; kernel = \"linux\"; bootargs = \"a\\tb\";", "printable characters only"},
        {"memory-mib = <16>; kernel = \"linux\"; share-with = \"gamma\";",
         "share-with = \"gamma\": there is no VM \"gamma\""},
        {"memory-mib = <16>; kernel = \"linux\"; share-with = \"alpha\";", "a VM cannot share with itself"},
        {"memory-mib = <16>; kernel = \"linux\"; share-with = <1>;", "share-with = <1>: a list of VM names"},
        {"memory-mib = <16>; kernel = \"linux\"; share-with = [61 62];",
         "share-with = (2 bytes): a list of VM names"},
        {"memory-mib = <16>; kernel = \"linux\"; share-window-mib = <3>;",
         "share-window-mib = <3>: a share window is a multiple"},
        {"memory-mib = <16>; kernel = \"linux\"; share-window-mib = <2000>;",
         "share-window-mib = <2000>: a share window has"},
        {"memory-mib = <16>; kernel = \"linux\"; start-after = \"gamma\";",
         "start-after = \"gamma\": there is no VM"},
        {"memory-mib = <16>; kernel = \"linux\"; start-after = \"alpha\";", "a VM cannot wait for itself"},
        {"memory-mib = <16>; kernel = \"linux\"; start-after = <1 2>;", "the name of one VM"},
        {"memory-mib = <16>; kernel = \"linux\"; start = \"later\";",
         "start = \"later\": it is either \"manual\" or \"auto\""},
        {"memory-mib = <16>; kernel = \"linux\"; on-crash = <1>;",
         "on-crash = <1>: it is either \"stop\" or \"restart\""},
        {"memory-mib = <16>; kernel = \"linux\"; lpis = \"fast\";",
         "lpis = \"fast\": it is either \"software\" or \"direct\""},
        {"memory-mib = <16>; kernel = \"linux\"; msi = \"v2m\";",
         "msi = \"v2m\": it is either \"mbi\" or \"its\""},
        {"memory-mib = <16>; kernel = \"linux\"; interrupts = \"v\";",
         "interrupts = \"v\": it is either \"virtual-interface\" or \"vi\""},
        {"memory-mib = <16>; kernel = \"linux\"; console-focus = <1>;",
         "console-focus = <1>: it takes no value"},
        {"memory-mib = <16>; kernel = \"linux\"; devices = \"00:02.0\";", "\"00:02.0\" is no PCI address"},
        {"memory-mib = <16>; kernel = \"linux\"; devices = <1>;", "devices = <1>: a list of strings"},
        {"memory-mib = <16>; kernel = \"linux\"; devices = [31];", "a list of strings such as"},
        {"memory-mib = <16>; kernel = \"linux\"; devices = \"0000:00:02.0\", \"0000:00:02.0\";",
         "is listed twice"},
        {"memory-mib = <16>; kernel = \"twin\";", "kernel = \"twin\": there is no /images/twin"},
    };
    test::scratch_file("big", test::make_image({0, 64 * mib, 0xa, 4096, 0}));
    test::scratch_file("cut", test::make_image({0, 0x10000, 0xa, 600, 601}));
    const std::string gallery = std::string(images).substr(0, std::string(images).size() - 2) + R"(
        big { type = "kernel"; data = /incbin/("big"); };
        cut { type = "kernel"; data = /incbin/("cut"); };
        nomagic { type = "kernel"; data = "0123456789012345678901234567890123456789012345678901234567890123456789012345678"; };
        packed { type = "kernel"; data = [1f 8b 08 00]; };
        empty { type = "kernel"; data; };
        nodata { type = "kernel"; };
        notype { data = [01]; };
        oddtype { type = "elf"; data = [01]; };
        far { type = "raw"; data = [00 00 00 00]; load-offset = <1 0>; };
        outside { type = "raw"; data = [00 00 00 00]; load-offset = <0x1000000>; };
        badentry { type = "raw"; data = [00 00 00 00]; entry-offset = <0x9000>; };
        baddtb { type = "raw"; data = [00 00 00 00]; dtb-offset = <4>; };
    };)";
    for (const Mistake& mistake : mistakes) {
        CAPTURE(mistake.vm);
        const Reading r(bundle(std::string("alpha { ") + mistake.vm + " }; beta { " + good + " };", gallery),
                        1024);
        CHECK_MESSAGE(r.status.ok(), r.sentences.text());
        CHECK(r.manifest.refused == 1);
        CHECK(r.vm("alpha") == nullptr);
        REQUIRE(r.vm("beta") != nullptr);
        CHECK(r.vm("beta")->id == VmId{2});
        CHECK_MESSAGE(r.sentences.has(mistake.sentence), r.sentences.text());
        CHECK(r.sentences.has("refusal: "));
    }
}

TEST_CASE("manifest: names") {
    const std::string body = " { " + good + " }; ";
    for (const char* name : {"1st", "a@1", "a.b", "a,b", "-a", "sixteen-letters-", "Atoll"}) {
        CAPTURE(name);
        const Reading r(bundle(name + body + "beta" + body));
        CHECK(r.manifest.vms.size() == 1);
        CHECK(r.sentences.has(std::string("refusal: /vms/") + name + ": "));
    }
    const Reading same(bundle("alpha" + body + "ALPHA" + body + "beta" + body));
    CHECK(same.manifest.vms.size() == 2);
    CHECK(same.sentences.has("/vms/ALPHA: another VM has this name"));
    CHECK(same.manifest.vms[1].id == VmId{3});
    Blob twice =
        bundle("alpha" + body + "beta0" + body); // dtc merges equal names: make them equal afterwards
    char* const at = static_cast<char*>(memmem(twice.data(), twice.size(), "beta0", 5));
    REQUIRE(at != nullptr);
    std::memcpy(at, "alpha", 5);
    const Reading equal(std::move(twice));
    CHECK(equal.manifest.vms.size() == 1);
    CHECK(equal.sentences.has("another VM has this name"));
}

TEST_CASE("manifest: properties, images and nodes that are there twice") {
    Blob property =
        bundle("alpha { " + good + " on-crash = \"stop\"; on-crasx = \"stop\"; }; beta { " + good + " };");
    char* at = static_cast<char*>(memmem(property.data(), property.size(), "on-crasx", 8));
    REQUIRE(at != nullptr);
    std::memcpy(at, "on-crash", 8);
    const Reading p(std::move(property));
    CHECK(p.sentences.has("on-crash = \"stop\": this property is there twice"));
    CHECK(p.manifest.vms.size() == 1);
    Blob image = bundle("alpha { " + good + " }; beta { memory-mib = <16>; kernel = \"payload\"; };",
                        std::string(images).substr(0, std::string(images).size() - 2) + "linuy { }; };");
    at = static_cast<char*>(memmem(image.data(), image.size(), "linuy", 5));
    REQUIRE(at != nullptr);
    at[4] = 'x';
    const Reading i(std::move(image));
    CHECK(i.manifest.vms.size() == 1);
    CHECK_MESSAGE(i.sentences.has("/vms/alpha: kernel = \"linux\": there are 2 images of this name"),
                  i.sentences.text());
}

TEST_CASE("manifest: limits and unknown things") {
    std::string vms;
    for (unsigned i = 1; i <= 18; ++i) {
        vms += "vm" + std::to_string(i) + " { " + good + " }; ";
    }
    const Reading many(bundle(vms));
    CHECK(many.manifest.vms.size() == max_vms);
    CHECK(many.manifest.refused == 2);
    CHECK(many.sentences.has("/vms/vm17: more than 16 VMs"));
    const Reading longest(bundle("a { " + good + " bootargs = \"" + std::string(1024, 'x') + "\"; }; b { " +
                                 good + " bootargs = \"" + std::string(1023, 'x') + "\"; };"));
    CHECK(longest.sentences.has("xxx...\": 1024 characters; at most 1023 fit"));
    CHECK(longest.vm("b")->bootargs.view().size() == 1023);
    const Reading typo(
        bundle("a { " + good + " memory_mib = <3>; sub { }; };", std::string("extra { }; ") + images));
    CHECK(typo.status.ok());
    CHECK(typo.sentences.has("warning: /vms/a: memory_mib = <3>: unknown property, ignored"));
    CHECK(typo.sentences.has("warning: /vms/a/sub: a VM has no nodes inside"));
    CHECK(typo.sentences.has("warning: /extra: unknown node"));
    std::string devices = "a { " + good + " devices = \"0000:00:00.0\"";
    for (unsigned i = 1; i < 9; ++i) {
        devices += ", \"0000:00:0" + std::to_string(i) + ".0\"";
    }
    CHECK(Reading(bundle(devices + "; };")).sentences.has("at most 8 devices"));
    std::string flood = "a { " + good;
    for (unsigned i = 0; i < 300; ++i) {
        flood += " typo" + std::to_string(i) + ";";
    }
    const Reading flooded(bundle(flood + " };"));
    CHECK(flooded.sentences.all.size() == Diagnostics::limit + 1);
    CHECK(flooded.sentences.has("more messages"));
    CHECK(flooded.manifest.vms.size() == 1);
}

TEST_CASE("manifest: what is no bundle") {
    struct Case {
        std::string bytes;
        const char* sentence;
    };
    const Blob whole = bundle("a { " + good + " };");
    const std::string bytes(reinterpret_cast<const char*>(whole.span().data()), whole.size());
    const Case cases[] = {
        {"", "none was handed over"},
        {"070701" + std::string(100, '0'), "this is an initramfs"},
        {"\x1f\x8b" + std::string(100, '0'), "this is an initramfs"},
        {std::string(100, 'x'), "first bytes are not d00dfeed"},
        {bytes.substr(0, bytes.size() / 2), "truncated: it names"},
        {bytes.substr(0, 39), "first bytes"},
    };
    for (const Case& c : cases) {
        const Reading r((Blob(c.bytes)));
        CHECK(!r.status.ok());
        CHECK(r.manifest.vms.empty());
        CHECK_MESSAGE(r.sentences.has(c.sentence), r.sentences.text());
    }
    CHECK(Reading(test::compile("/ { };")).sentences.has("no /vms node"));
    CHECK(Reading(test::compile("/ { vms { }; };")).sentences.has("/vms: it has no VM"));
    CHECK(Reading(test::compile("/ { vms { a { memory-mib = <4>; kernel = \"k\"; }; }; };"))
              .sentences.has("no /images/k"));
    Blob two = test::compile("/ { vms { }; vmx { }; };");
    static_cast<char*>(memmem(two.data(), two.size(), "vmx", 3))[2] = 's';
    CHECK(Reading(std::move(two)).sentences.has("there are two nodes of this name"));
    Blob damaged = bundle("a { " + good + " };");
    damaged.data()[56 + 3] = 0x55; // the first tag of the structure block
    CHECK(Reading(std::move(damaged)).sentences.has("its structure is damaged"));
}

TEST_CASE("manifest: every damaged byte gives an answer") {
    const Blob whole = bundle(
        "a { " + good + " ramdisk = \"rootfs\"; share-with = \"b\"; start-after = \"b\"; }; b { " + good +
            " share-with = \"a\"; devices = \"0000:00:01.0\"; };",
        "images { linux { type = \"raw\"; data = [00 00 00 00]; }; rootfs { type = \"ramdisk\"; data = "
        "[01 02]; }; };");
    for (std::size_t at = 0; at < whole.size(); ++at) {
        for (const u8 flip : {0x01, 0x20, 0xff}) {
            Blob damaged(whole);
            damaged.data()[at] = static_cast<u8>(damaged.data()[at] ^ flip);
            const Reading r(std::move(damaged));
            CHECK(r.status.ok() == !r.manifest.vms.empty());
            CHECK(r.manifest.start_order.size() == r.manifest.vms.size());
            for (const el2::VmConfig& vm : r.manifest.vms) {
                CHECK((vm.vcpus >= 1 && vm.vcpus <= max_vcpus_per_vm));
            }
        }
    }
}

TEST_CASE("manifest: PCI addresses") {
    CHECK(*parse_pci_address("00Af:fe:1f.7") == el2::PciAddress{0xaf, 0xfe, 0x1f, 7});
    CHECK(*parse_pci_address("0000:00:05.0/vf0") == el2::PciAddress{0, 0, 5, 0, 0});
    CHECK(*parse_pci_address("0000:00:05.0/vf15") == el2::PciAddress{0, 0, 5, 0, 15});
    CHECK_FALSE(*parse_pci_address("0000:00:05.0/vf1") == *parse_pci_address("0000:00:05.0"));
    for (const char* bad :
         {"0000:00:05.0/", "0000:00:05.0/vf", "0000:00:05.0/v1", "0000:00:05.0/vf100", "0000:00:05.0/vf01",
          "0000:00:05.0/vf1x", "0000:00:05.0/vf-1", "0000:00:05.0 vf1", "0000:00:05.0/VF1", "/vf1"}) {
        CAPTURE(bad);
        CHECK(!parse_pci_address(bad).ok());
    }
    for (const char* bad : {"", "0000:00:20.0", "0000:00:00.8", "0000:00:00", "0000:00:00.", "0000:00:00.0x",
                            "000:00:00.0", "0000.00:00.0", "000g:00:00.0", "0000:00:0"}) {
        CHECK(!parse_pci_address(bad).ok());
    }
}

TEST_CASE("manifest: the example of docs/manifest.md is accepted without a word that it does not explain") {
    const std::string page = test::read_file("docs/manifest.md");
    const std::size_t first = page.find("```dts\n");
    REQUIRE(first != std::string::npos);
    std::string example = page.substr(first + 7, page.find("```\n", first + 7) - first - 7);
    const auto replace = [&](const std::string& from, const std::string& to) {
        const std::size_t at = example.find(from);
        REQUIRE_MESSAGE(at != std::string::npos, from);
        example.replace(at, from.size(), to);
    };
    replace("/dts-v1/;", "");
    replace("kernels/default/Image", "Image");
    replace("initramfs-default.cpio.gz", "Image");
    replace("blinky.bin", "Image");
    test::scratch_file("Image", test::make_image());
    const Reading r(test::compile(example));
    REQUIRE_MESSAGE(r.status.ok(), r.sentences.text());
    CHECK_MESSAGE(r.sentences.all.empty(), r.sentences.text());
    REQUIRE(r.manifest.vms.size() == 3);
    CHECK(r.manifest.vms[0].share_with == el2::vm_bit(VmId{2}));
    CHECK(r.manifest.vms[0].focus);
    CHECK(r.manifest.vms[1].on_crash == el2::CrashPolicy::restart);
    CHECK(r.manifest.vms[2].kernel.entry_offset == 0x10040);
}
