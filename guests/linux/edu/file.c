// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/edu-dma: checks and copies arguments for job.c and hw.c, waits, and takes the files' channels and buffers back
 * when the device goes. After that a file answers ENODEV, or EDU_IOC_WAIT with the end of its jobs.
 */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "edu.h"

bool edu_unsafe;
module_param_named(unsafe, edu_unsafe, bool, 0400);
MODULE_PARM_DESC(unsafe, "allow EDU_IOC_RAW: DMA to any address that root names. For tests of containment only");

static DEFINE_IDA(indices);

/* ---- requests ---- */

static int do_info(struct edu *edu, struct edu_ioc_info *info)
{
	spin_lock_irq(&edu->lock);
	*info = (struct edu_ioc_info){
		.api = EDU_API,
		.id = edu->id,
		.channels = EDU_CHANNELS,
		.flags = (edu->msi ? EDU_INFO_MSI : 0) | (edu_unsafe ? EDU_INFO_UNSAFE : 0),
		.transfers = edu->transfers,
		.bytes = edu->bytes,
		.interrupts = edu->interrupts,
		.lost = edu->lost,
		.failed = edu->failed,
	};
	spin_unlock_irq(&edu->lock);
	if (device_iommu_mapped(edu->dev))
		info->flags |= EDU_INFO_IOMMU;
	return 0;
}

/* The caller's reference is what keeps the job; its number is all that the user gets. */
static int started(struct edu_job *job, __u32 *id, __u32 *pieces)
{
	if (IS_ERR(job))
		return PTR_ERR(job);
	*id = job->id;
	if (pieces)
		*pieces = job->piece_count;
	edu_job_put(job);
	return 0;
}

/* Under file->lock: then the device is there, or `gone` is set, until it is released. */
static int do_locked(struct edu_file *f, unsigned int cmd, void *arg)
{
	struct edu *edu = f->edu;
	struct edu_ioc_value *value = arg;
	struct edu_ioc_copy *copy = arg;
	struct edu_ioc_buffer *buffer = arg;

	if (f->gone)
		return -ENODEV;
	switch (cmd) {
	case EDU_IOC_INFO:
		return do_info(edu, arg);
	case EDU_IOC_LIVE:
		return edu_hw_live(edu, value->in, &value->out);
	case EDU_IOC_FACT:
		return edu_hw_factorial(edu, value->in, &value->out);
	case EDU_IOC_COPY:
		return started(edu_job_copy(f, copy), &copy->job, &copy->pieces);
	case EDU_IOC_PUT:
	case EDU_IOC_GET:
		return started(edu_job_buffer(f, buffer, cmd == EDU_IOC_PUT), &buffer->job, NULL);
	case EDU_IOC_CANCEL:
		edu_jobs_cancel(f, -ECANCELED);
		return 0;
	}
	return -ENOTTY;
}

/* A job by its number, or the oldest that is done; with a reference. */
static struct edu_job *find_job(struct edu_file *f, u32 id)
{
	struct edu_job *job;

	list_for_each_entry(job, &f->jobs, node) {
		if (id ? job->id == id : smp_load_acquire(&job->done)) {
			kref_get(&job->ref);
			return job;
		}
	}
	return NULL;
}

static bool report(struct edu_job *job, struct edu_ioc_wait *req)
{
	bool done = smp_load_acquire(&job->done);

	req->job = job->id;
	req->state = done ? EDU_JOB_DONE : EDU_JOB_RUNNING;
	req->error = done ? job->error : 0;
	req->bytes = job->bytes;
	req->residue = edu_job_residue(job);
	if (done)
		edu_job_forget(job);
	return done;
}

static bool wait_over(struct edu_file *f, struct edu_job *job)
{
	return job ? smp_load_acquire(&job->done) : atomic_read(&f->finished) > 0;
}

static int do_wait(struct edu_file *f, struct edu_ioc_wait *req)
{
	long left = req->timeout_ms < 0 ? MAX_SCHEDULE_TIMEOUT : msecs_to_jiffies(req->timeout_ms);
	struct edu_job *job;
	bool done;

	for (;;) {
		mutex_lock(&f->lock);
		job = find_job(f, req->job);
		if (!job && (req->job || list_empty(&f->jobs))) {
			mutex_unlock(&f->lock);
			return -ENOENT; /* never started, or collected by another thread */
		}
		done = job && smp_load_acquire(&job->done);
		if (job && (done || !left))
			done = report(job, req);
		mutex_unlock(&f->lock);
		if (!done && left)
			left = wait_event_interruptible_timeout(f->wait, wait_over(f, job), left);
		else
			left = done ? 0 : -ETIMEDOUT;
		if (job)
			edu_job_put(job);
		if (done || left < 0)
			return left == -ERESTARTSYS ? -EINTR : left;
	}
}

static int do_raw(struct edu_file *f, const struct edu_ioc_raw *req)
{
	void __user *data = u64_to_user_ptr(req->data);
	struct edu_job *job;
	u8 *copy;
	int ret;

	if (!edu_unsafe || !capable(CAP_SYS_RAWIO))
		return -EPERM;
	if ((req->flags != EDU_RAW_READ && req->flags != EDU_RAW_WRITE) || !req->bytes || req->bytes > EDU_BUFFER_BYTES)
		return -EINVAL;
	copy = req->flags == EDU_RAW_WRITE ? memdup_user(data, req->bytes) : NULL;
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	mutex_lock(&f->lock);
	job = f->gone ? ERR_PTR(-ENODEV) : edu_job_raw(f, req, copy);
	mutex_unlock(&f->lock);
	kfree(copy);
	if (IS_ERR(job))
		return PTR_ERR(job);
	/* Only a fatal signal ends it early: then the file is about to close, which cancels the job. */
	ret = wait_event_killable(f->wait, smp_load_acquire(&job->done));
	if (!ret) {
		ret = job->error;
		if (!ret && req->flags == EDU_RAW_READ && copy_to_user(data, job->data, req->bytes))
			ret = -EFAULT;
		mutex_lock(&f->lock);
		if (!list_empty(&job->node))
			edu_job_forget(job);
		mutex_unlock(&f->lock);
	}
	edu_job_put(job);
	return ret;
}

union any_request {
	struct edu_ioc_info info;
	struct edu_ioc_value value;
	struct edu_ioc_copy copy;
	struct edu_ioc_buffer buffer;
	struct edu_ioc_wait wait;
	struct edu_ioc_raw raw;
};

static long dev_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct edu_file *f = filp->private_data;
	union any_request r = {};
	int ret;

	if (_IOC_TYPE(cmd) != _IOC_TYPE(EDU_IOC_INFO) || _IOC_SIZE(cmd) > sizeof(r))
		return -ENOTTY;
	if (_IOC_DIR(cmd) & _IOC_WRITE && copy_from_user(&r, (void __user *)arg, _IOC_SIZE(cmd)))
		return -EFAULT;
	if (cmd == EDU_IOC_WAIT) {
		ret = do_wait(f, &r.wait);
	} else if (cmd == EDU_IOC_RAW) {
		ret = do_raw(f, &r.raw);
	} else {
		mutex_lock(&f->lock);
		ret = do_locked(f, cmd, &r);
		mutex_unlock(&f->lock);
	}
	if (ret && ret != -ETIMEDOUT)
		return ret;
	if (_IOC_DIR(cmd) & _IOC_READ && copy_to_user((void __user *)arg, &r, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static __poll_t dev_poll(struct file *filp, poll_table *table)
{
	struct edu_file *f = filp->private_data;
	__poll_t events = 0;

	poll_wait(filp, &f->wait, table);
	if (atomic_read(&f->finished) > 0)
		events |= EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(f->gone))
		events |= EPOLLERR | EPOLLHUP;
	return events;
}

/* ---- open, release, and the device's removal, which may come in between ---- */

static int dev_open(struct inode *inode, struct file *filp)
{
	struct edu *edu = container_of(filp->private_data, struct edu, misc); /* misc_open() put it there */
	struct edu_file *f = kzalloc(sizeof(*f), GFP_KERNEL);
	int ret = 0;

	if (!f)
		return -ENOMEM;
	f->edu = edu;
	mutex_init(&f->lock);
	INIT_LIST_HEAD(&f->jobs);
	init_waitqueue_head(&f->wait);
	mutex_lock(&edu->files_lock);
	if (edu->removed) {
		ret = -ENODEV;
	} else {
		list_add(&f->node, &edu->files);
		kref_get(&edu->ref);
	}
	mutex_unlock(&edu->files_lock);
	if (ret)
		kfree(f);
	else
		filp->private_data = f;
	return ret;
}

/* Nothing of the file is on the hardware, mapped, or held of dmaengine when it returns. */
static void close_channel_locked(struct edu_file *f, int error)
{
	edu_jobs_cancel(f, error);
	if (f->chan)
		dma_release_channel(f->chan);
	f->chan = NULL;
}

static int dev_release(struct inode *inode, struct file *filp)
{
	struct edu_file *f = filp->private_data;
	struct edu *edu = f->edu;
	struct edu_job *job, *next;

	mutex_lock(&edu->files_lock);
	list_del(&f->node);
	mutex_lock(&f->lock);
	close_channel_locked(f, -ECANCELED);
	mutex_unlock(&f->lock);
	mutex_unlock(&edu->files_lock);
	list_for_each_entry_safe(job, next, &f->jobs, node)
		edu_job_forget(job);
	kfree(f);
	edu_put(edu);
	return 0;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = dev_open,
	.release = dev_release,
	.poll = dev_poll,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

int edu_files_init(struct edu *edu)
{
	int ret;

	edu->index = ida_alloc(&indices, GFP_KERNEL);
	if (edu->index < 0)
		return edu->index;
	if (edu->index)
		snprintf(edu->name, sizeof(edu->name), "edu-dma%d", edu->index);
	else
		strscpy(edu->name, "edu-dma", sizeof(edu->name));
	edu->misc = (struct miscdevice){
		.minor = MISC_DYNAMIC_MINOR,
		.name = edu->name,
		.mode = 0600,
		.fops = &fops,
		.parent = edu->dev,
	};
	ret = misc_register(&edu->misc);
	if (ret)
		ida_free(&indices, edu->index);
	return ret;
}

void edu_files_exit(struct edu *edu)
{
	struct edu_file *f;

	misc_deregister(&edu->misc); /* no open() is running or will */
	mutex_lock(&edu->files_lock);
	edu->removed = true;
	list_for_each_entry(f, &edu->files, node) {
		mutex_lock(&f->lock);
		close_channel_locked(f, -ENODEV);
		WRITE_ONCE(f->gone, true);
		mutex_unlock(&f->lock);
		wake_up_all(&f->wait);
	}
	mutex_unlock(&edu->files_lock);
	ida_free(&indices, edu->index);
}
