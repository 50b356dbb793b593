// SPDX-License-Identifier: Apache-2.0
// Host versions of what el2/cpu_hw.cpp and el2/uart_hw.cpp do: see fake_el2_hw.hpp.
#include "tests/support/fake_el2_hw.hpp"

#include <sys/mman.h>

#include <cstring>

#include "el2/uart_hw.hpp"
#include "el2/world.hpp"
#include "lib/arch/el2_regs.hpp"
#include "lib/panic.hpp"
#include "tests/support/gic_fake_lr.hpp"

namespace atl::test {

FakeEl2Hw& fake_el2() {
    static FakeEl2Hw hardware;
    return hardware;
}

bool FakeEl2Hw::logged(std::string_view text) const {
    for (const std::string& line : log) {
        if (line.find(text) != std::string::npos) {
            return true;
        }
    }
    return false;
}

Arena::Arena(Pa base, u64 bytes) : base_(base), bytes_(bytes) {
    void* const memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ATOLL_CHECK(memory != MAP_FAILED);
    memory_ = static_cast<u8*>(memory);
}
Arena::~Arena() {
    if (memory_ != nullptr) {
        munmap(memory_, bytes_);
    }
}
Arena::Arena(Arena&& other) noexcept {
    *this = std::move(other);
}
Arena& Arena::operator=(Arena&& other) noexcept {
    std::swap(base_, other.base_);
    std::swap(bytes_, other.bytes_);
    std::swap(memory_, other.memory_);
    return *this;
}
u8* Arena::at(Pa pa, u64 bytes) const {
    if (!range().contains(pa, bytes)) {
        panic("an access to what is not RAM", "direct map", 0);
    }
    return memory_ + (pa - base_);
}
Pa Arena::pa_of(const void* pointer) const {
    const auto offset = static_cast<u64>(static_cast<const u8*>(pointer) - memory_);
    ATOLL_CHECK(offset < bytes_);
    return base_ + offset;
}

} // namespace atl::test

namespace atl::el2 {

using test::fake_el2;

namespace hw {

u64 counter() {
    if (fake_el2().counter_is_read) {
        fake_el2().counter_is_read();
    }
    return fake_el2().counter;
}
u64 counter_frequency() {
    return 1'000'000;
}
void set_timer(u64 deadline) {
    fake_el2().here().timer = deadline;
    ++fake_el2().here().timer_writes;
}
bool timer_is_held(const PerCpu&) {
    return fake_el2().here().timer_is_held;
}
void send_kick(PcpuIndex target) {
    test::FakeEl2Hw& h = fake_el2();
    if (h.world == nullptr || h.world->pcpus[target.value] == nullptr) {
        return;
    }
    if (target == h.current) {
        h.world->pcpus[target.value]->work_pending |= work::retarget;
        return;
    }
    h.cpu[target.value].kicked = true;
    ++h.cpu[target.value].kicks;
}
void interrupt(PerCpu& target) {
    if (target.index != fake_el2().current) {
        send_kick(target.index);
    }
}
FaultAddress fault_address(u64) {
    return fake_el2().fault;
}
void set_hcr(u64 value) {
    fake_el2().here().hcr = value;
}
u64 guest_pstate() {
    return fake_el2().here().pstate;
}
u64 guest_vbar() {
    return fake_el2().world->pcpus[fake_el2().current.value]->current->sys.vbar;
}

u64 guest_sp() {
    return fake_el2().here().sp;
}
void set_guest_sp(u64 value) {
    fake_el2().here().sp = value;
}
void prepare_spi(World&, Intid spi, PcpuIndex) {
    fake_el2().host_spis[spi.value] = {};
}
void enable_spi(World&, Intid spi, bool enabled) {
    fake_el2().host_spis[spi.value].enabled = enabled;
}
void deactivate_spi(World&, Intid spi) {
    fake_el2().host_spis[spi.value].active = false;
}
VcpuMask gic_flush(Vcpu& vcpu) {
    return vgic::flush(vcpu.vm->gic, vcpu.index, fake_el2().cpu[vcpu.cpu->index.value].lrs);
}
VcpuMask gic_dir_write(Vcpu& vcpu, u64 value) {
    return vgic::dir_write(vcpu.vm->gic, vcpu.index, fake_el2().cpu[vcpu.cpu->index.value].lrs, value);
}
vgic::InterfaceAccess gic_interface_access(Vcpu& vcpu, u32 id, bool write, u64 value) {
    return vgic::interface_access(vcpu.vm->gic, vcpu.index, fake_el2().cpu[vcpu.cpu->index.value].lrs, id,
                                  write, value);
}
void enter_debug(Vcpu& vcpu) {
    ++fake_el2().debug_entered;
    vcpu.debug_live = true;
}
void leave_debug(Vcpu& vcpu) {
    ++fake_el2().debug_left;
    vcpu.debug_live = false;
}
Result<Ipa> translate_stage1(GuestVa va, bool write, bool) {
    const u64 page = va.align_down(page_size).value;
    const auto entry = fake_el2().stage1.find(page);
    if (entry == fake_el2().stage1.end() || (write && fake_el2().stage1_read_only.count(page) != 0)) {
        return Error::not_found;
    }
    return entry->second + (va.value & (page_size - 1));
}
Result<Pa> translate_guest_read(GuestVa va, bool el0) {
    const auto ipa = translate_stage1(va, false, el0);
    ATOLL_TRY(ipa);
    const PerCpu& cpu = *fake_el2().world->pcpus[fake_el2().current.value];
    return cpu.current->vm->space.translate(*ipa);
}
void copy_in(void* to, Pa from, u64 bytes) {
    std::memcpy(to, fake_el2().ram.at(from, bytes), bytes);
}
void copy_out(Pa to, const void* from, u64 bytes) {
    std::memcpy(fake_el2().ram.at(to, bytes), from, bytes);
}
void zero_pages(Pa at, u64 pages) {
    ATOLL_CHECK(at.is_aligned(page_size));
    std::memset(fake_el2().ram.at(at, pages * page_size), 0, pages * page_size);
    fake_el2().zeroed_pages += pages;
}
void clean(Pa at, u64 bytes) {
    (void)fake_el2().ram.at(at, bytes);
    fake_el2().cleaned_bytes += bytes;
}
void sync_instructions(Pa at, u64 bytes) {
    (void)fake_el2().ram.at(at, bytes);
    fake_el2().synced_bytes += bytes;
}
Pa pa_of(const void* pointer) {
    return fake_el2().ram.pa_of(pointer);
}
std::span<u8> ram(Pa at, u64 bytes) {
    return {fake_el2().ram.at(at, bytes), bytes};
}

} // namespace hw

void Uart::init(HypVa registers) {
    base_ = registers;
}
bool Uart::can_write() const {
    return !fake_el2().uart_stuck;
}
void Uart::write(u8 byte) {
    fake_el2().uart_out.push_back(static_cast<char>(byte));
}
int Uart::read() {
    auto& in = fake_el2().uart_in;
    if (in.empty()) {
        return -1;
    }
    const int byte = in.front();
    in.pop_front();
    return byte;
}
void Uart::set_tx_interrupt(bool on) {
    fake_el2().uart_tx_interrupt = on;
}
void Uart::acknowledge() {}
void Uart::write_polled(u8 byte) {
    write(byte);
}

} // namespace atl::el2
