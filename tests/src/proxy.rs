//! A TCP port that leads to a server's socket: it counts what the server sends, and can hold it back
//! or cut it off.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::postgres::Server;
use crate::server::pause;

/// A port that is open until this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    gate: Arc<Gate>,
}

/// What all connections have in common.
#[derive(Debug, Default)]
struct Gate {
    /// Bytes that the server sent.
    sent: AtomicU64,
    /// After so many of them, nothing goes on as it did.
    limit: AtomicU64,
    /// Connections end at the limit instead of waiting.
    cut: AtomicBool,
    closed: AtomicBool,
}

impl Proxy {
    /// A port that leads to this server.
    #[must_use]
    pub fn to(server: &Server<'_>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let socket = Path::new(server.options()[1]).join(".s.PGSQL.5432");
        let gate = Arc::new(Gate::default());
        gate.limit.store(u64::MAX, Ordering::Relaxed);
        let shared = Arc::clone(&gate);
        thread::spawn(move || accept(&listener, &socket, &shared));
        Self { address, gate }
    }

    /// What leads a client to the port.
    #[must_use]
    pub fn dsn(&self) -> String {
        let (host, port) = (self.address.ip(), self.address.port());
        format!("host={host} port={port} user=postgres")
    }

    /// Bytes that the server has sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.gate.sent.load(Ordering::Relaxed)
    }

    /// Holds back what the server sends after so many bytes more.
    pub fn hold_after(&self, bytes: u64) {
        self.gate.cut.store(false, Ordering::Relaxed);
        self.gate
            .limit
            .store(self.sent() + bytes, Ordering::Relaxed);
    }

    /// Cuts connections after so many bytes more.
    pub fn cut_after(&self, bytes: u64) {
        self.gate.cut.store(true, Ordering::Relaxed);
        self.gate
            .limit
            .store(self.sent() + bytes, Ordering::Relaxed);
    }

    /// Whether the limit is reached.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.sent() >= self.gate.limit.load(Ordering::Relaxed)
    }

    /// Lifts the limit.
    pub fn release(&self) {
        self.gate.limit.store(u64::MAX, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.gate.closed.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn accept(listener: &TcpListener, socket: &PathBuf, gate: &Arc<Gate>) {
    while let Ok((client, _)) = listener.accept() {
        if gate.closed.load(Ordering::Relaxed) {
            return;
        }
        // A server that is down refuses, and so does this.
        let Ok(server) = UnixStream::connect(socket) else {
            continue;
        };
        let (mut from_client, mut to_server) = (
            client.try_clone().expect("a handle"),
            server.try_clone().expect("a handle"),
        );
        thread::spawn(move || {
            drop(std::io::copy(&mut from_client, &mut to_server));
            drop(to_server.shutdown(Shutdown::Both));
        });
        let gate = Arc::clone(gate);
        thread::spawn(move || {
            forward(&server, &client, &gate);
            drop(client.shutdown(Shutdown::Both));
            drop(server.shutdown(Shutdown::Both));
        });
    }
}

/// Hands on what the server sends, until one side ends or the connection is cut.
fn forward(mut server: &UnixStream, mut client: &TcpStream, gate: &Gate) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match server.read(&mut buffer) {
            Ok(read @ 1..) => {
                gate.sent.fetch_add(read as u64, Ordering::Relaxed);
                while gate.sent.load(Ordering::Relaxed) >= gate.limit.load(Ordering::Relaxed) {
                    if gate.cut.load(Ordering::Relaxed) || gate.closed.load(Ordering::Relaxed) {
                        return;
                    }
                    pause();
                }
                if client.write_all(&buffer[..read]).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}
