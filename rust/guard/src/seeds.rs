//! The operating system's random bytes, replaced in this program: std seeds its hash maps with them, and how long a
//! look-up probes depends on the seed. Nothing that ships has a way to fix a seed.
use std::hash::{BuildHasher, RandomState};

/// Stands where the C library's function of that name stood.
///
/// # Safety
/// As for the original: `buffer` has room for `length` bytes.
// SAFETY: same name, arguments and meaning as in the C library; only the bytes are always the same.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    // SAFETY: the caller gave us that much room.
    unsafe { std::ptr::write_bytes(buffer, 0x5a, length) };
    length.cast_signed()
}

/// Whether hash maps are seeded with the bytes above. Threads count up from one seed each, so a new thread's first
/// map tells.
pub(crate) fn are_fixed() -> bool {
    let first = || std::thread::spawn(|| RandomState::new().hash_one(0)).join();
    first().ok() == first().ok()
}
