// SPDX-License-Identifier: GPL-2.0-only
/*
 * Importing a dma-buf for one device, and walking what it is made of.
 *
 * An attachment says which device will access the buffer, a mapping with which addresses and in which direction; the
 * exporter sees to cache maintenance and IOMMU at map and unmap, so a buffer is mapped for exactly as long as a job
 * runs. Accesses of the CPU are the user's to bracket, with DMA_BUF_IOCTL_SYNC.
 */
#include <linux/dma-buf.h>
#include <linux/fs.h>
#include <linux/scatterlist.h>

#include "edu.h"

int edu_import(struct edu_import *imp, struct device *dev, int fd, u64 offset, u64 bytes,
	       enum dma_data_direction dir)
{
	fmode_t needed = dir == DMA_TO_DEVICE ? FMODE_READ : FMODE_WRITE;
	struct dma_buf *dmabuf = dma_buf_get(fd);
	int ret = 0;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (bytes > dmabuf->size || offset > dmabuf->size - bytes)
		ret = -EINVAL;
	else if (!(dmabuf->file->f_mode & needed))
		ret = -EACCES;
	if (ret)
		goto fail;
	imp->attach = dma_buf_attach(dmabuf, dev);
	if (IS_ERR(imp->attach)) {
		ret = PTR_ERR(imp->attach);
		goto fail;
	}
	imp->sgt = dma_buf_map_attachment_unlocked(imp->attach, dir);
	if (IS_ERR(imp->sgt)) {
		ret = PTR_ERR(imp->sgt);
		dma_buf_detach(dmabuf, imp->attach);
		goto fail;
	}
	imp->dir = dir;
	imp->dmabuf = dmabuf;
	return 0;
fail:
	dma_buf_put(dmabuf);
	return ret;
}

void edu_unimport(struct edu_import *imp)
{
	if (!imp->dmabuf)
		return;
	dma_buf_unmap_attachment_unlocked(imp->attach, imp->sgt, imp->dir);
	dma_buf_detach(imp->dmabuf, imp->attach);
	dma_buf_put(imp->dmabuf);
	imp->dmabuf = NULL;
}

void edu_cursor_skip(struct edu_cursor *c, u64 bytes)
{
	while (c->left && bytes >= sg_dma_len(c->sg) - c->at) {
		bytes -= sg_dma_len(c->sg) - c->at;
		c->at = 0;
		c->sg = --c->left ? sg_next(c->sg) : NULL;
	}
	c->at += bytes;
}

struct edu_cursor edu_cursor_at(const struct edu_import *imp, u64 offset)
{
	struct edu_cursor c = { .sg = imp->sgt->sgl, .left = imp->sgt->nents };

	edu_cursor_skip(&c, offset);
	return c;
}

size_t edu_cursor_run(const struct edu_cursor *c, size_t most)
{
	return c->left ? min_t(size_t, sg_dma_len(c->sg) - c->at, most) : 0;
}

dma_addr_t edu_cursor_address(const struct edu_cursor *c)
{
	return sg_dma_address(c->sg) + c->at;
}
