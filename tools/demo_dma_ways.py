# SPDX-License-Identifier: Apache-2.0
"""The comparison of `make demo-dma`: four ways to bring a disk's bytes to a network card, each counted.

Two runs side by side: two guests (a ring between private copies; the shared buffer), and one guest with both devices
(mmap and write; sendfile). tools/elcount counts instructions, exits and what each instruction stores; the guests print
where their kernel's copy routines are. Owns: the runs and the table. Does not own: the story (demo_dma.py).
"""
import re
import threading

import pexpect

WAYS = (("ring", "a", "read, ring, write: private copies in two guests"), ("mmap", "b", "mmap, write: one guest"),
        ("sendfile", "c", "sendfile: one guest"), ("buffer", "d", "shared buffer: two guests"))
RUNS = {"demo-dma-ways": ("ring", "buffer"), "demo-dma-one": ("mmap", "sendfile")}
SECONDS = 400
USER_COPIES = ("__arch_copy_from_user", "__arch_copy_to_user")
EXPLAINED = """\
How each figure was obtained, over both guests, from the first read of the disk to the peer's answer:
  user/kernel  bytes stored by the kernels' copy_from_user and copy_to_user; counted at each store by a QEMU plugin
  user         all bytes stored by programs (EL0): copies between private memory and the ring; the same plugin
  memcpy       bytes stored by the kernels' memcpy and memmove: packet headers, acknowledgements, messages; the same plugin
  all stores   bytes stored by every instruction of every level; the same plugin (an upper bound of what can be a copy)
  switches     context switches: /proc/stat, ctxt, before and after, in each guest
  exits        entries of EL2 from a lower level; the same plugin
  M instr.     millions of instructions of all levels, and of these at EL2; the same plugin
(a) stands for sockets: there is no network between VMs, so the bytes go through a shared ring of 64 KiB, which a program
copies into and another out of, with a doorbell for each 32 KiB."""


def run(name, start, path, result):
    """Boots one comparison; result[name] becomes its console, or what went wrong."""
    out = f"build/{name}.elcount"
    console = ""
    child = start(name, path, ("-accel", "tcg,thread=single", "-plugin", f"build/libelcount.so,stores=on,out={out}"))
    try:
        guests = 2 if name == "demo-dma-ways" else 1
        with open(f"build/{name}.log", "w", encoding="utf-8", errors="replace") as log:
            child.logfile_read = log
            for _ in range(guests):
                which = child.expect([r"demo: \w+: PASS", r"demo: \w+: FAIL", pexpect.TIMEOUT, pexpect.EOF], timeout=SECONDS)
                console += child.before + (child.after if which < 2 else "")
                if which:
                    result[name] = f"{name}: a guest did not reach its end, see build/{name}.log"
                    return
        result[name] = (console.replace("\r", ""), out)
    except (pexpect.ExceptionPexpect, OSError) as error:
        result[name] = f"{name}: {str(error).splitlines()[0]}"
    finally:
        child.close(force=True)


def windows(path):
    """[(figures, {(level, address): bytes})], one for each pair of marks."""
    begin, stores, found = None, {}, []
    with open(path, encoding="utf-8") as file:
        for words in map(str.split, file):
            if words[0] == "store":
                place = (words[1], int(words[2], 16))
                stores[place] = stores.get(place, 0) + int(words[3])
                continue
            figures = dict((key, int(value)) for key, value in (word.split("=") for word in words[2:]))
            if words[1] == "mark-0x61":
                begin = figures
            elif words[1] == "mark-0x62" and begin is not None:
                found.append(({key: value - begin.get(key, 0) for key, value in figures.items()}, stores))
                begin = None
            stores = {}
    return found


def row(figures, stores, routines, switches):
    """The table's figures of one way."""
    def stored(*names):
        return sum(count for (level, address), count in stores.items() if level == "el1"
                   for name in names if routines[name][0] <= address < routines[name][1])
    memcpy = [name for name in routines if name not in USER_COPIES]
    return {"copies": stored(*USER_COPIES), "user": sum(n for (level, _), n in stores.items() if level == "el0"),
            "memcpy": stored(*memcpy), "stores": sum(stores.values()), "switches": switches, "exits": figures["exits"],
            "instructions": figures["el0"] + figures["el1"] + figures["el2"], "el2": figures["el2"]}


def evaluate(name, console, out, wanted, size):
    """({way: row}, None), or (None, what is wrong)."""
    answers = re.findall(r"answers: (\d+) bytes, SHA-256 (\w+)", console)
    if answers != [(str(size), wanted)] * 2:
        return None, f"{name}: the peer received {answers}"
    routines = {m[0]: (int(m[1], 16), int(m[2], 16)) for m in re.findall(r"demo: symbol (\w+) (\w+) (\w+)", console)}
    if not set(USER_COPIES) < set(routines):
        return None, f"{name}: the guest's kernel does not show where its copy routines are"
    found = windows(out)
    if len(found) != 2:
        return None, f"{name}: {len(found)} pairs of marks instead of 2"
    rows = {}
    for way, (figures, stores) in zip(RUNS[name], found):
        switches = re.findall(rf"counts {way}: .*context switches (\d+) in this VM", console)
        rows[way] = row(figures, stores, routines, sum(map(int, switches)))
    return rows, None


def show(rows, size):
    head = "{:53} {:>11} {:>11} {:>10} {:>12} {:>8} {:>7} {:>8} {:>6}"
    print(f"\nFour ways for the {size >> 20} MiB ({size} bytes), as counted:")
    print(head.format("", "user/kernel", "user", "memcpy", "all stores", "switches", "exits", "M instr.", "EL2"))
    for way, letter, what in WAYS:
        r = rows[way]
        print(head.format(f"({letter}) {what}", r["copies"], r["user"], r["memcpy"], r["stores"], r["switches"], r["exits"],
                          f"{r['instructions'] / 1e6:.1f}", f"{r['el2'] / 1e6:.1f}"))
    print(EXPLAINED, flush=True)


def compare(start, path, wanted, size):
    """Runs and shows all; what went wrong, or None."""
    result = {}
    threads = [threading.Thread(target=run, args=(name, start, path, result)) for name in RUNS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = {}
    for name in RUNS:
        if not isinstance(result.get(name), tuple):
            return result.get(name, f"{name}: did not run")
        part, problem = evaluate(name, *result[name], wanted, size)
        if problem:
            return problem
        rows.update(part)
    show(rows, size)
    # That mmap and write copies once shows that the counting works; the shared buffer must not come near that.
    if rows["mmap"]["copies"] < size:
        return f"the counting of copies missed some: {rows['mmap']['copies']} bytes by mmap and write"
    if rows["buffer"]["copies"] + rows["buffer"]["user"] > size // 64:
        return "CPUs have copied through the shared buffer"
    return None
