//! How much memory an event holds, as the queue's byte bound counts it.

use hostward_event::Event;
use hostward_event::event::Body;

/// Bytes of the struct, its boxes and its own texts. Process snapshots are shared by the process
/// table and by many events, so only the acting process's arguments and paths are charged: an
/// estimate that errs high for a burst of one process and low for an exec storm of deep lineages.
pub(crate) fn weigh(event: &Event) -> u64 {
    let mut bytes = size_of::<Event>() + event.lineage.len() * size_of::<usize>();
    if let Some(process) = &event.process {
        bytes += process.args.raw.as_bytes().len() + process.path.as_bytes().len();
    }
    bytes += match &event.body {
        Body::Open(open) => {
            size_of_val(open.as_ref())
                + open.arg.as_bytes().len()
                + open.base.as_bytes().len()
                + open.path.as_bytes().len()
        }
        Body::CloseWrite(close) => size_of_val(close.as_ref()) + close.path.as_bytes().len(),
        Body::Connect(connect) => size_of_val(connect.as_ref()),
        Body::ConnectionEnd(end) => size_of_val(end.as_ref()),
        Body::UdpSend(socket) => size_of_val(socket.as_ref()),
        Body::Dns(dns) => {
            let message = dns.message.as_ref();
            size_of_val(dns.as_ref()) + message.map_or(0, |message| size_of_val(message.answers.as_slice()))
        }
        Body::Agent(notice) => notice.message.as_bytes().len(),
        _ => 0,
    };
    if let Some(alert) = &event.alert {
        bytes += size_of_val(alert.as_ref()) + alert.message.as_bytes().len();
    }
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
