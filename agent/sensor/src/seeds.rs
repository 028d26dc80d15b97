//! The processes that live already, from the kernel's task iterator.

use crate::error::{SeedError, chain, object_refusal, program_refusal};
use crate::layout::Layout;
use crate::{decode, load, objects};
use aya::Btf;
use aya::programs::{Iter, ProgramError};
use bytes::Bytes;
use hostward_abi::record::{Header, Malformed, Record};
use hostward_abi::{Reader, Wire};
use hostward_event::fact::SeedProcess;
use std::fs::File;
use std::io::Read;

/// Bytes of one read; the kernel shows up to 32 KiB at once.
const READ_BYTES: usize = 64 * 1024;
/// More processes than any machine has ids for.
const SEED_BYTES_MAX: usize = 1 << 30;

/// Reads the iterator of processes to its end.
pub(crate) fn all(layout: &Layout, btf: &Btf) -> Result<Vec<SeedProcess>, SeedError> {
    let mut file = iterator(layout, btf, "seed")?;
    let mut seeds = Vec::new();
    let mut pending = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = file.read(&mut buffer)?;
        let fresh = buffer.get(..count).unwrap_or_default();
        if fresh.is_empty() {
            // What is left would be half a record.
            return if pending.is_empty() { Ok(seeds) } else { Err(Malformed::Short.into()) };
        }
        if pending.len() + fresh.len() > SEED_BYTES_MAX {
            return Err(Malformed::Length.into());
        }
        pending.extend_from_slice(fresh);
        let bytes = Bytes::from(std::mem::take(&mut pending));
        let mut rest = &bytes[..];
        while let Some(header) = Header::read(&mut Reader::new(rest)) {
            let length = usize::try_from(header.len).map_err(|_| Malformed::Length)?;
            if length < Header::BYTES {
                return Err(Malformed::Length.into());
            }
            let Some((one, more)) = rest.split_at_checked(length) else {
                break;
            };
            seeds.extend(decode::seed(&Record::parse(one)?, &bytes.slice_ref(one)));
            rest = more;
        }
        pending = rest.to_vec();
    }
}

/// This process as programs in the kernel see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Its id in the initial pid namespace, which its own may hide.
    pub(crate) pid: u32,
    /// When it began, CLOCK_BOOTTIME ns; none where the kernel does not tell.
    pub(crate) start_boot_ns: Option<u64>,
}

/// Who this process is: the program runs in the task that reads.
pub(crate) fn own(layout: &Layout, btf: &Btf) -> Result<Identity, SeedError> {
    let mut own = [0; 16];
    iterator(layout, btf, "reader")?.read_exact(&mut own)?;
    let mut reader = Reader::new(&own);
    let [pid, start] = <[u64; 2]>::read(&mut reader).ok_or(Malformed::Short)?;
    Ok(Identity { pid: u32::try_from(pid).map_err(|_| Malformed::Length)?, start_boot_ns: Some(start) })
}

/// Loads an iterator's program. It lives as long as the file.
fn iterator(layout: &Layout, btf: &Btf, program: &str) -> Result<File, SeedError> {
    let refused = |why: &ProgramError| SeedError::Refused(program_refusal(why));
    let mut object = load::object(objects::ITER, layout, &[], &[])
        .map_err(|why| SeedError::Refused(object_refusal(&why)))?;
    let program =
        object.program_mut(program).ok_or_else(|| SeedError::Refused("not in the object".to_owned()))?;
    let program: &mut Iter = program.try_into().map_err(|why| refused(&why))?;
    load::patiently(|| program.load("task", btf)).map_err(|why| refused(&why))?;
    let link = program.attach().and_then(|link| program.take_link(link)).map_err(|why| refused(&why))?;
    link.into_file().map_err(|why| SeedError::Refused(chain(&why)))
}
