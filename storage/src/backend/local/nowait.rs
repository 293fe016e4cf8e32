//! `preadv2` with `RWF_NOWAIT`: a read that either has the bytes in memory or says so at once.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// What came of a read that must not wait.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum Now {
    /// The bytes are there.
    Read,
    /// It would have waited, or there is some other trouble: take the road that waits, which finds out.
    Waits,
    /// This kernel or file system does not know the flag.
    Unsupported,
}

/// Appends `length` bytes at `offset` to `out` if all are in memory. Otherwise `out` is as it was.
pub(super) fn read(file: &File, offset: u64, length: usize, out: &mut Vec<u8>) -> Now {
    let Ok(offset) = libc::off_t::try_from(offset) else {
        return Now::Waits;
    };
    out.reserve(length);
    let spare = &mut out.spare_capacity_mut()[..length];
    let target = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: length,
    };
    // SAFETY: `target` names `length` bytes of spare capacity that nobody else can reach while `out` is borrowed; the kernel writes
    // at most that many, and the descriptor is open for the call.
    let read = unsafe {
        libc::preadv2(
            file.as_raw_fd(),
            &raw const target,
            1,
            offset,
            libc::RWF_NOWAIT,
        )
    };
    if read < 0 {
        let error = std::io::Error::last_os_error().raw_os_error();
        return match error {
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => Now::Unsupported,
            _ => Now::Waits,
        };
    }
    if read as usize != length {
        return Now::Waits;
    }
    // SAFETY: the kernel has written exactly `length` bytes behind the old length, within the reserved capacity.
    unsafe { out.set_len(out.len() + length) };
    Now::Read
}
