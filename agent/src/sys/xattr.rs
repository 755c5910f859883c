//! Extended attributes of open files and folders.
#![expect(unsafe_code, reason = "nix has no call for extended attributes")]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd};

use super::SysError;

/// Sets an attribute, whether it was there or not.
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> Result<(), SysError> {
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads the name up to its NUL and `len` bytes of
    // the live slice, and keeps neither.
    let result = unsafe {
        libc::fsetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    if result < 0 { Err(SysError::last("fsetxattr")) } else { Ok(()) }
}

/// An attribute's value; `None` where it is not there.
///
/// # Errors
/// ERANGE for one that is longer than 4 KiB.
pub fn get(file: impl AsFd, name: &CStr) -> Result<Option<Vec<u8>>, SysError> {
    let mut value = vec![0_u8; 4096];
    // SAFETY: as in `set`; the kernel writes at most `len` bytes of the live buffer.
    let count = unsafe {
        libc::fgetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
    };
    match usize::try_from(count) {
        Ok(count) => {
            value.truncate(count);
            Ok(Some(value))
        }
        Err(_) => match SysError::last("fgetxattr") {
            SysError { errno: nix::errno::Errno::ENODATA, .. } => Ok(None),
            error => Err(error),
        },
    }
}
