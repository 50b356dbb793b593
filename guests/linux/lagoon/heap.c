// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/dma_heap/lagoon: allocates dma-bufs through the kernel's dma-heap user interface, which Debian's kernels are
 * built without (dma_heap_add is not there to call). Zeroed pages, the largest pieces first, so that few runs must be
 * described to the hypervisor and it can map blocks. Needs no hypervisor.
 */
#include <linux/dma-heap.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <uapi/linux/dma-heap.h>

#include "compat.h"
#include "lagoon.h"

#define HEAP_MAX_BYTES (1ull << 30)

static bool heap_scatter;
module_param(heap_scatter, bool, 0644);
MODULE_PARM_DESC(heap_scatter, "for tests: make new heap buffers of single pages, none beside another, in random order");

/* 2 MiB blocks, then what fragmentation leaves; the larger ones are tried without hard work. */
static const unsigned int orders[] = { 9, 8, 4, 0 };

static void heap_free_pages(struct lagoon_buf *buf)
{
	unsigned long i;

	for (i = 0; i < buf->page_count && buf->pages[i]; i++)
		__free_page(buf->pages[i]);
}

static struct page *alloc_piece(unsigned long remaining, unsigned int *first, unsigned int *order)
{
	unsigned int i;

	for (i = *first; i < ARRAY_SIZE(orders); i++) {
		gfp_t gfp = GFP_HIGHUSER | __GFP_ZERO;
		struct page *page;

		if (remaining < 1ul << orders[i])
			continue;
		if (orders[i])
			gfp = (gfp | __GFP_NOWARN | __GFP_NORETRY) & ~__GFP_DIRECT_RECLAIM;
		page = alloc_pages(gfp, orders[i]);
		if (!page)
			continue;
		/* Pages of their own, each with its count: they are mapped, pinned and freed one by one. */
		if (orders[i])
			split_page(page, orders[i]);
		*first = i; /* a size that was refused once is not tried again */
		*order = orders[i];
		return page;
	}
	return NULL;
}

/* Pages with even numbers only: whatever their order, no two of them ever form a longer run. */
static struct page *alloc_scattered(void)
{
	struct page *page = alloc_pages(GFP_HIGHUSER | __GFP_ZERO, 1);

	if (!page)
		return NULL;
	split_page(page, 1);
	__free_page(page + 1);
	return page;
}

static void shuffle(struct page **pages, unsigned long count)
{
	unsigned long i;

	for (i = count; i > 1; i--) {
		unsigned long other = get_random_u32_below(i); /* swap() evaluates its arguments twice */

		swap(pages[i - 1], pages[other]);
	}
}

static struct lagoon_buf *heap_buf(unsigned long page_count)
{
	struct lagoon_buf *buf = lagoon_buf_new(page_count, false);
	unsigned long done = 0, i;
	unsigned int first = 0, order = 0;
	bool scatter = READ_ONCE(heap_scatter);

	if (!buf)
		return ERR_PTR(-ENOMEM);
	buf->free_pages = heap_free_pages;
	while (done < page_count) {
		struct page *page = NULL;

		if (!fatal_signal_pending(current))
			page = scatter ? alloc_scattered() : alloc_piece(page_count - done, &first, &order);
		if (!page) {
			lagoon_buf_put(buf);
			return ERR_PTR(fatal_signal_pending(current) ? -EINTR : -ENOMEM);
		}
		for (i = 0; i < 1ul << order; i++)
			buf->pages[done++] = page + i;
	}
	if (scatter)
		shuffle(buf->pages, page_count);
	return buf;
}

static int heap_alloc(struct dma_heap_allocation_data *data)
{
	struct lagoon_buf *buf;
	struct dma_buf *dmabuf;
	u64 bytes = data->len;
	int fd;

	if (data->fd || data->fd_flags & ~DMA_HEAP_VALID_FD_FLAGS || data->heap_flags & ~DMA_HEAP_VALID_HEAP_FLAGS)
		return -EINVAL;
	if (!bytes)
		return -EINVAL;
	if (bytes > HEAP_MAX_BYTES || PAGE_ALIGN(bytes) >> PAGE_SHIFT > totalram_pages() / 2)
		return -ENOMEM;
	buf = heap_buf(PAGE_ALIGN(bytes) >> PAGE_SHIFT);
	if (IS_ERR(buf))
		return PTR_ERR(buf);
	dmabuf = lagoon_buf_export(buf, "lagoon-heap", data->fd_flags);
	if (IS_ERR(dmabuf)) {
		lagoon_buf_put(buf);
		return PTR_ERR(dmabuf);
	}
	fd = dma_buf_fd(dmabuf, data->fd_flags);
	if (fd < 0) {
		dma_buf_put(dmabuf);
		return fd;
	}
	data->fd = fd;
	return 0;
}

static long heap_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct dma_heap_allocation_data data;
	int ret;

	if (cmd != DMA_HEAP_IOCTL_ALLOC)
		return -ENOTTY;
	if (copy_from_user(&data, (void __user *)arg, sizeof(data)))
		return -EFAULT;
	ret = heap_alloc(&data);
	/* As in the kernel's own heaps: if the copy fails, the descriptor is open and stays the process's. */
	if (!ret && copy_to_user((void __user *)arg, &data, sizeof(data)))
		return -EFAULT;
	return ret;
}

static const struct file_operations heap_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = heap_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice heap_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "lagoon_heap",
	.nodename = "dma_heap/lagoon",
	.mode = 0600,
	.fops = &heap_fops,
};

int lagoon_heap_init(void)
{
	return misc_register(&heap_device);
}

void lagoon_heap_exit(void)
{
	misc_deregister(&heap_device);
}
