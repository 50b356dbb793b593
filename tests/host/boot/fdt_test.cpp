// SPDX-License-Identifier: Apache-2.0
// Tests of boot/fdt: damaged trees, bounded values, address translation, the writer.
#include <doctest/doctest.h>

#include "boot/fdt.hpp"
#include "tests/host/boot/tree.hpp"

using namespace atl;
using namespace atl::boot;
using test::Blob;

namespace {
const char* const sample = R"(
/memreserve/ 0x1000 0x2000;
/ { a = <1 2>; text = "one"; list = "x", "yy", ""; empty; odd = [01 02 03];
    first { phandle = <5>; compatible = "p,q", "r"; inner@7 { }; };
    second { status = "disabled"; };
};)";
} // namespace

TEST_CASE("fdt: a good tree is read") {
    const Blob blob = test::compile(sample);
    const auto view = FdtView::open(blob.span());
    REQUIRE(view.ok());
    const auto a = view->property(view->root(), "a");
    REQUIRE(a.ok());
    CHECK(a->cell_count() == 2);
    CHECK(a->cell(1) == 2);
    CHECK(*a->as_number() == 0x1'0000'0002);
    CHECK(*a->number(1, 1) == 2);
    CHECK(a->number(1, 2).error() == Error::corrupt);
    CHECK(a->number(3, 0).error() == Error::corrupt);
    CHECK(a->number(~std::size_t{0}, 1).error() == Error::corrupt);
    CHECK(a->number(0, 3).error() == Error::not_supported);
    CHECK(*view->property(view->root(), "text")->as_string() == "one");
    CHECK(!view->property(view->root(), "list")->as_string().ok());
    CHECK(view->property(view->root(), "list")->has_string("yy"));
    CHECK(!view->property(view->root(), "list")->has_string("y"));
    CHECK(!view->property(view->root(), "empty")->as_string().ok());
    CHECK(!view->property(view->root(), "odd")->is_cells());
    CHECK(!view->property(view->root(), "odd")->as_number().ok());
    CHECK(view->property(view->root(), "nosuch").error() == Error::not_found);
    CHECK(view->find("/first/inner").ok());
    CHECK(view->find("/first/inner@7").ok());
    CHECK(view->find("//first//").ok());
    CHECK(view->find("first").error() == Error::invalid_argument);
    CHECK(view->find("").error() == Error::invalid_argument);
    CHECK(view->find("/third").error() == Error::not_found);
    const FdtNode first = *view->find("/first");
    CHECK(view->phandle(first) == 5);
    CHECK(view->is_compatible(first, "r"));
    CHECK(view->path(*view->find("/first/inner")).view() == "/first/inner@7");
    CHECK(view->is_okay(first));
    CHECK(!view->is_okay(*view->find("/second")));
    REQUIRE(view->reservation_count() == 1);
    CHECK(*view->reservation(0) == Range<Pa>{Pa{0x1000}, 0x2000});
    std::size_t properties = 0;
    view->each_property(view->root(), [&](const FdtProperty&) { ++properties; });
    CHECK(properties == 5);
}

TEST_CASE("fdt: strings end where the value ends") {
    const u8 bytes[] = {'a', 0, 'b'}; // no NUL at the end
    const FdtProperty property{"p", bytes};
    CHECK(!property.is_string_list());
    CHECK(!property.as_string().ok());
    FdtStrings list(bytes);
    std::string_view text;
    CHECK((list.next(text) && text == "a"));
    CHECK((list.next(text) && text == "b"));
    CHECK(!list.next(text));
}

TEST_CASE("fdt: what is no tree is refused") {
    CHECK(FdtView::open({}).error() == Error::corrupt);
    const Blob zero(std::string(64, '\0'));
    CHECK(FdtView::open(zero.span()).error() == Error::corrupt);
    const Blob blob = test::compile(sample);
    CHECK(FdtView::open(blob.span().subspan(4)).error() == Error::invalid_argument);
    Blob version(blob);
    version.data()[23] = 16;
    CHECK(FdtView::open(version.span()).error() == Error::not_supported);
    for (std::size_t size = 0; size < blob.size(); ++size) {
        const Blob part(std::string(reinterpret_cast<const char*>(blob.span().data()), size));
        CHECK(!FdtView::open(part.span()).ok());
    }
    const Blob padded(std::string(reinterpret_cast<const char*>(blob.span().data()), blob.size()) +
                      "padding!");
    REQUIRE(FdtView::open(padded.span()).ok());
    CHECK(FdtView::open(padded.span())->bytes().size() == blob.size());
}

TEST_CASE("fdt: every single damaged byte is refused or read within bounds") {
    const Blob blob = test::compile(sample);
    for (std::size_t at = 0; at < blob.size(); ++at) {
        for (const u8 flip : {0x01, 0x80, 0xff}) {
            Blob damaged(blob);
            damaged.data()[at] = static_cast<u8>(damaged.data()[at] ^ flip);
            const auto view = FdtView::open(damaged.span());
            if (!view.ok()) {
                continue;
            }
            FdtWalk walk(*view);
            for (auto more = walk.next(); more.ok() && *more; more = walk.next()) {
                std::size_t total = view->name(walk.node()).size() + view->path(walk.node()).view().size();
                view->each_property(walk.node(), [&](const FdtProperty& property) {
                    total += property.name.size() + property.value.size() + property.has_string("r");
                });
                (void)walk.reg(0);
                CHECK(total < 4096);
            }
        }
    }
}

TEST_CASE("fdt: names and depth are bounded") {
    const std::string name(fdt_max_name + 8, 'n');
    CHECK(FdtView::open(test::compile("/ { " + name + " { }; };").span()).error() == Error::corrupt);
    CHECK(FdtView::open(test::compile("/ { " + name + "; };").span()).error() == Error::corrupt);
    std::string deep = "/ { ";
    for (unsigned i = 0; i < fdt_max_depth; ++i) {
        deep += "n { ";
    }
    for (unsigned i = 0; i < fdt_max_depth; ++i) {
        deep += "}; ";
    }
    const Blob blob = test::compile(deep + "};");
    const auto view = FdtView::open(blob.span());
    REQUIRE(view.ok());
    FdtWalk walk(*view);
    Result<bool> more = walk.next();
    while (more.ok() && *more) {
        more = walk.next();
    }
    CHECK(!more.ok());
    CHECK(more.error() == Error::overflow);
}

TEST_CASE("fdt: reg is translated through every bus") {
    const Blob blob = test::compile(R"(/ { #address-cells = <2>; #size-cells = <2>;
        bus { #address-cells = <1>; #size-cells = <1>; ranges = <0x1000 0x8 0x0 0x1000>, <0x5000 0x0 0x7000 0x100>;
              good { reg = <0x1800 0x800>; }; across { reg = <0x1800 0x801>; }; second { reg = <0x5000 0x10>; };
              length { reg = <1 2 3>; }; none { };
              same { #address-cells = <1>; #size-cells = <1>; ranges; leaf { reg = <0x1004 4>; }; }; };
        opaque { #address-cells = <1>; #size-cells = <0>; leaf { reg = <1>; }; };
        pci { #address-cells = <3>; #size-cells = <2>; ranges; leaf { reg = <1 2 3 4 5>; }; };
        wrap { reg = <0xffffffff 0xfffff000 0x0 0x2000>; };
        badcells { #address-cells = <1 2>; leaf { reg = <1 2>; }; };
        end { reg = <0xffffffff 0xffffffff 0 1>; };
    };)");
    const auto view = FdtView::open(blob.span());
    REQUIRE(view.ok());
    FdtWalk walk(*view);
    unsigned leaves = 0;
    for (auto more = walk.next(); more.ok() && *more; more = walk.next()) {
        const std::string path(view->path(walk.node()).view());
        const auto reg = walk.reg(0);
        if (path == "/bus/good") {
            CHECK(*reg == Range<Pa>{Pa{0x8'0000'0800}, 0x800});
            CHECK(walk.reg(1).error() == Error::not_found);
        } else if (path == "/bus/second") {
            CHECK(*reg == Range<Pa>{Pa{0x7000}, 0x10});
        } else if (path == "/bus/same/leaf") {
            CHECK(*reg == Range<Pa>{Pa{0x8'0000'0004}, 4});
        } else if (path == "/bus/across" || path == "/opaque/leaf" || path == "/pci/leaf") {
            CHECK(reg.error() == Error::not_supported);
        } else if (path == "/bus/length" || path == "/wrap" || path == "/badcells/leaf" || path == "/end") {
            CHECK(reg.error() == Error::corrupt);
        } else {
            CHECK(reg.error() == Error::not_found);
            continue;
        }
        ++leaves;
    }
    CHECK(leaves == 10);
}

TEST_CASE("fdt: the writer's errors stick") {
    alignas(8) u8 buffer[512];
    FdtWriter writer(buffer);
    writer.begin_node("");
    writer.property_string("text", "hello");
    writer.property_u64("number", 0x1234'5678'9abc'def0);
    writer.property_reg("reg", 0x1'0000'0000, 0x2000);
    writer.begin_node("child");
    writer.property_strings("list", {"a", "b"});
    writer.end_node();
    writer.end_node();
    const auto size = writer.finish();
    REQUIRE(size.ok());
    const auto view = FdtView::open(std::span<const u8>(buffer, *size));
    REQUIRE(view.ok());
    CHECK(*view->property(view->root(), "number")->as_number() == 0x1234'5678'9abc'def0);
    CHECK(view->property(*view->find("/child"), "list")->has_string("b"));
    for (std::size_t room = 0; room < *size; room += 4) {
        FdtWriter small(std::span<u8>(buffer, room));
        small.begin_node("");
        small.property_string("text", "hello");
        small.property_u64("number", 1);
        small.property_reg("reg", 1, 2);
        small.begin_node("child");
        small.property_strings("list", {"a", "b"});
        small.end_node();
        small.end_node();
        CHECK(small.finish().error() == Error::no_memory);
    }
    FdtWriter open(buffer);
    open.begin_node("");
    CHECK(!open.finish().ok());
}
