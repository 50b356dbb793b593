# SPDX-License-Identifier: Apache-2.0
# gdb for `make debug`: connects to the waiting QEMU and stops at the first C++ instruction of EL2.
set architecture aarch64
set confirm off
target remote 127.0.0.1:1234

define exits
  # exits CPU: the last 16 exits of a pCPU, newest first
  set $cpu = ('atl::el2::World' *) &'atl::boot::(anonymous namespace)::world_storage'
  set $p = $cpu->pcpus[$arg0]
  set $i = 1
  while $i <= 16 && $i <= $p->history_next
    set $e = &$p->history[($p->history_next - $i) % 64]
    printf "pc %#lx esr %#lx\n", $e->pc, $e->esr
    set $i = $i + 1
  end
end
document exits
exits CPU: the last 16 exits of a pCPU, newest first.
end

define vcpus
  # vcpus: every vCPU with its state and program counter when not loaded
  set $w = ('atl::el2::World' *) &'atl::boot::(anonymous namespace)::world_storage'
  set $v = 1
  while $v <= $w->vm_slots
    if $w->vms[$v]
      set $n = 0
      while $n < $w->vms[$v]->vcpu_count
        printf "vm %d vcpu %d state %d pc %#lx\n", $v, $n, $w->vms[$v]->vcpus[$n]->state, $w->vms[$v]->vcpus[$n]->pc
        set $n = $n + 1
      end
    end
    set $v = $v + 1
  end
end
document vcpus
vcpus: every vCPU with its scheduler state (0 off, 1 ready, 2 running, 3 parked) and saved program counter.
end

hbreak boot_primary
continue
