//! A TCP proxy that breaks connections in the ways networks do, switched while it runs.
//!
//! It has a thread and a runtime of its own, so it works under any test and dies with its value.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to connections from now on, those that exist included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// All is well.
    None,
    /// A connection is reset as soon as it is there.
    Refuse,
    /// The client's bytes are passed on up to so many, counted from now; then both sides get a reset.
    ResetAfter(u64),
    /// Half open: nothing is read, nothing is passed on, nothing is closed.
    Silence,
    /// So many bytes a second, each way.
    Slow(u32),
    /// Requests reach the server and their replies do not reach the client: with the first byte of a
    /// reply both sides get a reset.
    LoseReply,
}

#[derive(Clone, Copy)]
struct Setting {
    fault: Fault,
    /// Changes with each [`FaultProxy::cut`].
    cut: u64,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    resets: AtomicU64,
    to_server_bytes: AtomicU64,
    to_client_bytes: AtomicU64,
}

/// See the module.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    setting: Option<watch::Sender<Setting>>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// Both ends of a connection are reset.
struct Reset;

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and passes all on to `upstream`, which need not be there yet.
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, receiver) = watch::channel(Setting { fault: Fault::None, cut: 0 });
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(accept(listener, upstream, receiver, counted));
        };
        let thread = std::thread::Builder::new().name("fault-proxy".into()).spawn(run).unwrap();
        Self { address, setting: Some(sender), counts, thread: Some(thread) }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches the fault for all connections, new and old.
    pub(crate) fn set(&self, fault: Fault) {
        self.setting.as_ref().unwrap().send_modify(|setting| setting.fault = fault);
    }

    /// Resets all connections that exist now; new ones fare as the fault says.
    pub(crate) fn cut(&self) {
        self.setting.as_ref().unwrap().send_modify(|setting| setting.cut += 1);
    }

    /// Connections taken so far.
    pub(crate) fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Connections that the proxy reset.
    pub(crate) fn resets(&self) -> u64 {
        self.counts.resets.load(Ordering::SeqCst)
    }

    /// Bytes passed on to the server.
    pub(crate) fn to_server_bytes(&self) -> u64 {
        self.counts.to_server_bytes.load(Ordering::SeqCst)
    }

    /// Bytes passed on to the client.
    pub(crate) fn to_client_bytes(&self) -> u64 {
        self.counts.to_client_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.setting.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Until the proxy's value is dropped, which closes the channel.
async fn accept(
    listener: std::net::TcpListener,
    upstream: SocketAddr,
    mut setting: watch::Receiver<Setting>,
    counts: Arc<Counts>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            loop {
                tokio::select! {
                    changed = setting.changed() => if changed.is_err() { return },
                    taken = listener.accept() => {
                        let Ok((client, _)) = taken else { continue };
                        counts.connections.fetch_add(1, Ordering::SeqCst);
                        let (setting, counts) = (setting.clone(), Arc::clone(&counts));
                        tokio::task::spawn_local(relay(client, upstream, setting, counts));
                    }
                }
            }
        })
        .await;
}

async fn relay(
    mut client: TcpStream,
    upstream: SocketAddr,
    setting: watch::Receiver<Setting>,
    counts: Arc<Counts>,
) {
    let refused = setting.borrow().fault == Fault::Refuse;
    let server = if refused { None } else { TcpStream::connect(upstream).await.ok() };
    let Some(mut server) = server else {
        counts.resets.fetch_add(1, Ordering::SeqCst);
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let broken = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = pump(from_client, to_server, true, setting.clone(), &counts.to_server_bytes);
        let down = pump(from_server, to_client, false, setting, &counts.to_client_bytes);
        tokio::try_join!(up, down).is_err()
    };
    if broken {
        counts.resets.fetch_add(1, Ordering::SeqCst);
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    is_up: bool,
    mut setting: watch::Receiver<Setting>,
    counted: &AtomicU64,
) -> Result<(), Reset> {
    let mut buffer = vec![0; 16 << 10];
    let mut seen = *setting.borrow_and_update();
    let first_cut = seen.cut;
    // Bytes of the client since the fault was set.
    let mut passed = 0_u64;
    loop {
        if seen.cut != first_cut || seen.fault == Fault::Refuse {
            return Err(Reset);
        }
        let limit = match seen.fault {
            Fault::Slow(_) => 1,
            _ => buffer.len(),
        };
        let silent = seen.fault == Fault::Silence;
        let count = tokio::select! {
            biased;
            changed = setting.changed() => {
                if changed.is_err() {
                    return Err(Reset);
                }
                let now = *setting.borrow_and_update();
                if now.fault != seen.fault {
                    passed = 0;
                }
                seen = now;
                continue;
            }
            count = from.read(&mut buffer[..limit]), if !silent => count.map_err(|_| Reset)?,
        };
        if count == 0 {
            return to.shutdown().await.map_err(|_| Reset);
        }
        let mut take = count;
        if let (Fault::ResetAfter(bytes), true) = (seen.fault, is_up) {
            take = count.min(usize::try_from(bytes - passed).unwrap());
            passed += u64::try_from(take).unwrap();
        }
        if seen.fault == Fault::LoseReply && !is_up {
            return Err(Reset);
        }
        to.write_all(&buffer[..take]).await.map_err(|_| Reset)?;
        counted.fetch_add(u64::try_from(take).unwrap(), Ordering::SeqCst);
        match seen.fault {
            Fault::ResetAfter(bytes) if is_up && passed >= bytes => {
                // The bytes passed on arrive before the reset does.
                tokio::time::sleep(Duration::from_millis(20)).await;
                return Err(Reset);
            }
            Fault::Slow(bytes_per_s) => {
                tokio::time::sleep(Duration::from_secs(1) / bytes_per_s.max(1)).await;
            }
            _ => {}
        }
    }
}
