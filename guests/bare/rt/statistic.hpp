// SPDX-License-Identifier: Apache-2.0
// Rows of the benches: "bench NAME min N mean N max N", or "bench NAME none". tests/bench reads them.
#pragma once
#include "guests/bare/rt/rt.hpp"

namespace atl::bare {

struct Statistic {
    u64 least = ~u64{0};
    u64 most = 0;
    u64 sum = 0;
    u64 count = 0;
    void add(u64 ticks) {
        least = ticks < least ? ticks : least;
        most = ticks > most ? ticks : most;
        sum += ticks;
        ++count;
    }
};

inline void print_row(const char* name, const Statistic& s) {
    put("bench ");
    put(name);
    if (s.count == 0) {
        put(" none\n");
        return;
    }
    put(" min ");
    put_dec(s.least);
    put(" mean ");
    put_dec(s.sum / s.count);
    put(" max ");
    put_dec(s.most);
    put("\n");
}

} // namespace atl::bare
