// SPDX-License-Identifier: Apache-2.0
// The encodings of a GICv3's CPU interface registers, as a trap shows them. Pure constants.
// Spec: [IHI0069 §12.2], names as printed there.
#pragma once
#include "lib/arch/esr.hpp"

namespace atl::gic::icc {

using arch::sysreg_id;
constexpr u32 pmr = sysreg_id(3, 0, 4, 6, 0);
constexpr u32 iar0 = sysreg_id(3, 0, 12, 8, 0);
constexpr u32 eoir0 = sysreg_id(3, 0, 12, 8, 1);
constexpr u32 hppir0 = sysreg_id(3, 0, 12, 8, 2);
constexpr u32 bpr0 = sysreg_id(3, 0, 12, 8, 3);
constexpr u32 ap0r0 = sysreg_id(3, 0, 12, 8, 4); // and three more
constexpr u32 ap1r0 = sysreg_id(3, 0, 12, 9, 0); // and three more
constexpr u32 dir = sysreg_id(3, 0, 12, 11, 1);
constexpr u32 rpr = sysreg_id(3, 0, 12, 11, 3);
constexpr u32 sgi1r = sysreg_id(3, 0, 12, 11, 5);
constexpr u32 asgi1r = sysreg_id(3, 0, 12, 11, 6);
constexpr u32 sgi0r = sysreg_id(3, 0, 12, 11, 7);
constexpr u32 iar1 = sysreg_id(3, 0, 12, 12, 0);
constexpr u32 eoir1 = sysreg_id(3, 0, 12, 12, 1);
constexpr u32 hppir1 = sysreg_id(3, 0, 12, 12, 2);
constexpr u32 bpr1 = sysreg_id(3, 0, 12, 12, 3);
constexpr u32 ctlr = sysreg_id(3, 0, 12, 12, 4);
constexpr u32 sre = sysreg_id(3, 0, 12, 12, 5);
constexpr u32 igrpen0 = sysreg_id(3, 0, 12, 12, 6);
constexpr u32 igrpen1 = sysreg_id(3, 0, 12, 12, 7);

} // namespace atl::gic::icc
