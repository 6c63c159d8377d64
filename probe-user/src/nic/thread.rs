//! What a loop thread is set to before its loop begins.

use super::NicError;
use std::{io, mem::MaybeUninit, ptr};

/// Prepares the calling thread for a packet loop: pins it to `cpu` (if given), sets its timer slack to 1 ns so that a rest
/// ends on time (the default is 50 us late), and blocks every signal, so that no system call of the loop is cut short and
/// signals go to the control threads.
///
/// # Errors
/// If the CPU can't be had (offline, or outside the process's allowed set) or the kernel refuses the rest.
pub fn prepare(cpu: Option<usize>) -> Result<(), NicError> {
    // core_affinity indexes the kernel's fixed-size set, so a number beyond it must not get that far.
    if let Some(cpu) = cpu
        && (cpu >= libc::CPU_SETSIZE.unsigned_abs() as usize
            || !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }))
    {
        return Err(NicError::Pin { cpu });
    }
    // SAFETY: PR_SET_TIMERSLACK takes a number and touches no memory of ours.
    if unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) } != 0 {
        return Err(NicError::Thread { what: "set the timer slack", error: io::Error::last_os_error() });
    }
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initializes the whole set before pthread_sigmask reads it; the old mask is not asked for.
    let error = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut())
    };
    if error != 0 {
        return Err(NicError::Thread { what: "block signals", error: io::Error::from_raw_os_error(error) });
    }
    Ok(())
}

/// How far a packet loop stands before ordinary threads: by as much as those of the background stand back.
const NICER: i32 = 10;
/// Its slice of its CPU, nanoseconds: a thread with a shorter one is let in as soon as it is due (since Linux 6.12; the kernel's own are 0.7
/// to 3 ms, and before that niceness alone counts). No kernel takes less.
const SLICE: u64 = 100_000;

/// What has the calling thread go before the others on its CPU, or no longer, and returns whether it may: that takes CAP_SYS_NICE or a
/// RLIMIT_NICE that allows for it. One thread uses it.
pub fn precedence() -> impl FnMut(bool) -> bool + Send + 'static {
    let mut before = None;
    move |first| {
        before = before.or_else(attributes);
        let Some(ordinary) = before else { return false };
        let wanted = if first {
            libc::sched_attr { sched_nice: (ordinary.sched_nice - NICER).max(-20), sched_runtime: SLICE, ..ordinary }
        } else {
            // No slice of its own: the kernel's.
            libc::sched_attr { sched_runtime: 0, ..ordinary }
        };
        // SAFETY: sched_setattr(2) reads as much as `size` says, which the kernel has filled in itself, and no more than is there.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) == 0 }
    }
}

/// How the calling thread is scheduled.
fn attributes() -> Option<libc::sched_attr> {
    let mut found = MaybeUninit::<libc::sched_attr>::zeroed();
    // The kernel fills in no more than this.
    let size = size_of::<libc::sched_attr>();
    // SAFETY: sched_getattr(2) writes at most `size` bytes; zeroes are such attributes as well.
    unsafe {
        (libc::syscall(libc::SYS_sched_getattr, 0, found.as_mut_ptr(), size, 0) == 0).then(|| found.assume_init())
    }
}

/// Whether threads of this process may go before others: tried by one of its own.
pub fn may_go_first() -> bool {
    std::thread::spawn(|| precedence()(true)).join().unwrap_or(false)
}

/// What has been freed goes back to the kernel: the C library keeps it otherwise, once for each thread that has allocated much. Takes
/// milliseconds, in which whoever allocates may wait; packet loops don't.
pub fn give_back_memory() {
    // SAFETY: malloc_trim may be called at any time, by any thread, and touches nothing that is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_thread_is_pinned_on_time_and_undisturbed() {
        std::thread::spawn(|| {
            let cpu = core_affinity::get_core_ids().map_or(0, |cores| cores[0].id);
            prepare(Some(cpu)).expect("the first CPU of our own set");
            assert_eq!(core_affinity::get_core_ids().map(|c| c.len()), Some(1));
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc");
            let blocked = status.lines().find_map(|l| l.strip_prefix("SigBlk:")).expect("SigBlk").trim();
            let blocked = u64::from_str_radix(blocked, 16).expect("hex");
            assert_ne!(blocked & (1 << (libc::SIGTERM - 1)), 0);
            // SAFETY: PR_GET_TIMERSLACK takes nothing and returns the slack.
            assert_eq!(unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) }, 1);
        })
        .join()
        .expect("no panic");
    }

    /// Niceness and slice of the calling thread.
    fn scheduled() -> (i32, u64) {
        attributes().map(|found| (found.sched_nice, found.sched_runtime)).expect("its own")
    }

    #[test]
    fn who_goes_first_does_and_then_is_as_before() {
        std::thread::spawn(|| {
            let (before, mut set) = (scheduled(), precedence());
            if !set(true) {
                assert!(!may_go_first());
                println!("skipped: this process may not go before others");
                return;
            }
            let (nice, slice) = scheduled();
            assert_eq!(nice, (before.0 - NICER).max(-20));
            // Kernels before 6.12 know nothing of slices, and say none.
            assert!(slice == SLICE || before.1 == 0, "{slice} after {before:?}");
            assert!(set(false));
            assert_eq!(scheduled(), before);
            assert!(may_go_first());
            assert_eq!(scheduled(), before, "that was another thread");
        })
        .join()
        .expect("no panic");
    }

    #[test]
    fn a_cpu_that_is_not_there_is_named() {
        let error = std::thread::spawn(|| prepare(Some(100_000))).join().expect("no panic").expect_err("no such CPU");
        assert!(error.to_string().contains("100000"), "{error}");
    }
}
