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

    #[test]
    fn a_cpu_that_is_not_there_is_named() {
        let error = std::thread::spawn(|| prepare(Some(100_000))).join().expect("no panic").expect_err("no such CPU");
        assert!(error.to_string().contains("100000"), "{error}");
    }
}
