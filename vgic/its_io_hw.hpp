// SPDX-License-Identifier: Apache-2.0
// What the ITS driver touches: registers (device memory) and tables and commands (Normal memory), both through the
// direct map. Host builds take the same functions from tests/support/its_model.cpp, a model of the device. No lock.
#pragma once
#include "lib/types.hpp"

namespace atl::vgic::its_io {

#if defined(ATOLL_HOST)
u32 read32(Pa address);
u64 read64(Pa address);
void write32(Pa address, u32 value);
void write64(Pa address, u64 value);
void store64(Pa address, u64 value);
void store8(Pa address, u8 value);
u64 load64(Pa address);
void zero(Pa address, u64 bytes);
void publish(Pa address, u64 bytes, bool coherent);
void refresh(Pa address, u64 bytes, bool coherent);
#else
inline u32 read32(Pa address) {
    return *reinterpret_cast<volatile u32*>(to_hyp_va(address).value);
}
/// 64-bit registers may be accessed whole [IHI0069 §12.1.3].
inline u64 read64(Pa address) {
    return *reinterpret_cast<volatile u64*>(to_hyp_va(address).value);
}
inline void write32(Pa address, u32 value) {
    *reinterpret_cast<volatile u32*>(to_hyp_va(address).value) = value;
}
inline void write64(Pa address, u64 value) {
    *reinterpret_cast<volatile u64*>(to_hyp_va(address).value) = value;
}
inline void store64(Pa address, u64 value) {
    *reinterpret_cast<volatile u64*>(to_hyp_va(address).value) = value;
}
inline void store8(Pa address, u8 value) {
    *reinterpret_cast<volatile u8*>(to_hyp_va(address).value) = value;
}
inline u64 load64(Pa address) {
    return *reinterpret_cast<volatile u64*>(to_hyp_va(address).value);
}
/// Zeroes and cleans to the point of coherency. Multiples of 64 bytes.
void zero(Pa address, u64 bytes);
/// What was stored to [address, address + bytes) is visible to the ITS and the redistributors before any later register
/// write; `coherent`: they snoop the caches.
void publish(Pa address, u64 bytes, bool coherent);
/// The other way round: what they have stored there before an earlier register read is what later loads see.
void refresh(Pa address, u64 bytes, bool coherent);
#endif

} // namespace atl::vgic::its_io
