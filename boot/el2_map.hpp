// SPDX-License-Identifier: Apache-2.0
// Builds EL2's own stage-1 map: the image with W^X permissions, guard pages left out, host RAM and EL2's
// devices in the direct map. Pure: writes descriptors into the memory it is given. Boot CPU only, before any
// other CPU runs. [DDI0487 D8.3 VMSAv8-64 descriptors, 4 KiB granule, 48-bit VA, EL2 with E2H=0]
#pragma once
#include <span>

#include "lib/result.hpp"
#include "lib/types.hpp"

namespace atl::boot {

/// One 4 KiB translation table.
struct alignas(page_size) El2Table {
    u64 entry[512];
};

enum class El2Kind : u8 {
    code,   // read-execute
    rodata, // read-only
    data,   // read-write, never executable; Normal write-back
    device, // read-write, never executable; Device-nGnRE
};

class El2Map {
  public:
    /// `tables` are zeroed and contiguous, `tables_pa` is the physical address of the first; it becomes the
    /// root.
    El2Map(std::span<El2Table> tables, Pa tables_pa) : tables_(tables), tables_pa_(tables_pa), used_(1) {}

    /// Maps [va, va + bytes) to pa with the largest blocks. All multiples of 4 KiB.
    /// Errors: invalid_argument (alignment, range), already_exists (overlap), no_memory (tables used up).
    Status map(HypVa va, Pa pa, u64 bytes, El2Kind kind);

    /// The value for TTBR0_EL2.
    Pa root() const { return tables_pa_; }
    std::size_t tables_used() const { return used_; }

  private:
    Result<El2Table*> next_table(El2Table& table, unsigned index);

    std::span<El2Table> tables_;
    Pa tables_pa_;
    std::size_t used_;
};

} // namespace atl::boot
