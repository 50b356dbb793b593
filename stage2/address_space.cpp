// SPDX-License-Identifier: Apache-2.0
// The one instantiation of BasicAddressSpace for real table memory; tests add theirs for a recording one.
#include "stage2/address_space.hpp"
#include "stage2/address_space_impl.hpp"
#include "stage2/split_merge_impl.hpp"

namespace atl::stage2 {

template class BasicAddressSpace<TableMemory>;

} // namespace atl::stage2
