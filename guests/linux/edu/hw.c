// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device's registers and its interrupt: QEMU, docs/specs/edu.rst. Knows one transfer, no descriptors. Below 0x80
 * registers are accessed with 4 bytes, the DMA registers with 8. The device does not check what it is told, cannot
 * stop a transfer, and does not say whether one reached memory.
 */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "edu.h"

#ifndef CONFIG_64BIT
#error "the DMA registers want one access of 8 bytes"
#endif

#define REG_ID 0x00          /* 0xMMmm00ed: major, minor version */
#define REG_LIVE 0x04        /* reads as the complement of what was written */
#define REG_FACTORIAL 0x08
#define REG_STATUS 0x20
#define STATUS_COMPUTING 0x01
#define STATUS_IRQ_FACTORIAL 0x80
#define REG_IRQ_STATUS 0x24
#define REG_IRQ_ACK 0x64
#define IRQ_FACTORIAL 0x001
#define IRQ_DMA 0x100
#define REG_DMA_SRC 0x80
#define REG_DMA_DST 0x88
#define REG_DMA_COUNT 0x90
#define REG_DMA_CMD 0x98
#define CMD_RUN 0x1
#define CMD_TO_MEMORY 0x2
#define CMD_IRQ 0x4

/* What a read gives when nothing answers: the device was pulled, or its memory decoding is off. */
#define ALL_ONES 0xffffffffu

#define REGS_BYTES 0xa0
#define MAX_FACTORIAL 12 /* 13! does not fit into 32 bits */

/* What an earlier owner may have left: a transfer that runs, an interrupt that is asserted. */
int edu_hw_init(struct edu *edu)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(1000);

	if (pci_resource_len(edu->pdev, 0) < REGS_BYTES)
		return -ENODEV;
	edu->id = readl(edu->regs + REG_ID);
	if (edu->id == ALL_ONES || (edu->id & 0xffff) != 0xed) {
		dev_err(edu->dev, "identification %#x is not an edu device's\n", edu->id);
		return -ENODEV;
	}
	while (edu_hw_state(edu) == EDU_HW_RUNNING) {
		if (time_after(jiffies, deadline)) {
			dev_err(edu->dev, "a transfer of somebody else runs and does not end\n");
			return -EBUSY;
		}
		msleep(10);
	}
	writel(0, edu->regs + REG_STATUS);
	writel(readl(edu->regs + REG_IRQ_STATUS), edu->regs + REG_IRQ_ACK);
	return 0;
}

static bool in_buffer(u64 address, size_t bytes)
{
	u64 offset = address - EDU_BUFFER_ADDRESS; /* below the buffer it wraps to something large */

	return offset < EDU_BUFFER_BYTES && bytes <= EDU_BUFFER_BYTES - offset;
}

bool edu_hw_start(struct edu *edu, bool to_memory, u64 src, u64 dst, size_t bytes)
{
	/* The last look before hardware that would overrun its buffer without a word. */
	if (WARN_ON_ONCE(!bytes || !in_buffer(to_memory ? src : dst, bytes)))
		return false;
	dev_dbg(edu->dev, "%#llx -> %#llx, %zu bytes\n", src, dst, bytes);
	writeq(src, edu->regs + REG_DMA_SRC);
	writeq(dst, edu->regs + REG_DMA_DST);
	writeq(bytes, edu->regs + REG_DMA_COUNT);
	/* writeq() orders the CPU's earlier writes to memory, which the device is about to read, before this one. */
	writeq(CMD_RUN | CMD_IRQ | (to_memory ? CMD_TO_MEMORY : 0), edu->regs + REG_DMA_CMD);
	return true;
}

/* The read also orders: once it has returned "idle", what the device wrote to memory is there to be read. */
enum edu_hw_state edu_hw_state(struct edu *edu)
{
	u64 command = readq(edu->regs + REG_DMA_CMD);

	if (command == ~0ull || (u32)command == ALL_ONES)
		return EDU_HW_GONE;
	return command & CMD_RUN ? EDU_HW_RUNNING : EDU_HW_IDLE;
}

/*
 * The line may be shared, so first: is it ours? Then acknowledge exactly what was seen: a cause that comes between the
 * read and the write raises the interrupt again. Messages need the acknowledgement too. Only then act on the causes,
 * so that what ends while we act is a new interrupt.
 */
irqreturn_t edu_hw_interrupt(int irq, void *data)
{
	struct edu *edu = data;
	u32 causes = readl(edu->regs + REG_IRQ_STATUS);

	if (!causes || causes == ALL_ONES)
		return IRQ_NONE;
	writel(causes, edu->regs + REG_IRQ_ACK);
	if (!edu->msi)
		readl(edu->regs + REG_IRQ_STATUS); /* the write has arrived, the line is low, before we return */
	if (causes & IRQ_FACTORIAL)
		complete(&edu->factorial);
	edu_engine_interrupt(edu, causes & IRQ_DMA);
	return IRQ_HANDLED;
}

int edu_hw_live(struct edu *edu, u32 in, u32 *out)
{
	mutex_lock(&edu->value_lock);
	writel(in, edu->regs + REG_LIVE);
	*out = readl(edu->regs + REG_LIVE);
	mutex_unlock(&edu->value_lock);
	return 0;
}

int edu_hw_factorial(struct edu *edu, u32 in, u32 *out)
{
	unsigned long left = msecs_to_jiffies(1000);
	u32 status;
	int ret = 0;

	if (in > MAX_FACTORIAL)
		return -ERANGE;
	mutex_lock(&edu->value_lock);
	status = readl(edu->regs + REG_STATUS);
	if (status & STATUS_COMPUTING) {
		ret = status == ALL_ONES ? -EIO : -EBUSY; /* gone; or an earlier one never ended */
		goto out;
	}
	reinit_completion(&edu->factorial);
	writel(STATUS_IRQ_FACTORIAL, edu->regs + REG_STATUS);
	writel(in, edu->regs + REG_FACTORIAL);
	/* The interrupt is a hint, it may be that of an earlier one; the status register is the fact. */
	do {
		left = wait_for_completion_timeout(&edu->factorial, left);
		status = readl(edu->regs + REG_STATUS);
	} while (left && status & STATUS_COMPUTING);
	if (status & STATUS_COMPUTING)
		ret = -EIO; /* so is a device that is gone */
	else
		*out = readl(edu->regs + REG_FACTORIAL);
out:
	mutex_unlock(&edu->value_lock);
	return ret;
}
