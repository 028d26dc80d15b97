//! connect(2) returned, seen at the function behind it.
//!
//! Where it went is the kernel's word, from when the socket began to send: so a TCP connect that got so far is told, with
//! what became of it, and none of another protocol.

use crate::{BULK, Reads, connection};
use aya_ebpf::EbpfContext;
use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use hostward_abi::record::{ConnectBody, header_flag, kind};
use hostward_ebpf::kernel::task;
use hostward_ebpf::mem::{claim, release};
use hostward_ebpf::{agent, out, record};

/// `int __sys_connect(int fd, struct sockaddr __user *uservaddr, int addrlen)`, net/socket.c.
#[fexit]
pub fn connect(ctx: FExitContext) -> i32 {
    // SAFETY: the verifier checks every access; arguments are as the prototype says, the result behind them.
    unsafe {
        let Some(facts) = connection::begun() else {
            return 0;
        };
        if !agent::is_current::<Reads>(task::current)
            && let Some(ticket) = out::attempt(kind::CONNECT)
        {
            match claim() {
                Some(slot) => {
                    let context = ctx.as_ptr().cast::<u64>();
                    let (header, body) = record::begin::<ConnectBody>(slot);
                    record::header::<Reads>(header, task::current(), kind::CONNECT, ticket.seq);
                    (*header).flags |= header_flag::LEAN | header_flag::FEXIT;
                    (*body).fd = core::ptr::read_volatile(context) as i32;
                    (*body).result = core::ptr::read_volatile(context.add(3)) as i32 as i64;
                    (*body).family = (*facts).family;
                    (*body).reserved = 0;
                    (*body).text_bytes = [0; 4];
                    (*body).socket = *facts;
                    ticket.output(&BULK, slot);
                    release(slot);
                }
                None => ticket.starve(),
            }
        }
        connection::forget();
    }
    0
}
