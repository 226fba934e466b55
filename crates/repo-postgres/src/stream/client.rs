//! A blocking client of the protocol between Postgres and its clients: simple queries, and copies out
//! of the server. Speaks to servers over a Unix socket or TCP, without TLS.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{ErrorFields, Header, Message};
use postgres_protocol::message::frontend;
use tokio_postgres::config::{Config, Host, SslMode};

use crate::stream::error::{Error, Result};

/// Longest message that is taken from a server, in bytes. Servers send copies in much smaller ones.
const MESSAGE_MAX: usize = 16 << 20;
/// Bytes asked of the connection at once.
const READ: usize = 256 << 10;
/// Rows of one answer; all questions asked here have few.
const ROWS_MAX: usize = 100_000;
/// How long a server may take to accept a connection when the connection string does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The port when the connection string does not say.
const PORT: u16 = 5432;
/// Directory of the socket when the connection string does not say.
pub(crate) const SOCKETS: &str = "/var/run/postgresql";

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// SQL, in one database.
    Sql,
    /// The replication protocol.
    Replication,
}

/// A row as text.
pub type Row = Vec<Option<String>>;

/// An open session.
pub struct Client {
    connection: Connection,
    received: BytesMut,
    /// Settings that the server reports.
    version: String,
}

enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a connection string: `key=value` pairs or a URL.
pub fn parse_dsn(dsn: &str) -> Result<Config> {
    dsn.parse().map_err(|source| Error::Dsn { source })
}

impl Client {
    /// Opens a session. What the connection string leaves open: the local socket, port 5432, and the
    /// database `postgres`. `user` is the one to be when it names none.
    pub fn connect(config: &Config, user: &str, mode: Mode) -> Result<Self> {
        if config.get_ssl_mode() == SslMode::Require {
            return Err(Error::NotOffered { what: "TLS" });
        }
        let mut client = Self {
            connection: reach(config)?,
            received: BytesMut::with_capacity(READ),
            version: String::new(),
        };
        let user = config.get_user().unwrap_or(user);
        client.start_up(config, user, mode)?;
        client.authenticate(config, user)?;
        Ok(client)
    }

    /// Version of the server, as in 150004 for 15.4.
    pub fn version(&self) -> Result<u32> {
        let what = "version";
        let mut parts = self.version.split(|c: char| !c.is_ascii_digit());
        let mut part = || parts.next().and_then(|part| part.parse::<u32>().ok());
        let major = part().ok_or(Error::Answer { what })?;
        let minor = part().unwrap_or(0);
        if major < 13 {
            let version = format!("{major}.{minor}");
            return Err(Error::TooOld { version });
        }
        Ok(major.saturating_mul(10_000).saturating_add(minor))
    }

    fn start_up(&mut self, config: &Config, user: &str, mode: Mode) -> Result<()> {
        let mut parameters = vec![
            ("client_encoding", "UTF8"),
            ("user", user),
            ("database", config.get_dbname().unwrap_or("postgres")),
            (
                "application_name",
                config.get_application_name().unwrap_or("repo"),
            ),
        ];
        if let Some(options) = config.get_options() {
            parameters.push(("options", options));
        }
        if mode == Mode::Replication {
            parameters.push(("replication", "true"));
        }
        self.send(|out| frontend::startup_message(parameters, out))
    }

    fn authenticate(&mut self, config: &Config, user: &str) -> Result<()> {
        let password = || {
            config.get_password().ok_or_else(|| Error::Authentication {
                what: format!("a password of {user}"),
            })
        };
        loop {
            match self.receive("open a session")? {
                Message::AuthenticationOk => break,
                Message::AuthenticationCleartextPassword => {
                    let password = password()?;
                    self.send(|out| frontend::password_message(password, out))?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let hash = md5_hash(user.as_bytes(), password()?, body.salt());
                    self.send(|out| frontend::password_message(hash.as_bytes(), out))?;
                }
                Message::AuthenticationSasl(body) => {
                    let offered: Vec<&str> = body.mechanisms().collect().map_err(Error::broken)?;
                    if !offered.contains(&sasl::SCRAM_SHA_256) {
                        let what = format!("one of {}", offered.join(", "));
                        return Err(Error::Authentication { what });
                    }
                    self.scram(password()?)?;
                }
                _ => {
                    let what = "a proof of identity other than a password".to_owned();
                    return Err(Error::Authentication { what });
                }
            }
        }
        loop {
            match self.receive("open a session")? {
                Message::ReadyForQuery(_) => return Ok(()),
                Message::ParameterStatus(body) => {
                    if body.name().map_err(Error::broken)? == "server_version" {
                        body.value()
                            .map_err(Error::broken)?
                            .clone_into(&mut self.version);
                    }
                }
                Message::BackendKeyData(_) => {}
                _ => return Err(Error::Answer { what: "a session" }),
            }
        }
    }

    fn scram(&mut self, password: &[u8]) -> Result<()> {
        let what = "a password";
        let unrequested = sasl::ChannelBinding::unsupported();
        let mut scram = sasl::ScramSha256::new(password, unrequested);
        let first = scram.message().to_vec();
        self.send(|out| frontend::sasl_initial_response(sasl::SCRAM_SHA_256, &first, out))?;
        let Message::AuthenticationSaslContinue(body) = self.receive("open a session")? else {
            return Err(Error::Answer { what });
        };
        scram.update(body.data()).map_err(Error::broken)?;
        let second = scram.message().to_vec();
        self.send(|out| frontend::sasl_response(&second, out))?;
        let Message::AuthenticationSaslFinal(body) = self.receive("open a session")? else {
            return Err(Error::Answer { what });
        };
        scram.finish(body.data()).map_err(Error::broken)
    }

    /// Asks a question and gives all rows of the answer. `doing` says it in words.
    pub fn query(&mut self, doing: &'static str, sql: &str) -> Result<Vec<Row>> {
        self.ask(sql)?;
        self.rest(doing)
    }

    /// Reads to the end of an answer; what the server refused is an error.
    pub(crate) fn finish(&mut self, doing: &'static str) -> Result<()> {
        self.rest(doing).map(drop)
    }

    /// The rows up to the end of an answer.
    fn rest(&mut self, doing: &'static str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            match self.receive_any()? {
                Message::ReadyForQuery(_) => break,
                Message::DataRow(body) if rows.len() < ROWS_MAX => rows.push(row(&body)?),
                Message::ErrorResponse(body) => refused = Some(said(doing, body.fields())),
                _ => {}
            }
        }
        refused.map_or(Ok(rows), Err)
    }

    /// Asks for something that the server takes bytes for, up to where it waits for them.
    pub(crate) fn begin_copy_in(&mut self, sql: &str, doing: &'static str) -> Result<()> {
        self.ask(sql)?;
        match self.receive(doing)? {
            Message::CopyInResponse(_) => Ok(()),
            _ => Err(Error::Answer { what: "a copy" }),
        }
    }

    /// Sends bytes. A server that does not want them says so at the end.
    pub(crate) fn copy_in(&mut self, bytes: &[u8]) -> Result<()> {
        self.send(|out| {
            frontend::CopyData::new(bytes)?.write(out);
            Ok(())
        })
    }

    /// Says that these were all bytes, and reads what the server says to them.
    pub(crate) fn end_copy_in(&mut self, doing: &'static str) -> Result<()> {
        self.send(|out| {
            frontend::copy_done(out);
            Ok(())
        })?;
        self.finish(doing)
    }

    /// Sends a question whose answer is read message by message.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<()> {
        self.send(|out| frontend::query(sql, out))
    }

    /// The next message; what the server refuses is an error.
    pub(crate) fn receive(&mut self, doing: &'static str) -> Result<Message> {
        match self.receive_any()? {
            Message::ErrorResponse(body) => Err(said(doing, body.fields())),
            message => Ok(message),
        }
    }

    /// The rows of the next result of an answer that has several.
    pub(crate) fn result(&mut self, doing: &'static str) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        loop {
            match self.receive(doing)? {
                Message::RowDescription(_) => {}
                Message::DataRow(body) if rows.len() < ROWS_MAX => rows.push(row(&body)?),
                Message::CommandComplete(_) => return Ok(rows),
                _ => return Err(Error::Answer { what: "a backup" }),
            }
        }
    }

    /// The next message but notices.
    fn receive_any(&mut self) -> Result<Message> {
        loop {
            if let Some(header) = Header::parse(&self.received).map_err(Error::broken)?
                && usize::try_from(header.len()).is_ok_and(|len| len > MESSAGE_MAX)
            {
                let long = io::Error::new(io::ErrorKind::InvalidData, "a message is too long");
                return Err(Error::broken(long));
            }
            match Message::parse(&mut self.received).map_err(Error::broken)? {
                Some(Message::NoticeResponse(body)) => {
                    if let Error::Refused { message, .. } = said("", body.fields()) {
                        tracing::info!(message, "the server says");
                    }
                }
                Some(message) => return Ok(message),
                None => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> Result<()> {
        let held = self.received.len();
        self.received.resize(held + READ, 0);
        let read = match self.connection.read(&mut self.received[held..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        self.received
            .truncate(held + read.as_ref().map_or(0, |read| *read));
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            read => read.map(drop).map_err(Error::broken),
        }
    }

    fn send(&mut self, message: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<()> {
        let mut out = BytesMut::new();
        message(&mut out)
            .and_then(|()| self.connection.write_all(&out))
            .map_err(Error::broken)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        // A server that is gone needs no farewell.
        drop(self.connection.write_all(&out));
    }
}

/// Connects to the first host that answers.
fn reach(config: &Config) -> Result<Connection> {
    let timeout = config
        .get_connect_timeout()
        .copied()
        .unwrap_or(CONNECT_TIMEOUT);
    let default = [Host::Unix(SOCKETS.into())];
    let hosts = match config.get_hosts() {
        [] => default.as_slice(),
        hosts => hosts,
    };
    let mut last = None;
    for (at, host) in hosts.iter().enumerate() {
        let ports = config.get_ports();
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(PORT);
        let (place, reached) = match host {
            Host::Unix(directory) => unix(directory, port),
            Host::Tcp(name) => {
                let address = config.get_hostaddrs().get(at).map(ToString::to_string);
                (
                    format!("{name}:{port}"),
                    tcp(config, address.as_deref().unwrap_or(name), port, timeout),
                )
            }
        };
        match reached {
            Ok(connection) => return Ok(connection),
            Err(source) => last = Some(Error::Connect { place, source }),
        }
    }
    Err(last.unwrap_or(Error::NotOffered { what: "no host" }))
}

fn unix(directory: &Path, port: u16) -> (String, io::Result<Connection>) {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    let reached = UnixStream::connect(&path).map(Connection::Unix);
    (path.display().to_string(), reached)
}

fn tcp(config: &Config, name: &str, port: u16, timeout: Duration) -> io::Result<Connection> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for address in (name, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                if config.get_keepalives() {
                    // A server that vanished without a word is noticed by the probes.
                    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
                    let idle = Duration::from_secs(60);
                    rustix::net::sockopt::set_tcp_keepidle(&stream, idle)?;
                    rustix::net::sockopt::set_tcp_keepintvl(&stream, idle / 6)?;
                }
                return Ok(Connection::Tcp(stream));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn row(body: &postgres_protocol::message::backend::DataRowBody) -> Result<Row> {
    let what = "a query";
    let buffer: &Bytes = body.buffer_bytes();
    let mut row = Row::new();
    let mut ranges = body.ranges();
    while let Some(range) = ranges.next().map_err(Error::broken)? {
        let value = match range {
            Some(range) => {
                let bytes = buffer.get(range).ok_or(Error::Answer { what })?;
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            None => None,
        };
        row.push(value);
    }
    Ok(row)
}

/// What a server says in an error or a notice.
fn said(doing: &'static str, mut fields: ErrorFields<'_>) -> Error {
    let (mut message, mut code) = (String::new(), String::new());
    while let Ok(Some(field)) = fields.next() {
        let value = || String::from_utf8_lossy(field.value_bytes()).replace('\n', " ");
        match field.type_() {
            b'M' => message = value(),
            b'C' => code = value(),
            _ => {}
        }
    }
    Error::Refused {
        doing,
        message,
        code,
    }
}
