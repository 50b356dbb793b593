// SPDX-License-Identifier: Apache-2.0
// The C library functions that the compiler and libfdt call [ISO C 7.24]. On the host they carry another
// name, so that the tests exercise them beside the C library's own.
#pragma once
#include <cstddef>

#ifdef ATOLL_HOST
#define ATOLL_CRT(name) atl_crt_##name
#else
#define ATOLL_CRT(name) name
#endif

extern "C" {
void* ATOLL_CRT(memcpy)(void* to, const void* from, std::size_t n);
void* ATOLL_CRT(memmove)(void* to, const void* from, std::size_t n);
void* ATOLL_CRT(memset)(void* to, int value, std::size_t n);
int ATOLL_CRT(memcmp)(const void* a, const void* b, std::size_t n);
void* ATOLL_CRT(memchr)(const void* s, int c, std::size_t n);
std::size_t ATOLL_CRT(strlen)(const char* s);
std::size_t ATOLL_CRT(strnlen)(const char* s, std::size_t n);
char* ATOLL_CRT(strchr)(const char* s, int c);
char* ATOLL_CRT(strrchr)(const char* s, int c);
unsigned long ATOLL_CRT(strtoul)(const char* s, char** end, int base);
}
