// SPDX-License-Identifier: Apache-2.0
// Every way in which a memory transaction descriptor can be malformed; after each, nothing may be left
// behind.
#include "el2/ffa/descriptor.hpp"

#include <doctest/doctest.h>

#include <functional>

#include "tests/host/ffa/guest.hpp"

using namespace atl;
using namespace atl::ffa;
using namespace atl::ffa::test;

namespace {

using Bytes = std::vector<u8>;
template <class T>
void set(Bytes& d, std::size_t at, T value) {
    std::memcpy(d.data() + at, &value, sizeof(T));
}

struct Bad {
    const char* name;
    std::function<void(Bytes&)> change;
    int code = FFA_INVALID_PARAMETERS;
};

// Offsets in the v1.1 layout with one endpoint: head 48, endpoint at 48, composite at 64, constituents at 80.
constexpr std::size_t endpoint = 48, composite = 64, first = 80, second = 96;

const Bad bad_v1_1[] = {
    {"another's name", [](Bytes& d) { set<u16>(d, 0, 2); }},
    {"no memory type", [](Bytes& d) { set<u16>(d, 2, 0); }, FFA_DENIED},
    {"device memory", [](Bytes& d) { set<u16>(d, 2, 0x10); }, FFA_DENIED},
    {"non-cacheable", [](Bytes& d) { set<u16>(d, 2, 0x27); }, FFA_DENIED},
    {"not shareable", [](Bytes& d) { set<u16>(d, 2, 0x2c); }, FFA_DENIED},
    {"reserved shareability", [](Bytes& d) { set<u16>(d, 2, 0x2d); }, FFA_DENIED},
    {"reserved attribute bits", [](Bytes& d) { set<u16>(d, 2, 0x8000 | 0x2f); }},
    {"NS bit", [](Bytes& d) { set<u16>(d, 2, 0x40 | 0x2f); }},
    {"zero flag", [](Bytes& d) { set<u32>(d, 4, 1); }},
    {"reserved flag", [](Bytes& d) { set<u32>(d, 4, 0x80000000); }},
    {"a handle", [](Bytes& d) { set<u64>(d, 8, 5); }},
    {"endpoint size 0", [](Bytes& d) { set<u32>(d, 24, 0); }},
    {"endpoint size 32", [](Bytes& d) { set<u32>(d, 24, 32); }},
    {"no endpoints", [](Bytes& d) { set<u32>(d, 28, 0); }},
    {"too many endpoints", [](Bytes& d) { set<u32>(d, 28, max_borrowers + 1); }, FFA_NO_MEMORY},
    {"endpoint count wraps", [](Bytes& d) { set<u32>(d, 28, 0x10000001); }, FFA_NO_MEMORY},
    {"endpoints over the composite", [](Bytes& d) { set<u32>(d, 28, 2); }},
    {"endpoints in the head", [](Bytes& d) { set<u32>(d, 32, 32); }},
    {"endpoints unaligned", [](Bytes& d) { set<u32>(d, 32, 50); }},
    {"endpoints outside", [](Bytes& d) { set<u32>(d, 32, 0x1000); }},
    {"endpoints wrap", [](Bytes& d) { set<u32>(d, 32, 0xfffffff0); }},
    {"reserved word 0", [](Bytes& d) { set<u32>(d, 36, 1); }},
    {"reserved word 1", [](Bytes& d) { set<u32>(d, 40, 1); }},
    {"reserved word 2", [](Bytes& d) { set<u32>(d, 44, 1); }},
    {"to itself", [](Bytes& d) { set<u16>(d, endpoint, 1); }},
    {"to the hypervisor", [](Bytes& d) { set<u16>(d, endpoint, 0); }},
    {"to nobody", [](Bytes& d) { set<u16>(d, endpoint, 16); }},
    {"to an id beyond every table", [](Bytes& d) { set<u16>(d, endpoint, 0xffff); }},
    {"to a stranger", [](Bytes& d) { set<u16>(d, endpoint, 4); }, FFA_DENIED},
    {"no data access", [](Bytes& d) { set<u8>(d, endpoint + 2, 0); }},
    {"reserved data access", [](Bytes& d) { set<u8>(d, endpoint + 2, 3); }},
    {"executable", [](Bytes& d) { set<u8>(d, endpoint + 2, FFA_MEM_PERM_RO | FFA_MEM_PERM_X); }},
    {"reserved permission bits", [](Bytes& d) { set<u8>(d, endpoint + 2, 0x12); }},
    {"endpoint flags", [](Bytes& d) { set<u8>(d, endpoint + 3, 1); }},
    {"endpoint reserved", [](Bytes& d) { set<u64>(d, endpoint + 8, 1); }},
    {"no composite", [](Bytes& d) { set<u32>(d, endpoint + 4, 0); }},
    {"composite over the endpoint", [](Bytes& d) { set<u32>(d, endpoint + 4, 56); }},
    {"composite in the head", [](Bytes& d) { set<u32>(d, endpoint + 4, 8); }},
    {"composite unaligned", [](Bytes& d) { set<u32>(d, endpoint + 4, 65); }},
    {"composite at the end", [](Bytes& d) { set<u32>(d, endpoint + 4, static_cast<u32>(d.size())); }},
    {"composite outside", [](Bytes& d) { set<u32>(d, endpoint + 4, 0xfffffff8); }},
    {"composite reserved", [](Bytes& d) { set<u64>(d, composite + 8, 1); }},
    {"zero pages", [](Bytes& d) { set<u32>(d, composite, 0); }},
    {"fewer pages than ranges", [](Bytes& d) { set<u32>(d, composite, 1); }},
    {"sum too small", [](Bytes& d) { set<u32>(d, composite, 4); }},
    {"sum too large", [](Bytes& d) { set<u32>(d, composite, 6); }},
    {"too many pages", [](Bytes& d) { set<u32>(d, composite, max_buffer_pages + 1); }},
    {"all the pages there are", [](Bytes& d) { set<u32>(d, composite, 0xffffffff); }},
    {"zero ranges", [](Bytes& d) { set<u32>(d, composite + 4, 0); }},
    {"one range less", [](Bytes& d) { set<u32>(d, composite + 4, 1); }},
    {"one range more", [](Bytes& d) { set<u32>(d, composite + 4, 3); }},
    {"range count wraps", [](Bytes& d) { set<u32>(d, composite + 4, 0x10000002); }},
    {"range unaligned", [](Bytes& d) { set<u64>(d, first, ram_base + 16 * page_size + 8); }},
    {"range reserved", [](Bytes& d) { set<u32>(d, first + 12, 1); }},
    {"range of zero pages", [](Bytes& d) { set<u32>(d, second + 8, 0); }},
    {"range count overflow", [](Bytes& d) { set<u32>(d, second + 8, 0xffffffff); }},
    {"range wraps", [](Bytes& d) { set<u64>(d, second, ~u64{0xfff}); }},
    {"range beyond any IPA", [](Bytes& d) { set<u64>(d, second, ipa_limit); }},
    {"range in no RAM", [](Bytes& d) { set<u64>(d, second, 0x1000); }, FFA_DENIED},
    {"range in the window", [](Bytes& d) { set<u64>(d, second, window_base); }, FFA_DENIED},
    {"range leaves RAM", [](Bytes& d) { set<u64>(d, second, ram_base + 255 * page_size); }, FFA_DENIED},
    {"the same range twice", [](Bytes& d) { set<u64>(d, second, ram_base + 16 * page_size); }, FFA_DENIED},
    {"ranges overlap", [](Bytes& d) { set<u64>(d, second, ram_base + 18 * page_size); }, FFA_DENIED},
    {"the TX buffer itself", [](Bytes& d) { set<u64>(d, second, ram_base + page_size); }, FFA_DENIED},
    {"the RX buffer", [](Bytes& d) { set<u64>(d, second, ram_base + 2 * page_size); }, FFA_DENIED},
    {"a byte less", [](Bytes& d) { d.pop_back(); }},
    {"a byte more", [](Bytes& d) { d.push_back(0); }},
    {"a range less in length", [](Bytes& d) { d.resize(96); }},
    {"empty", [](Bytes& d) { d.clear(); }},
    {"half a head", [](Bytes& d) { d.resize(20); }},
    {"no room for endpoints", [](Bytes& d) { d.resize(50); }},
    {"no room for a composite", [](Bytes& d) { d.resize(70); }},
};

const std::vector<Part> parts = {{ram_base + 16 * page_size, 3}, {ram_base + 32 * page_size, 2}};

} // namespace

TEST_CASE("malformed share descriptors, v1.1") {
    Islands w;
    REQUIRE(w.a.share_descriptor(parts, {2}).size() == 112);
    for (const Bad& bad : bad_v1_1) {
        CAPTURE(bad.name);
        Bytes d = w.a.share_descriptor(parts, {2});
        bad.change(d);
        CHECK(Guest::error(w.a.send_share(d)) == bad.code);
        CHECK(w.pristine());
    }
    CHECK(Guest::error(w.a.share(parts, {2})) == 0); // and the good one still goes
}

TEST_CASE("malformed share descriptors, v1.0") {
    Islands w(256, 0, 64, FFA_VERSION_1_0);
    const Bad list[] = {
        {"reserved byte", [](Bytes& d) { set<u8>(d, 3, 1); }},
        {"reserved word", [](Bytes& d) { set<u32>(d, 24, 1); }},
        {"no endpoints", [](Bytes& d) { set<u32>(d, 28, 0); }},
        {"too many endpoints", [](Bytes& d) { set<u32>(d, 28, 0xffffffff); }, FFA_NO_MEMORY},
        {"composite over the endpoint", [](Bytes& d) { set<u32>(d, 36, 40); }},
        {"half a head", [](Bytes& d) { d.resize(31); }},
    };
    for (const Bad& bad : list) {
        CAPTURE(bad.name);
        Bytes d = w.a.share_descriptor(parts, {2});
        bad.change(d);
        CHECK(Guest::error(w.a.send_share(d)) == bad.code);
        CHECK(w.pristine());
    }
    CHECK(Guest::error(w.a.share(parts, {2})) == 0);
}

TEST_CASE("a descriptor of one version is not taken for the other") {
    Islands w;
    w.a.v1_1 = false;
    CHECK(Guest::error(w.a.share(parts, {2})) != 0);
    CHECK(w.pristine());
}

TEST_CASE("receivers: no duplicates, one composite for all") {
    Islands w;
    CHECK(Guest::error(w.a.share(parts, {2, 2})) == FFA_INVALID_PARAMETERS);
    Bytes d = w.a.share_descriptor(parts, {2, 3});
    set<u32>(d, 64 + 4, 96);
    CHECK(Guest::error(w.a.send_share(d)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.share(parts, {2, 4})) == FFA_DENIED);
    CHECK(w.pristine());
    CHECK(Guest::error(w.a.share(parts, {2, 3})) == 0);
}

TEST_CASE("gaps between the parts of a descriptor are fine") {
    Islands w;
    const Bytes good = w.a.share_descriptor(parts, {2});
    Bytes d(good.begin(), good.begin() + 48);
    set<u32>(d, 32, 64); // endpoints at 64, composite at 96
    d.resize(64);
    d.insert(d.end(), good.begin() + 48, good.begin() + 64);
    set<u32>(d, 68, 96);
    d.resize(96);
    d.insert(d.end(), good.begin() + 64, good.end());
    CHECK(Guest::error(w.a.send_share(d)) == 0);
}

TEST_CASE("each byte of guest memory is read once") {
    Islands w;
    std::vector<Part> many;
    for (u32 i = 0; i < 100; ++i) {
        many.emplace_back(ram_base + (16 + 2 * i) * page_size, 1);
    }
    const Bytes d = w.a.share_descriptor(many, {2, 3});
    w.a.put(w.a.tx(), d.data(), d.size());
    w.host.track_reads = true;
    const Call c = w.a.call(FFA_MEM_SHARE, d.size(), d.size());
    CHECK(c.x[0] == FFA_SUCCESS);
    CHECK(w.host.violations == 0);
    CHECK(w.host.bytes_read.size() == d.size());
}

TEST_CASE("reads that fail leave nothing") {
    Islands w;
    for (int i = 1; i <= 4; ++i) {
        w.host.fail_read = i;
        CHECK(Guest::error(w.a.share(parts, {2})) == FFA_DENIED);
        CHECK(w.pristine());
    }
}

TEST_CASE("register arguments of MEM_SHARE") {
    Islands w;
    const Bytes d = w.a.share_descriptor(parts, {2});
    w.a.put(w.a.tx(), d.data(), d.size());
    const u64 n = d.size();
    CHECK(Guest::error(w.a.call(FFA_MEM_SHARE, n, n, 0x1000)) ==
          FFA_INVALID_PARAMETERS); // a buffer elsewhere
    CHECK(Guest::error(w.a.call(FFA_MEM_SHARE, n, n, 0, 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_MEM_SHARE64, n, n, u64{1} << 32)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_MEM_SHARE, n, n + 1)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_MEM_SHARE, 5000, 5000)) == FFA_INVALID_PARAMETERS);
    CHECK(Guest::error(w.a.call(FFA_MEM_SHARE, 0, 0)) == FFA_INVALID_PARAMETERS);
    CHECK(w.pristine());
    CHECK(Guest::error(w.a.call(FFA_MEM_SHARE, n, n, u64{1} << 32)) == 0); // w3 is 32 bits wide
    w.a.call(FFA_RXTX_UNMAP);
    CHECK(Guest::error(w.a.call(FFA_MEM_SHARE, n, n)) == FFA_DENIED);
}
