/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A QEMU TCG plugin: counts executed instructions per exception level and the exits from a guest by cause.
 * Owns: the counting. Does not own: what the figures mean (tests/bench/run.py).
 *
 *   build: gcc -O2 -fPIC -shared -o libelcount.so elcount.c
 *   use:   qemu-system-aarch64 -icount shift=0,sleep=off -plugin ./libelcount.so,out=FILE[,stores=on] ...
 *
 * A line is written to FILE (default: stderr) when EL2 enters EL1 for the first time, at each `hint #0x60` to
 * `hint #0x7f` (a NOP on every machine), and at the end:
 *   elcount EVENT el0=N el1=N el2=N el3=N exits=N cause:NAME=N ...
 * With stores=on, before the line of a mark, for each instruction that wrote to memory since the mark before:
 *   store elN ADDRESS BYTES
 *
 * The exception level is part of the state that QEMU translates for, so it is read once per translation. Every
 * instruction has a plain callback, because the inline per-vCPU counters of QEMU 10.0 crash with several CPUs under
 * -icount. One TCG thread is assumed (-icount, or -accel tcg,thread=single).
 *
 * Debian ships no qemu-plugin.h: the few declarations that are needed stand here [QEMU docs/devel/tcg-plugins].
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;
typedef struct {
    uint8_t *data;
    unsigned len;
} byte_array; /* GByteArray */
typedef struct {
    char *data;
    unsigned len;
} any_array; /* GArray */
typedef struct {
    struct qemu_plugin_register *handle;
    const char *name;
    const char *feature;
} register_descriptor;
enum { callback_reads_no_registers = 0, callback_reads_registers = 1 };
typedef void (*exec_callback)(unsigned cpu, void *data);

extern any_array *qemu_plugin_get_registers(void);
extern int qemu_plugin_read_register(struct qemu_plugin_register *handle, byte_array *buffer);
extern byte_array *g_byte_array_new(void);
extern byte_array *g_byte_array_set_size(byte_array *array, unsigned length);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*callback)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_atexit_cb(plugin_id id, void (*callback)(plugin_id, void *), void *data);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, exec_callback callback, int flags,
                                                   void *data);
typedef void (*memory_callback)(unsigned cpu, uint32_t info, uint64_t address, void *data);
enum { memory_writes = 2 };
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, memory_callback callback, int flags,
                                             int accesses, void *data);
extern unsigned qemu_plugin_mem_size_shift(uint32_t info);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t length);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
__attribute__((visibility("default"))) int qemu_plugin_version = 4;

enum { max_cpus = 64, levels = 4, exception_classes = 64 };

static uint64_t executed[levels];
/* stores=on: bytes written to memory by each translated instruction since the last mark. */
struct site {
    struct site *next;
    uint64_t address;
    uint64_t bytes;
    unsigned level;
};
static bool count_stores;
static struct site *sites;
static uint64_t exits;
static uint64_t irq_exits;
static uint64_t other_exits;
static uint64_t class_exits[exception_classes]; /* by ESR_EL2.EC */
static unsigned last_level[max_cpus];
static bool guest_entered;
static FILE *out;
static struct qemu_plugin_register *cpsr, *esr_el2;

/* ESR_EL2.EC [DDI0487 D19.2.38]. */
static const char *class_name(unsigned ec)
{
    switch (ec) {
    case 0x00: return "unknown";
    case 0x01: return "wfx";
    case 0x07: return "fp";
    case 0x16: return "hvc";
    case 0x17: return "smc";
    case 0x18: return "sysreg";
    case 0x19: return "sve";
    case 0x20: return "inst-abort";
    case 0x24: return "data-abort";
    case 0x30: return "breakpoint";
    case 0x32: return "step";
    case 0x34: return "watchpoint";
    default: return NULL;
    }
}

static void report(const char *event)
{
    fprintf(out, "elcount %s el0=%lu el1=%lu el2=%lu el3=%lu exits=%lu", event, executed[0], executed[1], executed[2],
            executed[3], exits);
    if (irq_exits != 0) {
        fprintf(out, " cause:irq=%lu", irq_exits);
    }
    if (other_exits != 0) {
        fprintf(out, " cause:other=%lu", other_exits);
    }
    for (unsigned ec = 0; ec < exception_classes; ec++) {
        if (class_exits[ec] == 0) {
            continue;
        }
        if (class_name(ec) != NULL) {
            fprintf(out, " cause:%s=%lu", class_name(ec), class_exits[ec]);
        } else {
            fprintf(out, " cause:ec-0x%02x=%lu", ec, class_exits[ec]);
        }
    }
    fputc('\n', out);
    fflush(out);
}

static struct qemu_plugin_register *find_register(const char *name)
{
    any_array *all = qemu_plugin_get_registers();
    for (unsigned i = 0; i < all->len; i++) {
        register_descriptor *descriptor = &((register_descriptor *)all->data)[i];
        if (strcmp(descriptor->name, name) == 0) {
            return descriptor->handle;
        }
    }
    return NULL;
}

static uint64_t read_register(struct qemu_plugin_register *handle)
{
    static byte_array *buffer;
    if (buffer == NULL) {
        buffer = g_byte_array_new();
    }
    g_byte_array_set_size(buffer, 0);
    int length = handle == NULL ? 0 : qemu_plugin_read_register(handle, buffer);
    uint64_t value = 0;
    if (length > 0) {
        memcpy(&value, buffer->data, length < 8 ? (size_t)length : 8);
    }
    return value;
}

static unsigned current_level(void)
{
    if (cpsr == NULL) {
        cpsr = find_register("cpsr");
        esr_el2 = find_register("ESR_EL2");
        if (cpsr == NULL) {
            fprintf(stderr, "elcount: this QEMU does not show CPSR to plugins\n");
            exit(1);
        }
    }
    return (read_register(cpsr) >> 2) & 3;
}

/* The level is packed with the vector's offset: bits 1:0 level, bits 63:2 the address divided by 4. */
static void on_instruction(unsigned cpu, void *data)
{
    unsigned level = (uintptr_t)data & 3;
    unsigned before = last_level[cpu % max_cpus];
    if (__builtin_expect(before != level, 0)) {
        last_level[cpu % max_cpus] = level;
        if (level == 1 && before == 2 && !guest_entered) {
            guest_entered = true;
            report("guest-entry");
        }
    }
    executed[level]++;
}

/* The same for the first instructions of EL2's vectors for a lower level. */
static void on_vector(unsigned cpu, void *data)
{
    unsigned before = last_level[cpu % max_cpus];
    if (before < 2) {
        unsigned offset = ((uintptr_t)data & ~(uintptr_t)3) & 0x780;
        exits++;
        if (offset == 0x400) { /* synchronous, lower level, AArch64 [DDI0487 D1.3.1.5] */
            class_exits[(read_register(esr_el2) >> 26) & 0x3f]++;
        } else if (offset == 0x480) {
            irq_exits++;
        } else {
            other_exits++;
        }
    }
    on_instruction(cpu, data);
}

static void on_store(unsigned cpu, uint32_t info, uint64_t address, void *data)
{
    (void)cpu;
    (void)address;
    ((struct site *)data)->bytes += 1u << qemu_plugin_mem_size_shift(info);
}

static struct site *new_site(uint64_t address, unsigned level)
{
    struct site *site = calloc(1, sizeof(*site));
    if (site == NULL) {
        abort();
    }
    site->next = sites;
    site->address = address;
    site->level = level;
    sites = site;
    return site;
}

/* An instruction may stand in several lines: it was translated several times. */
static void report_stores(void)
{
    for (struct site *site = sites; site != NULL; site = site->next) {
        if (site->bytes != 0) {
            fprintf(out, "store el%u %lx %lu\n", site->level, (unsigned long)site->address, site->bytes);
            site->bytes = 0;
        }
    }
}

static void on_mark(unsigned cpu, void *data)
{
    char event[32];
    (void)cpu;
    snprintf(event, sizeof(event), "mark-0x%02lx", (unsigned long)(uintptr_t)data);
    report_stores();
    report(event);
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
    (void)id;
    unsigned level = current_level();
    size_t count = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        uint32_t word = 0;
        qemu_plugin_insn_data(insn, &word, sizeof(word));
        /* Only an instruction at a vector's start can be the first of an exit. */
        bool vector = level == 2 && (address & 0x7f) == 0 && (address & 0x780) >= 0x400;
        void *data = (void *)(uintptr_t)((address & 0x780) | level);
        qemu_plugin_register_vcpu_insn_exec_cb(insn, vector ? on_vector : on_instruction,
                                               vector ? callback_reads_registers : callback_reads_no_registers, data);
        if (count_stores) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_store, callback_reads_no_registers, memory_writes,
                                             new_site(address, level));
        }
        unsigned hint = (word >> 5) & 0x7f;
        if ((word & 0xfffff01f) == 0xd503201f && hint >= 0x60) {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, callback_reads_no_registers, (void *)(uintptr_t)hint);
        }
    }
}

static void at_exit(plugin_id id, void *data)
{
    (void)id;
    (void)data;
    report("end");
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    out = stderr;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "stores=on") == 0) {
            count_stores = true;
        } else if (strncmp(argv[i], "out=", 4) == 0) {
            out = fopen(argv[i] + 4, "w");
            if (out == NULL) {
                perror(argv[i] + 4);
                return -1;
            }
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, at_exit, NULL);
    return 0;
}
