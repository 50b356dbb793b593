// SPDX-License-Identifier: Apache-2.0
// FF-A from a bare guest [DEN0077A, DEN0140]: the buffers, messages to and from peers, descriptors. CPU 0 only.
#pragma once
#include "guests/bare/rt/rt.hpp"
#include "lib/abi/ffa.h"

namespace atl::bare {

constexpr u64 ffa_buffer_bytes = 4096;
extern u8* ffa_tx; // the registered buffers
extern u8* ffa_rx;
extern u16 ffa_self;

/// What one payload tells another; the meaning is theirs.
struct FfaMessage {
    u32 step;
    u32 result;
    u64 handle;
    u64 value;
};

inline bool succeeded(const CallResult& r) {
    return static_cast<u32>(r.x[0]) == FFA_SUCCESS || static_cast<u32>(r.x[0]) == FFA_SUCCESS64;
}
void expect_success(const char* name, const CallResult& r);
void expect_error(const char* name, const CallResult& r, int code);

template <class T>
void put_at(u64 offset, const T& value) {
    __builtin_memcpy(ffa_tx + offset, &value, sizeof(T));
}
template <class T>
T get_at(u64 offset) {
    T value;
    __builtin_memcpy(&value, ffa_rx + offset, sizeof(T));
    return value;
}
inline u64 address_of(const void* p) {
    return reinterpret_cast<u64>(p);
}
inline u64 load(u64 address) {
    u64 value;
    asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
    return value;
}
inline void store(u64 address, u64 value) {
    asm volatile("str %1, [%0]" ::"r"(address), "r"(value) : "memory");
}
/// The access must end in a data abort.
void expect_fault(const char* name, u64 address, bool write);

/// VERSION, ID_GET, RXTX_MAP of a page each.
void ffa_introduce();
/// Waits until the peer takes it; false, and a FAIL, after five seconds.
bool ffa_send(u16 to, const FfaMessage& message);
/// The next message from `from`; those of the hypervisor itself (sender 0) are passed over. False, and a FAIL,
/// after thirty seconds.
bool ffa_receive(u16 from, FfaMessage& message);
/// struct ffa_mem_relinquish for this VM.
CallResult ffa_relinquish(u64 handle, u32 flags = 0);
CallResult ffa_reclaim(u64 handle, u32 flags = 0);
/// MEM_SHARE of one page with one borrower.
CallResult ffa_share_page(u16 borrower, u64 page, u8 permissions, u64 tag = 0);
/// MEM_RETRIEVE_REQ of what one owner has shared with this VM alone: where its first range is mapped; 0: refused.
u64 ffa_retrieve(u16 owner, u64 handle, u8 permissions, u64 tag = 0);
/// Of a successful send.
inline u64 ffa_handle(const CallResult& r) {
    return succeeded(r) ? (r.x[3] & 0xffff'ffff) << 32 | (r.x[2] & 0xffff'ffff) : 0;
}

} // namespace atl::bare
