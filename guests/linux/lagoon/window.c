// SPDX-License-Identifier: GPL-2.0-only
/*
 * The share window: guest physical memory that is reserved in the device tree, has struct pages from boot, and has
 * memory behind it only where something is imported. Everything else in it is PageOffline, so that nothing that walks
 * memory (/proc/kcore, a crash dump) touches it. Who may use which part is borrow.c's business, as EL2 decides.
 */
#include <linux/device.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/page-flags.h>

#include "lagoon.h"

void lagoon_window_online(u64 ipa, unsigned long pages, bool online)
{
	unsigned long pfn = ipa >> PAGE_SHIFT, i;

	page_offline_begin(); /* waits for a /proc/kcore reader in the middle of a page */
	for (i = 0; i < pages; i++) {
		struct page *page = pfn_to_page(pfn + i);

		if (online && PageOffline(page))
			__ClearPageOffline(page);
		else if (!online && !PageOffline(page))
			__SetPageOffline(page);
	}
	page_offline_end();
}

int lagoon_window_init(struct lagoon *lg)
{
	struct device_node *node = of_parse_phandle(lg->dev->of_node, "memory-region", 0);
	struct resource r;
	u64 at;
	int ret;

	if (!node) {
		dev_info(lg->dev, "no share window (memory-region): this VM can share, but not import\n");
		return 0;
	}
	ret = of_address_to_resource(node, 0, &r);
	of_node_put(node);
	if (ret || !IS_ALIGNED(r.start, PAGE_SIZE) || !IS_ALIGNED(resource_size(&r), PAGE_SIZE)) {
		dev_err(lg->dev, "the share window has no usable reg\n");
		return -EINVAL;
	}
	lg->window_base = r.start;
	lg->window_bytes = resource_size(&r);
	for (at = r.start; at < r.end; at += PAGE_SIZE) {
		if (pfn_valid(PHYS_PFN(at)) && PageReserved(pfn_to_page(PHYS_PFN(at))))
			continue;
		dev_err(lg->dev, "share window %pR: page %#llx is not reserved memory with a struct page\n", &r, at);
		return -EINVAL;
	}
	lagoon_window_online(lg->window_base, lg->window_bytes >> PAGE_SHIFT, false);
	lg->window_ok = true;
	return 0;
}
