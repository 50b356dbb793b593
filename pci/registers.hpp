// SPDX-License-Identifier: Apache-2.0
// Configuration space: offsets and fields, named as in the specifications. Pure, owns no state. No lock.
// Spec: [PCI 3.0 §6.1, §6.2, §6.7, §6.8] headers, capability list, MSI; [PCI-to-PCI Bridge 1.2 §3.2] type 1;
// [PCIe Base §7] PCI Express, SR-IOV, ACS and ATS capabilities; [PCI PM 1.2 §3.2]; [virtio 1.2 §4.1.4].
#pragma once
#include "lib/register.hpp"

namespace atl::pci::reg {

constexpr u32 config_size = 0x1000;      // one function's page of an ECAM
constexpr u32 conventional_size = 0x100; // what a conventional function has of it
constexpr u32 first_capability = 0x40;   // below it is the header
constexpr u32 first_extended = 0x100;    // PCI Express extended capabilities
constexpr u32 absent = 0xffff'ffff;      // nobody answered
constexpr u16 no_vendor = 0xffff;        // a Vendor ID that nobody has
constexpr u16 retry_vendor = 0x0001;     // the function asked to be read again later [PCIe Base, RRS/CRS]

// The header that all functions have.
constexpr u32 vendor_id = 0x00;
constexpr u32 device_id = 0x02;
constexpr u32 command = 0x04;
constexpr u32 status = 0x06;
constexpr u32 revision_class = 0x08;
constexpr u32 cache_line_size = 0x0c;
constexpr u32 header_type = 0x0e;
constexpr u32 bar0 = 0x10;
constexpr u32 capabilities_pointer = 0x34;
constexpr u32 interrupt_line = 0x3c;
constexpr u32 interrupt_pin = 0x3d;
// Type 0.
constexpr u32 subsystem_vendor_id = 0x2c;
constexpr u32 subsystem_id = 0x2e;
constexpr u32 rom0 = 0x30;
// Type 1.
constexpr u32 primary_bus = 0x18;
constexpr u32 secondary_bus = 0x19;
constexpr u32 subordinate_bus = 0x1a;
constexpr u32 bus_numbers = 0x18; // the three above, and the secondary latency timer
constexpr u32 io_base = 0x1c;
constexpr u32 memory_base = 0x20;
constexpr u32 prefetchable_base = 0x24;
constexpr u32 prefetchable_base_upper = 0x28;
constexpr u32 prefetchable_limit_upper = 0x2c;
constexpr u32 io_base_upper = 0x30;
constexpr u32 rom1 = 0x38;

constexpr u32 class_bridge = 0x06; // base class code
constexpr unsigned type0_bars = 6;
constexpr unsigned type1_bars = 2;

namespace cmd {
constexpr u16 io_space = 1u << 0;
constexpr u16 memory_space = 1u << 1;
constexpr u16 bus_master = 1u << 2;
constexpr u16 interrupt_disable = 1u << 10;
} // namespace cmd

namespace sts {
constexpr u16 interrupt = 1u << 3;
constexpr u16 capabilities = 1u << 4;
constexpr u16 errors = 0xf900; // write-1-to-clear: parity, target and master abort, system error
} // namespace sts

using HeaderLayout = Field<6, 0>;
using HeaderMultiFunction = Bit<7>;

namespace bar {
constexpr u32 is_io = 1;
using Type = Field<2, 1>; // 0: 32 bits, 2: 64 bits; 1 and 3 are reserved
constexpr u32 type_32 = 0;
constexpr u32 type_64 = 2;
constexpr u32 prefetchable = 1u << 3;
constexpr u32 memory_flags = 0xf;
constexpr u32 io_flags = 0x3;
} // namespace bar

// Capability IDs.
constexpr u8 cap_power = 0x01;
constexpr u8 cap_msi = 0x05;
constexpr u8 cap_vendor = 0x09;
constexpr u8 cap_pcie = 0x10;
constexpr u8 cap_msix = 0x11;
constexpr u16 ext_acs = 0x000d;
constexpr u16 ext_ats = 0x000f;
constexpr u16 ext_sriov = 0x0010;
constexpr u16 ext_pri = 0x0013;
constexpr u16 ext_pasid = 0x001b;

namespace pm { // offsets in the capability
constexpr u32 pmc = 2;
constexpr u32 pmcsr = 4;
constexpr u32 length = 8;
constexpr u16 state = 0x3; // 0: D0, 3: D3hot
constexpr u16 d3hot = 0x3;
constexpr u16 no_soft_reset = 1u << 3;
constexpr u16 pmc_version = 0x7;
} // namespace pm

namespace msi {
constexpr u32 control = 2;
constexpr u32 address = 4;
constexpr u16 enable = 1u << 0;
using MultipleCapable = Field<3, 1>;
using MultipleEnable = Field<6, 4>;
constexpr u16 is_64 = 1u << 7;
constexpr u16 maskable = 1u << 8;
} // namespace msi

namespace msix {
constexpr u32 control = 2;
constexpr u32 table = 4;
constexpr u32 pba = 8;
constexpr u32 length = 12;
using TableSize = Field<10, 0>; // entries less one
constexpr u16 function_mask = 1u << 14;
constexpr u16 enable = 1u << 15;
using Bir = Field<2, 0>;
constexpr u32 entry_size = 16;
} // namespace msix

namespace pcie {
constexpr u32 flags = 2;
constexpr u32 device_capabilities = 4;
constexpr u32 device_control = 8;
constexpr u32 device_status = 10;
constexpr u32 length_v1 = 0x14; // up to the slot registers: what every function may be asked for
using Version = Field<3, 0>;
using Type = Field<7, 4>;
constexpr u32 phantom_functions = 0x3u << 3;
constexpr u32 flr_capable = 1u << 28;
constexpr u16 initiate_flr = 1u << 15;
constexpr u16 status_errors = 0xf; // write-1-to-clear
constexpr u16 transactions_pending = 1u << 5;
} // namespace pcie

namespace ext { // any extended capability's first dword
using Id = Field<15, 0>;
using Version = Field<19, 16>;
using Next = Field<31, 20>;
} // namespace ext

namespace acs {
constexpr u32 capability = 4;
constexpr u32 control = 6;
constexpr u16 source_validation = 1u << 0;
constexpr u16 translation_blocking = 1u << 1;
constexpr u16 request_redirect = 1u << 2;
constexpr u16 completion_redirect = 1u << 3;
constexpr u16 upstream_forwarding = 1u << 4;
} // namespace acs

constexpr u32 ats_control = 6;   // bit 15 enables
constexpr u32 pri_control = 4;   // bit 0 enables
constexpr u32 pasid_control = 6; // bit 0 enables

namespace sriov {
constexpr u32 capabilities = 0x04;
constexpr u32 control = 0x08; // Status in the upper half
constexpr u32 initial_vfs = 0x0c;
constexpr u32 total_vfs = 0x0e;
constexpr u32 num_vfs = 0x10;
constexpr u32 first_vf_offset = 0x14;
constexpr u32 vf_stride = 0x16;
constexpr u32 vf_device_id = 0x1a;
constexpr u32 supported_page_sizes = 0x1c;
constexpr u32 system_page_size = 0x20;
constexpr u32 vf_bar0 = 0x24;
constexpr u32 length = 0x40;
constexpr u32 version = 1;
// 4, 8, 64 and 256 KiB, 1 and 4 MiB: what every PF supports.
constexpr u32 required_page_sizes = 0x553;
constexpr u16 vf_enable = 1u << 0;
constexpr u16 vf_memory_space = 1u << 3;
constexpr u32 page_4k = 1;
} // namespace sriov

namespace virtio {
constexpr u16 vendor = 0x1af4;
constexpr u16 first_device = 0x1000; // 0x1000 to 0x103f: transitional, 0x1040 to 0x107f: modern
constexpr u16 first_modern = 0x1040;
constexpr u16 last_device = 0x107f;
// Offsets in the vendor capability.
constexpr u32 cap_length = 2;
constexpr u32 config_type = 3;
constexpr u32 cap_bar = 4;
constexpr u32 cap_offset = 8;
constexpr u32 cap_size = 12;
constexpr u32 least_length = 16;
constexpr u8 type_common = 1;
constexpr u8 type_pci_access = 5; // a window into the BARs through configuration space
constexpr u8 last_shown_type = 4; // common, notify, ISR, device-specific
// Common configuration.
constexpr u32 device_feature_select = 0;
constexpr u32 device_feature = 4;
constexpr u32 device_status = 20; // 8 bits; 0 resets the device and reads as 0 when it is done
constexpr u32 common_length = 56;
constexpr u32 access_platform_word = 1;  // VIRTIO_F_ACCESS_PLATFORM is feature 33
constexpr u32 access_platform = 1u << 1; // bit 1 of word 1
} // namespace virtio

} // namespace atl::pci::reg
