// SPDX-License-Identifier: Apache-2.0
// Owns: how tests get device trees (source text or a .dts file, compiled by dtc) and collect sentences. Test
// use only.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include "boot/diagnostic.hpp"

namespace atl::test {

/// Bytes at an 8-byte boundary, exactly as long as asked, so that the sanitizer sees every step beyond them.
class Blob {
  public:
    Blob() = default;
    explicit Blob(const std::string& bytes) { assign(bytes.data(), bytes.size()); }
    Blob(const Blob& other) { assign(other.data_, other.size_); }
    Blob(Blob&& other) noexcept : data_(other.data_), size_(other.size_) {
        other.data_ = nullptr;
        other.size_ = 0;
    }
    Blob& operator=(const Blob&) = delete;
    ~Blob() { std::free(data_); }
    std::span<const u8> span() const { return {data_, size_}; }
    u8* data() { return data_; }
    std::size_t size() const { return size_; }

  private:
    void assign(const void* bytes, std::size_t size) {
        data_ = static_cast<u8*>(std::malloc(size == 0 ? 1 : size)); // malloc aligns to 16 bytes
        size_ = size;
        std::memcpy(data_, bytes, size);
    }
    u8* data_ = nullptr;
    std::size_t size_ = 0;
};

inline std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// A scratch directory of this process, removed at exit.
inline const std::string& scratch() {
    struct Directory {
        std::string path;
        Directory() {
            char name[] = "/tmp/atoll-test-XXXXXX";
            path = mkdtemp(name);
        }
        ~Directory() { std::system(("rm -rf " + path).c_str()) == 0 ? void() : void(); }
    };
    static const Directory directory;
    return directory.path;
}

inline void write_file(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

/// Compiles a .dts file; an empty blob when dtc refuses it.
inline Blob compile_file(const std::string& path) {
    const std::string out = scratch() + "/tree.dtb";
    const std::string command =
        "dtc -f -q -I dts -O dtb -i " + scratch() + " -o " + out + " " + path + " 2>/dev/null";
    return std::system(command.c_str()) == 0 ? Blob(read_file(out)) : Blob(std::string());
}

/// Compiles the text of a tree; "/dts-v1/;" is put in front.
inline Blob compile(const std::string& text) {
    const std::string path = scratch() + "/tree.dts";
    write_file(path, "/dts-v1/;\n" + text);
    return compile_file(path);
}

/// Collects what Diagnostics reports.
struct Sentences {
    std::vector<std::string> all;
    boot::Diagnostics sink{this, [](void* context, boot::Severity severity, std::string_view text) {
                               const char* const tag = severity == boot::Severity::refusal   ? "refusal: "
                                                       : severity == boot::Severity::warning ? "warning: "
                                                                                             : "note: ";
                               static_cast<Sentences*>(context)->all.push_back(tag + std::string(text));
                           }};
    bool has(const std::string& part) const {
        for (const std::string& sentence : all) {
            if (sentence.find(part) != std::string::npos) {
                return true;
            }
        }
        return false;
    }
    /// One sentence with both parts, in this order.
    bool has(const std::string& first, const std::string& second) const {
        for (const std::string& sentence : all) {
            const auto at = sentence.find(first);
            if (at != std::string::npos && sentence.find(second, at) != std::string::npos) {
                return true;
            }
        }
        return false;
    }
    std::string text() const {
        std::string result;
        for (const std::string& sentence : all) {
            result += sentence + "\n";
        }
        return result;
    }
};

} // namespace atl::test
