// SPDX-License-Identifier: Apache-2.0
// The barriers and cache maintenance of vgic/its_io_hw.hpp.
#include "vgic/its_io_hw.hpp"

#include "lib/register.hpp"

namespace atl::vgic::its_io {
namespace {

template <class Operation>
void each_line(Pa address, u64 bytes, Operation operation) {
    u64 ctr = 0;
    asm("mrs %0, ctr_el0" : "=r"(ctr));
    const u64 line = u64{4} << Field<19, 16>::get(ctr); // CTR_EL0.DminLine [DDI0487 D19.2.34]
    const u64 end = to_hyp_va(address).value + bytes;
    for (u64 va = to_hyp_va(address).align_down(line).value; va < end; va += line) {
        operation(va);
    }
}

} // namespace

void zero(Pa address, u64 bytes) {
    const u64 va = to_hyp_va(address).value;
    for (u64 offset = 0; offset < bytes; offset += 16) {
        asm volatile("stp xzr, xzr, [%0]" ::"r"(va + offset) : "memory");
    }
    publish(address, bytes, false);
}

void publish(Pa address, u64 bytes, bool coherent) {
    if (!coherent) {
        each_line(address, bytes, [](u64 va) { asm volatile("dc cvac, %0" ::"r"(va) : "memory"); });
    }
    // The stores, or their cleaning, before the register write that lets the device look at them.
    asm volatile("dsb sy" ::: "memory");
}

void refresh(Pa address, u64 bytes, bool coherent) {
    // The register read that says so is complete before anything is loaded, or invalidated.
    asm volatile("dsb sy" ::: "memory");
    if (!coherent) { // nothing in these lines is dirty: all stores of ours were published
        each_line(address, bytes, [](u64 va) { asm volatile("dc civac, %0" ::"r"(va) : "memory"); });
        asm volatile("dsb sy" ::: "memory");
    }
}

} // namespace atl::vgic::its_io
