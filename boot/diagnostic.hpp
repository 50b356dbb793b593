// SPDX-License-Identifier: Apache-2.0
// Owns: how a mistake in a device tree becomes one sentence: "/vms/alpha: cpus = <1000>: a VM has 1 to 8
// vCPUs". Does not own: where sentences go (the caller's function) and what is a mistake (platform,
// manifest). Lock: none. The text comes from untrusted bytes: it is bounded and holds printable ASCII only.
#pragma once
#include "boot/fdt.hpp"
#include "lib/format.hpp"

namespace atl::boot {

enum class Severity : u8 {
    note,    // what was chosen, worth reading once
    warning, // odd, ignored or adapted; everything still starts
    refusal, // something will not be used or started
};

constexpr std::size_t max_reason = 240;
constexpr std::size_t max_sentence = 440;

/// Where sentences go. After `limit` sentences one last one says that there are more: a hostile tree cannot
/// flood.
class Diagnostics {
  public:
    using Report = void (*)(void* context, Severity severity, std::string_view sentence);
    static constexpr u32 limit = 100;

    constexpr Diagnostics(void* context, Report report) : context_(context), report_(report) {}

    /// About `property` of `node`; the value is shown when the property is there. "" for the node itself.
    template <class... Args>
    void say(Severity severity, const FdtView& view, FdtNode node, std::string_view property,
             std::string_view reason, const Args&... args) {
        say_text(severity, view, node, property, FormatBuffer<max_reason>(reason, args...).text());
    }
    /// About no place in particular.
    template <class... Args>
    void say(Severity severity, std::string_view reason, const Args&... args) {
        emit(severity, FormatBuffer<max_sentence>(reason, args...).text());
    }
    u32 refusals() const { return refusals_; }

  private:
    void say_text(Severity severity, const FdtView& view, FdtNode node, std::string_view property,
                  std::string_view reason);
    void emit(Severity severity, std::string_view sentence);

    void* context_;
    Report report_;
    u32 count_ = 0;
    u32 refusals_ = 0;
};

/// A Diagnostics::Report: a line of the log for each sentence.
void report_to_log(void* context, Severity severity, std::string_view sentence);

} // namespace atl::boot
