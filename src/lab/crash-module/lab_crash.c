// SPDX-License-Identifier: GPL-2.0
/*
 * The lab's crash module: kills the kernel of a throw-away guest in a way that sysrq cannot.
 *
 * When loaded it arms a timer whose callback runs in hard interrupt context on the CPU that loaded it and stores
 * through a NULL pointer there. No task can be killed for that, so the kernel panics whatever panic_on_oops says.
 */
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/version.h>

/* Volatile, so that the compiler neither proves the store wrong nor drops it. */
static u32 *volatile lab_crash_target;
static struct hrtimer lab_crash_timer;

static noinline void lab_crash_store(void)
{
	*lab_crash_target = 0xd15cd09f;
	barrier();
}

static enum hrtimer_restart lab_crash_fire(struct hrtimer *timer)
{
	lab_crash_store();
	return HRTIMER_NORESTART;
}

static int __init lab_crash_init(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	/* Since 6.13 hrtimer_setup() takes the callback; the field is no longer set by hand. */
	hrtimer_setup(&lab_crash_timer, lab_crash_fire, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
#else
	hrtimer_init(&lab_crash_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	lab_crash_timer.function = lab_crash_fire;
#endif
	pr_info("lab_crash: a NULL dereference in a hard interrupt, in 100 ms\n");
	hrtimer_start(&lab_crash_timer, ms_to_ktime(100), HRTIMER_MODE_REL_PINNED_HARD);
	return 0;
}

static void __exit lab_crash_exit(void)
{
	hrtimer_cancel(&lab_crash_timer);
}

module_init(lab_crash_init);
module_exit(lab_crash_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("crashes the kernel of a lab guest");
