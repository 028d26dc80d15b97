//! The memory of a BPF ring buffer.
//!
//! Not aya's `RingBuf`, for two reasons. The reader must know how far the producer was at a given
//! moment, or it cannot tell a lost event from one that another CPU has not finished writing. And
//! aya maps the data twice in a row, which counts twice as resident memory; we copy each record
//! anyway, so a record across the end costs nothing.
//!
//! Layout (kernel/bpf/ringbuf.c, libbpf's ringbuf.c): a page with the consumer's position, a page
//! with the producer's, the data. A record is a header of 8 bytes (length with two flag bits, a
//! page offset for the kernel), its bytes, and padding to 8.
#![expect(unsafe_code, reason = "maps memory that the kernel shares")]

use crate::error::RingError;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

const HEADER_BYTES: usize = 8;
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;

/// Memory that is shared with the kernel.
pub(crate) struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

impl Mapping {
    pub(crate) fn new(
        fd: BorrowedFd<'_>,
        protection: ProtFlags,
        offset: usize,
        bytes: usize,
    ) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of ours.
        let start = unsafe { mmap(ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, offset as u64)? };
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("mapped at null"))?;
        Ok(Self { start, bytes })
    }

    /// Its first byte, page-aligned.
    pub(crate) const fn start(&self) -> NonNull<c_void> {
        self.start
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing borrowed from it outlives `self`. A failure leaks the mapping.
        let _ = unsafe { munmap(self.start.as_ptr(), self.bytes) };
    }
}

/// A ring, mapped.
pub(crate) struct Ring {
    fd: OwnedFd,
    consumer: Mapping,
    /// The producer's page, then the data.
    producer: Mapping,
    page_bytes: usize,
    data_bytes: usize,
}

// SAFETY: the mappings are plain memory; their positions are atomics and the data is read only
// between them. `Ring` is used by one thread at a time (`&mut self`).
unsafe impl Send for Ring {}

impl Ring {
    /// Maps the ring behind `fd`, of `data_bytes`.
    pub(crate) fn new(fd: OwnedFd, data_bytes: u32) -> io::Result<Self> {
        let page_bytes = rustix::param::page_size();
        let data_bytes = data_bytes as usize;
        let consumer = Mapping::new(fd.as_fd(), ProtFlags::READ | ProtFlags::WRITE, 0, page_bytes)?;
        let producer = Mapping::new(fd.as_fd(), ProtFlags::READ, page_bytes, page_bytes + data_bytes)?;
        Ok(Self { fd, consumer, producer, page_bytes, data_bytes })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn consumer(&self) -> &AtomicUsize {
        // SAFETY: the mapping's first word, page-aligned, lives as long as `self`; only atomics
        // touch it on our side, and the kernel only reads it.
        unsafe { self.consumer.start.cast().as_ref() }
    }

    /// How far the producer is; all records below are finished or busy.
    pub(crate) fn produced(&self) -> usize {
        // SAFETY: as in `consumer`; the kernel writes it as one word.
        let position: &AtomicUsize = unsafe { self.producer.start.cast().as_ref() };
        position.load(Ordering::Acquire)
    }

    /// How far we are.
    pub(crate) fn consumed(&self) -> usize {
        self.consumer().load(Ordering::Relaxed)
    }

    fn data(&self) -> *const u8 {
        // SAFETY: the mapping is one page and the data.
        unsafe { self.producer.start.as_ptr().cast::<u8>().add(self.page_bytes) }
    }

    /// Copies the next finished record to `into`. False when there is none, or the next is busy.
    pub(crate) fn take(&mut self, into: &mut Vec<u8>) -> Result<bool, RingError> {
        loop {
            let position = self.consumed();
            let produced = self.produced();
            if position == produced {
                return Ok(false);
            }
            let at = position & (self.data_bytes - 1);
            // SAFETY: positions are multiples of 8 and the ring is a power of two of pages, so the
            // header's first word lies aligned within the data.
            let header: &AtomicU32 = unsafe { &*self.data().add(at).cast() };
            let word = header.load(Ordering::Acquire);
            if word & BUSY != 0 {
                return Ok(false);
            }
            let bytes = word & !(BUSY | DISCARDED);
            let whole = (bytes as usize + HEADER_BYTES).next_multiple_of(8);
            if whole > self.data_bytes || whole > produced.wrapping_sub(position) {
                // Give up what is there; the missing numbers tell what it was.
                self.consumer().store(produced, Ordering::Release);
                return Err(RingError::Corrupt { position, bytes });
            }
            let wanted = word & DISCARDED == 0;
            if wanted {
                self.copy(at + HEADER_BYTES, bytes as usize, into);
            }
            // Release: the producer may overwrite what we have copied, and not before.
            self.consumer().store(position.wrapping_add(whole), Ordering::Release);
            if wanted {
                return Ok(true);
            }
        }
    }

    /// Copies `bytes` from offset `at`, which may lie beyond the end, as may the copy's end.
    fn copy(&self, at: usize, bytes: usize, into: &mut Vec<u8>) {
        into.clear();
        into.reserve_exact(bytes);
        let at = at & (self.data_bytes - 1);
        let first = bytes.min(self.data_bytes - at);
        // SAFETY: both parts lie within the data (`bytes` is below its size), and the producer does
        // not write between the consumer's position and its own.
        unsafe {
            into.extend_from_slice(std::slice::from_raw_parts(self.data().add(at), first));
            into.extend_from_slice(std::slice::from_raw_parts(self.data(), bytes - first));
        }
    }
}
