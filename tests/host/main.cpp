// SPDX-License-Identifier: Apache-2.0
// The main of the host tests, alone in its object: doctest's implementation is slow to compile.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
