// SPDX-License-Identifier: Apache-2.0
// Owns: the form of a sentence about a device tree, and how a property's value is shown in it.
// Does not own: the reasons. Lock: none.
#include "boot/diagnostic.hpp"

#include "lib/log.hpp"

namespace atl::boot {
namespace {

constexpr std::size_t shown_text = 48; // characters of a string value
constexpr std::size_t shown_cells = 4; // cells of a number value

using Value = FormatBuffer<96>;

bool is_text(const FdtProperty& property) {
    if (!property.is_string_list() || property.value.front() == 0) {
        return false;
    }
    for (const u8 c : property.value) {
        if (c != 0 && (c < 0x20 || c > 0x7e)) {
            return false;
        }
    }
    return true;
}

Value show_cells(const FdtProperty& property) {
    switch (property.cell_count()) {
    case 1:
        return Value("<{}>", property.cell(0));
    case 2:
        return Value("<{:x} {:x}>", property.cell(0), property.cell(1));
    case 3:
        return Value("<{:x} {:x} {:x}>", property.cell(0), property.cell(1), property.cell(2));
    default:
        return Value("<{:x} {:x} {:x} {:x}>", property.cell(0), property.cell(1), property.cell(2),
                     property.cell(3));
    }
}

/// As a person would write it in the source: "text", <cells>, or the size of what is neither.
Value show(const FdtProperty& property) {
    if (is_text(property)) {
        FdtStrings list = property.strings();
        std::string_view first;
        list.next(first);
        std::string_view second;
        const bool more = list.next(second);
        const bool cut = first.size() > shown_text;
        return Value("\"{}{}\"{}", std::string_view(first.data(), cut ? shown_text : first.size()),
                     cut ? "..." : "", more ? ", ..." : "");
    }
    if (property.is_cells() && !property.value.empty() && property.cell_count() <= shown_cells) {
        return show_cells(property);
    }
    return Value("({} bytes)", property.value.size());
}

} // namespace

void Diagnostics::say_text(Severity severity, const FdtView& view, FdtNode node, std::string_view property,
                           std::string_view reason) {
    if (count_ > limit) { // finding a path takes a walk: not for what is not shown
        refusals_ += severity == Severity::refusal ? 1 : 0;
        return;
    }
    const FdtPath path = view.path(node);
    if (property.empty()) {
        emit(severity, FormatBuffer<max_sentence>("{}: {}", path.view(), reason).text());
        return;
    }
    const auto value = view.property(node, property);
    const std::string_view name(property.data(), property.size() < 40 ? property.size() : 40);
    if (value.ok()) {
        emit(severity,
             FormatBuffer<max_sentence>("{}: {} = {}: {}", path.view(), name, show(*value).text(), reason)
                 .text());
    } else {
        emit(severity, FormatBuffer<max_sentence>("{}: {}: {}", path.view(), name, reason).text());
    }
}

void Diagnostics::emit(Severity severity, std::string_view sentence) {
    refusals_ += severity == Severity::refusal ? 1 : 0;
    if (count_ > limit) {
        return;
    }
    if (count_++ == limit) {
        report_(context_, Severity::warning, "more messages of this kind are not shown");
        return;
    }
    char clean[max_sentence];
    std::size_t n = 0;
    for (const char c : sentence) {
        if (n < sizeof(clean)) {
            clean[n++] = c >= 0x20 && c <= 0x7e ? c : '?';
        }
    }
    report_(context_, severity, std::string_view(clean, n));
}

void report_to_log(void*, Severity severity, std::string_view sentence) {
    log::line(severity == Severity::refusal   ? log::Level::error
              : severity == Severity::warning ? log::Level::warn
                                              : log::Level::info,
              "{}", sentence);
}

} // namespace atl::boot
