//! Answers count against `limits.buffered_bytes` for as long as their bytes live (`safety.md` I10, A138).
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};

/// The account of bytes in memory, and how many there may be.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    pub(crate) taken: Arc<AtomicUsize>,
    pub(crate) limit: usize,
}

/// A growing share of the room, given back when dropped.
#[derive(Debug)]
struct Share {
    room: Room,
    bytes: usize,
}

impl Share {
    /// False if there is no room for that many more.
    fn grow(&mut self, more: usize) -> bool {
        let taken = self
            .room
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |taken| {
                taken
                    .checked_add(more)
                    .filter(|sum| *sum <= self.room.limit)
            });
        self.bytes += if taken.is_ok() { more } else { 0 };
        taken.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A body as it comes in. One that comes in one piece is not copied.
pub(crate) struct Collected {
    first: Bytes,
    rest: BytesMut,
    share: Share,
    most: usize,
}

/// Why a body is not collected any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// It is larger than allowed.
    Body,
    /// All bodies together are.
    Room,
}

impl Collected {
    /// `most`: the largest body.
    pub(crate) fn new(room: &Room, most: usize) -> Self {
        Self {
            first: Bytes::new(),
            rest: BytesMut::new(),
            share: Share {
                room: room.clone(),
                bytes: 0,
            },
            most,
        }
    }

    /// Whether a body of that length would not be too large.
    pub(crate) fn may_reach(&self, length: usize) -> bool {
        length <= self.most
    }

    pub(crate) fn add(&mut self, data: Bytes) -> Result<(), Full> {
        if self.share.bytes + data.len() > self.most {
            return Err(Full::Body);
        }
        if !self.share.grow(data.len()) {
            return Err(Full::Room);
        }
        if self.share.bytes == data.len() {
            self.first = data;
            return Ok(());
        }
        if self.rest.is_empty() {
            self.rest
                .extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.rest.extend_from_slice(&data);
        Ok(())
    }

    /// The whole body; its share of the room is given back with its last reference.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.share.bytes == 0 {
            return Bytes::new();
        }
        let bytes = if self.rest.is_empty() {
            self.first
        } else {
            self.rest.freeze()
        };
        Bytes::from_owner(Held {
            bytes,
            _share: self.share,
        })
    }
}

struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(limit: usize) -> Room {
        Room {
            taken: Arc::default(),
            limit,
        }
    }

    #[test]
    fn test_a138_bodies_share_the_room_until_they_are_dropped() {
        let room = room(10);
        let mut one = Collected::new(&room, 10);
        assert_eq!(one.add(Bytes::from_static(b"01234")), Ok(()));
        assert_eq!(one.add(Bytes::from_static(b"567")), Ok(()));
        let mut two = Collected::new(&room, 10);
        assert_eq!(two.add(Bytes::from_static(b"ab")), Ok(()));
        assert_eq!(two.add(Bytes::from_static(b"c")), Err(Full::Room));
        let (one, two) = (one.into_bytes(), two.into_bytes());
        assert_eq!(
            (one.as_ref(), two.as_ref()),
            (b"01234567".as_slice(), b"ab".as_slice())
        );
        let part = one.slice(1..2);
        drop(one);
        assert_eq!(room.taken.load(Ordering::Relaxed), 10);
        drop((part, two));
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_body_is_bounded_by_itself() {
        let room = room(10);
        let mut body = Collected::new(&room, 3);
        assert_eq!(body.add(Bytes::from_static(b"012")), Ok(()));
        assert_eq!(body.add(Bytes::from_static(b"3")), Err(Full::Body));
    }
}
