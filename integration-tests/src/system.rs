//! The few system calls that the standard library has no words for: a signal to a child, a thread or process bound to one core,
//! more open files.
//!
//! Everything unsafe in this crate is in this file. Each call passes plain numbers, or a structure that lives on this stack while the kernel reads it.
#![allow(unsafe_code)]

use std::io;

/// Asks a process to end (SIGTERM).
pub fn terminate(pid: u32) {
    signal(pid, libc::SIGTERM);
}

/// Stops a process where it stands (SIGSTOP); its sockets stay open.
pub fn pause(pid: u32) {
    signal(pid, libc::SIGSTOP);
}

/// Lets a stopped process go on (SIGCONT).
pub fn go_on(pid: u32) {
    signal(pid, libc::SIGCONT);
}

fn signal(pid: u32, number: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).expect("process ids are small");
    assert!(
        pid > 1,
        "a child of ours has its own id; 0, 1 and negative numbers would mean others"
    );
    // SAFETY: kill takes two integers and touches no memory of ours.
    let result = unsafe { libc::kill(pid, number) };
    assert_eq!(
        result,
        0,
        "signal {number} to {pid}: {}",
        io::Error::last_os_error()
    );
}

/// Binds the calling thread, and what it starts from now on, to one core.
pub fn run_on_core(core: usize) -> io::Result<()> {
    assert!(core < libc::CPU_SETSIZE as usize, "no core {core}");
    // SAFETY: cpu_set_t is an array of integers, for which zero is a value; CPU_SET writes inside it, because `core` is below CPU_SETSIZE.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        set
    };
    // SAFETY: the kernel reads size_of_val(&set) bytes from `set`, which outlives the call; 0 means the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Lets this process, and those that it starts from now on, open as many files as it may without asking anybody.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one rlimit into `limit`, which outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads one rlimit from `limit`, which outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Clock ticks in a second, the unit of the CPU times in /proc.
pub fn clock_ticks_per_second() -> u64 {
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).expect("the kernel knows its tick")
}
