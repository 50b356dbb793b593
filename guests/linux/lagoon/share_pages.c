// SPDX-License-Identifier: GPL-2.0-only
/*
 * The pages behind a share: holding a dma-buf as an importer does (reference, attachment, mapping), finding the
 * contiguous runs that its pages form, and describing them to the hypervisor. No lists, no states, no lock: a share is
 * not listed yet when this runs, or no longer.
 */
#include <linux/dma-mapping.h>
#include <linux/memremap.h>
#include <linux/slab.h>

#include "lagoon.h"

static_assert(PAGE_SIZE == FFA_PAGE, "the driver is written for 4 KiB pages");

/* System memory that is ours to lend: has struct pages, is no device's and not borrowed itself. */
static bool may_lend(struct lagoon *lg, struct scatterlist *sg)
{
	struct page *page = sg_page(sg);
	u64 pa;

	if (!page || sg->offset || sg->length % FFA_PAGE)
		return false;
	pa = page_to_phys(page);
	return pfn_valid(page_to_pfn(page)) && !is_zone_device_page(page) &&
	       (pa >= lg->window_base + lg->window_bytes || pa + sg->length <= lg->window_base);
}

/* Merges the table into contiguous runs; with runs NULL only counts them. Negative: not memory that can be lent. */
static int collect_runs(struct lagoon *lg, struct sg_table *sgt, struct ffa_mem_region_addr_range *runs, u32 *pages)
{
	struct scatterlist *sg;
	u64 next = 0;
	int i, n = 0;

	*pages = 0;
	for_each_sgtable_sg(sgt, sg, i) {
		u64 pa;

		if (!may_lend(lg, sg))
			return -EINVAL;
		pa = page_to_phys(sg_page(sg));
		if (!n || pa != next) {
			if (runs)
				runs[n] = (struct ffa_mem_region_addr_range){ .address = pa };
			n++;
		}
		if (runs)
			runs[n - 1].pg_cnt += sg->length / FFA_PAGE;
		next = pa + sg->length;
		*pages += sg->length / FFA_PAGE;
	}
	return n ? n : -EINVAL;
}

int lagoon_share_describe(struct lagoon_share *s)
{
	struct lagoon_ffa_receiver to[LAGOON_MAX_BORROWERS];
	struct ffa_mem_region_addr_range *runs;
	int n, ret;
	u32 i;

	n = collect_runs(s->lg, s->sgt, NULL, &s->pages);
	if (n < 0)
		return n;
	if ((u64)s->pages * FFA_PAGE > LAGOON_MAX_SHARE_BYTES)
		return -E2BIG;
	runs = kvcalloc(n, sizeof(*runs), GFP_KERNEL);
	if (!runs)
		return -ENOMEM;
	collect_runs(s->lg, s->sgt, runs, &s->pages);
	s->runs = n;
	s->bytes = (u64)s->pages * FFA_PAGE;
	for (i = 0; i < s->loan_count; i++)
		to[i] = (struct lagoon_ffa_receiver){ .id = s->loans[i].peer, .ro = s->loans[i].ro };
	ret = lagoon_ffa_share(&s->lg->ffa, to, s->loan_count, s->tag, runs, n, s->pages, &s->handle);
	kvfree(runs);
	return ret;
}

static enum dma_data_direction direction(const struct lagoon_share *s)
{
	return lagoon_share_read_only(s) ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL;
}

int lagoon_share_get_pages(struct lagoon_share *s, int fd)
{
	int ret;

	s->dmabuf = dma_buf_get(fd);
	if (IS_ERR(s->dmabuf)) {
		ret = PTR_ERR(s->dmabuf);
		s->dmabuf = NULL;
		return ret;
	}
	if (s->dmabuf->size > LAGOON_MAX_SHARE_BYTES)
		return -E2BIG;
	s->attach = dma_buf_attach(s->dmabuf, s->lg->dev);
	if (IS_ERR(s->attach)) {
		ret = PTR_ERR(s->attach);
		s->attach = NULL;
		return ret;
	}
	s->sgt = dma_buf_map_attachment_unlocked(s->attach, direction(s));
	if (IS_ERR_OR_NULL(s->sgt)) {
		ret = s->sgt ? PTR_ERR(s->sgt) : -ENOMEM;
		s->sgt = NULL;
		return ret;
	}
	return 0;
}

void lagoon_share_put_pages(struct lagoon_share *s)
{
	if (s->sgt)
		dma_buf_unmap_attachment_unlocked(s->attach, s->sgt, direction(s));
	if (s->attach)
		dma_buf_detach(s->dmabuf, s->attach);
	if (s->dmabuf)
		dma_buf_put(s->dmabuf);
	s->sgt = NULL;
	s->attach = NULL;
	s->dmabuf = NULL;
}
