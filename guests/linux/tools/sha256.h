/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 [FIPS 180-4] of one piece of memory. */
#ifndef LAGOON_TOOL_SHA256_H
#define LAGOON_TOOL_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define SHA256_HEX_BYTES (2 * SHA256_BYTES + 1)

void sha256(const volatile void *data, size_t bytes, uint8_t digest[SHA256_BYTES]);
void sha256_hex(const uint8_t digest[SHA256_BYTES], char text[SHA256_HEX_BYTES]);

#endif
