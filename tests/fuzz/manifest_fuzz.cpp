// SPDX-License-Identifier: Apache-2.0
// Fuzzes everything that reads a device tree that others wrote: manifest, host platform, and the guest's tree
// and placement that follow from a manifest. With clang -fsanitize=fuzzer,address as a libFuzzer target; with
// -DATOLL_FUZZ_STANDALONE as a program that mutates good trees by a generator of fixed seed: `manifest_fuzz
// [runs]`. No lock. The properties checked: no fault under the sanitizers, no hang, and results within their
// documented limits.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "boot/guest_dt.hpp"
#include "boot/manifest.hpp"
#include "boot/platform.hpp"

using namespace atl;
using namespace atl::boot;

namespace {

void require(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "manifest_fuzz: broken promise: %s\n", what);
        std::abort();
    }
}

void check_sentence(void*, Severity, std::string_view sentence) {
    require(sentence.size() <= max_sentence, "sentence too long");
    for (const char c : sentence) {
        require(c >= 0x20 && c <= 0x7e, "unprintable sentence");
    }
}

void check_vm(const Manifest& manifest, const el2::VmConfig& vm, std::span<const u8> bundle) {
    const auto inside = [&](std::span<const u8> part) {
        return part.empty() ||
               (part.data() >= bundle.data() && part.data() + part.size() <= bundle.data() + bundle.size());
    };
    require(vm.vcpus >= 1 && vm.vcpus <= max_vcpus_per_vm, "vcpus");
    require(vm.id.value >= 1 && vm.id.value <= max_vms, "id");
    require(inside(vm.kernel.bytes) && inside(vm.ramdisk), "image outside the bundle");
    require((vm.share_with & el2::vm_bit(vm.id)) == 0, "shares with itself");
    for (const el2::VmConfig& other : manifest.vms) {
        const bool there = (vm.share_with & el2::vm_bit(other.id)) != 0;
        const bool back = (other.share_with & el2::vm_bit(vm.id)) != 0;
        require(there == back, "one-sided share");
    }
    const auto layout = plan_guest(vm);
    require(layout.ok(), "accepted but not placeable");
    alignas(8) static u8 tree[guest_dtb_bytes];
    const auto size = write_guest_dt(vm, manifest.vms.span(), *layout, {}, GuestGic::v3, tree);
    require(size.ok(), "guest tree too large");
    require(FdtView::open(std::span<const u8>(tree, *size)).ok(), "guest tree damaged");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    u8* const copy =
        static_cast<u8*>(std::malloc(size == 0 ? 1 : size)); // aligned, exact: sanitizers see overruns
    if (size != 0) {
        std::memcpy(copy, data, size);
    }
    const std::span<const u8> bytes(copy, size);
    static Manifest manifest;
    Diagnostics diagnostics(nullptr, check_sentence);
    const Status read = read_manifest(bytes, ManifestLimits{8 * gib}, manifest, diagnostics);
    require(read.ok() == !manifest.vms.empty(), "status and VMs disagree");
    require(manifest.start_order.size() == manifest.vms.size(), "start order incomplete");
    u64 total = 0;
    for (const el2::VmConfig& vm : manifest.vms) {
        check_vm(manifest, vm, bytes);
        total += vm.ram_bytes;
    }
    require(total <= 8 * gib, "more RAM than the host has");
    const auto tree = FdtView::open(bytes);
    if (tree.ok()) {
        static Platform platform;
        platform = {};
        const Status status = read_platform(*tree, Mpidr{0}, platform, diagnostics);
        require(!status.ok() || (!platform.ram.empty() && !platform.cpus.empty()),
                "platform without RAM or CPU");
        for (std::size_t i = 1; i < platform.ram.size(); ++i) {
            require(platform.ram[i - 1].end() < platform.ram[i].base, "RAM not sorted and disjoint");
        }
    }
    std::free(copy);
    return 0;
}

#ifdef ATOLL_FUZZ_STANDALONE
#include "boot/fdt.hpp"

namespace {

u64 state = 0x9e37'79b9'7f4a'7c15;
u64 random_number() { // xorshift64
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

void write_vm(FdtWriter& fdt, const char* name, const char* peer, u32 cpus) {
    fdt.begin_node(name);
    fdt.property_cells("cpus", {cpus});
    fdt.property_cells("memory-mib", {64});
    fdt.property_string("kernel", cpus == 1 ? "raw" : "linux");
    fdt.property_string("ramdisk", "rootfs");
    fdt.property_string("bootargs", "console=ttyAMA0");
    fdt.property_strings("share-with", {peer});
    fdt.property_cells("share-window-mib", {32});
    fdt.property_strings("devices", {"0000:00:02.0", "0000:00:03.0"});
    fdt.property_string("start", "auto");
    if (cpus == 1) {
        fdt.property_string("start-after", peer);
    }
    fdt.end_node();
}

std::vector<u8> good_manifest() {
    alignas(8) static u8 out[16384];
    u8 image[128] = {};
    std::memcpy(image + 56, "ARM\x64", 4);
    image[17] = 0x40;
    FdtWriter fdt(out);
    fdt.begin_node("");
    fdt.begin_node("images");
    fdt.begin_node("linux");
    fdt.property_string("type", "kernel");
    fdt.property("data", image);
    fdt.end_node();
    fdt.begin_node("raw");
    fdt.property_string("type", "raw");
    fdt.property_cells("load-offset", {0x1000});
    fdt.property_cells("entry-offset", {0x1004});
    fdt.property_cells("dtb-offset", {0x20000});
    fdt.property("data", image);
    fdt.end_node();
    fdt.begin_node("rootfs");
    fdt.property_string("type", "ramdisk");
    fdt.property("data", image);
    fdt.end_node();
    fdt.end_node();
    fdt.begin_node("vms");
    write_vm(fdt, "alpha", "beta", 2);
    write_vm(fdt, "beta", "alpha", 1);
    fdt.end_node();
    fdt.end_node();
    return {out, out + fdt.finish().value_or(0)};
}

/// A guest's tree is a host's tree too.
std::vector<u8> good_platform() {
    alignas(8) static u8 out[guest_dtb_bytes];
    el2::VmConfig vm;
    vm.id = VmId{1};
    vm.vcpus = 8;
    vm.ram_bytes = 3 * gib;
    vm.window_bytes = 256 * mib;
    GuestLayout layout;
    layout.ramdisk = {Ipa{0x4800'0000}, 0x1000};
    return {out, out + write_guest_dt(vm, {&vm, 1}, layout, {}, GuestGic::v2, out).value_or(0)};
}

void mutate(std::vector<u8>& bytes) {
    const u64 changes = 1 + random_number() % 4;
    for (u64 i = 0; i < changes && !bytes.empty(); ++i) {
        const std::size_t at = random_number() % bytes.size();
        switch (random_number() % 6) {
        case 0:
            bytes[at] = static_cast<u8>(random_number());
            break;
        case 1:
            bytes[at] = static_cast<u8>(bytes[at] ^ 1U << random_number() % 8);
            break;
        case 2: // a word becomes an interesting one
            for (std::size_t k = 0; k < 4 && (at & ~std::size_t{3}) + k < bytes.size(); ++k) {
                bytes[(at & ~std::size_t{3}) + k] = random_number() % 2 == 0 ? 0xff : 0;
            }
            break;
        case 3: // a piece is copied over another
            for (std::size_t k = 0, from = random_number() % bytes.size(); k < 24; ++k) {
                bytes[(at + k) % bytes.size()] = bytes[(from + k) % bytes.size()];
            }
            break;
        case 4:
            bytes[at] = static_cast<u8>(bytes[at] + 1);
            break;
        default:
            if (random_number() % 16 == 0) {
                bytes.resize(at);
            }
            break;
        }
    }
}

} // namespace

int main(int argc, char** argv) {
    const long runs = argc > 1 ? std::atol(argv[1]) : 20000;
    const std::vector<u8> seeds[] = {good_manifest(), good_platform()};
    long accepted = 0;
    for (long i = 0; i < runs; ++i) {
        std::vector<u8> bytes = seeds[i % 2];
        if (i >= 2) { // the first two as they are
            mutate(bytes);
        }
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
        accepted += FdtView::total_size(bytes).ok() ? 1 : 0;
    }
    std::printf("manifest_fuzz: %ld runs, %ld with a valid magic, no broken promise\n", runs, accepted);
    return 0;
}
#endif
