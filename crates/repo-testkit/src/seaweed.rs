//! A real S3 server (SeaweedFS) for as long as a test needs it.
//!
//! The server runs under a shell that waits on a pipe held by this process and ends the server
//! when the pipe closes, so that not even a killed test leaves one behind.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::tools;

const BUCKET: &str = "repo-test";
const ACCESS_KEY: &str = "repo-test-key";
const SECRET_KEY: &str = "repo-test-secret";
const PAUSE: Duration = Duration::from_millis(50);
/// A minute: it takes some seconds on an idle machine.
const PAUSES_MAX: usize = 1200;
const STARTS_MAX: usize = 3;

/// Runs the server in a process group of one, with everything it needs below its own directory.
/// `$1` is that directory, the ports follow, and the tool is `$0`. Where it is a catalog, small objects are
/// kept beside their names: of others it registers none, and shows empty tables instead.
const SUPERVISOR: &str = r#"
dir=$1; shift
cd "$dir" || exit 1
inline=0
[ "$9" = 0 ] || inline=1048576
tls=
[ "${10}" = 0 ] || tls="-s3.port.https=${10} -s3.cert.file=tls.crt -s3.key.file=tls.key"
"$0" -logtostderr=true server -dir=data -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -master.telemetry=false -master.volumeSizeLimitMB=64 -volume.max=200 \
  -master.port=$1 -master.port.grpc=$2 -volume.port=$3 -volume.port.grpc=$4 \
  -filer -filer.port=$5 -filer.port.grpc=$6 -filer.localSocket="$dir/filer.sock" \
  -s3 -s3.port=$7 -s3.port.grpc=$8 -s3.localSocket="$dir/s3.sock" -s3.config=s3.json \
  -s3.port.iceberg=$9 -s3.port.lance=0 -s3.autoCreateBucket=false -filer.saveToFilerLimit=$inline $tls \
  </dev/null >log 2>&1 &
server=$!
read -r _
kill -9 $server
wait $server 2>/dev/null
for port in "$@"; do rm -f /tmp/seaweedfs-*-$port.sock; done
rm -rf "$dir"
"#;

/// What a server offers beside S3.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    Catalog,
    Tls,
}

/// A running server with one bucket; ends when dropped or when the process ends.
#[derive(Debug)]
pub struct Seaweed {
    supervisor: Child,
    weed: PathBuf,
    ports: [u16; 10],
    directory: TempDir,
}

impl Seaweed {
    /// The server that the tests of this process share, started by the first.
    ///
    /// # Panics
    /// When the server cannot be started: a test that needs it must not pass without it.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Seaweed> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().expect("a SeaweedFS server"))
    }

    /// Starts a server of the caller's own and waits until it answers.
    pub fn start() -> io::Result<Self> {
        Self::start_as(&[])
    }

    /// Starts a server that speaks TLS on a port of its own, too. Who connects cannot verify its certificate.
    pub fn start_with_tls() -> io::Result<Self> {
        Self::start_as(&[Extra::Tls])
    }

    /// Starts a server that is an Iceberg REST catalog, too, with the buckets `lake` and `other-lake` as
    /// its warehouses. In those, objects are below `<namespace>/<table>/` only.
    pub fn start_with_catalog() -> io::Result<Self> {
        let server = Self::start_as(&[Extra::Catalog])?;
        for name in ["lake", "other-lake"] {
            let command = format!("s3tables.bucket -create -name {name} -account 000000000000");
            let said = server.shell(&command)?;
            if !said.contains("s3tables") {
                return Err(io::Error::other(format!("no warehouse was made: {said}")));
            }
        }
        Ok(server)
    }

    fn start_as(extras: &[Extra]) -> io::Result<Self> {
        let weed = tools::place("bin/weed");
        if !weed.is_file() {
            return Err(io::Error::other(format!(
                "{} is missing: run tests/tools/install.sh",
                weed.display()
            )));
        }
        let mut failure = io::Error::other("not started");
        // A port that was free may be taken before the server has it.
        for _ in 0..STARTS_MAX {
            let server = Self::spawn(&weed, extras)?;
            match server.wait_until_ready() {
                Ok(()) => {
                    server.create_bucket(BUCKET)?;
                    return Ok(server);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The URL of the S3 interface.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3_port())
    }

    /// The port that speaks TLS, on a server that has one.
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.ports[9]
    }

    /// Names of the key and its secret.
    #[must_use]
    pub fn credentials(&self) -> (&'static str, &'static str) {
        (ACCESS_KEY, SECRET_KEY)
    }

    /// Bytes on disk of the objects in a bucket, deleted ones included until the server cleans up.
    pub fn bytes_in(&self, bucket: &str) -> io::Result<u64> {
        let mut bytes = 0;
        for file in fs::read_dir(self.directory.path().join("data"))? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let number = name
                .strip_prefix(bucket)
                .and_then(|rest| rest.strip_prefix('_'));
            if number.is_some_and(|number| number.ends_with(".dat")) {
                bytes += file.metadata()?.len();
            }
        }
        Ok(bytes)
    }

    /// The URL of the catalog, on a server that is one.
    #[must_use]
    pub fn catalog(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[8])
    }

    /// A location in the server's bucket, for `Store::open`.
    #[must_use]
    pub fn location(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// The options that `Store::open` needs to reach it.
    #[must_use]
    pub fn options(&self) -> Vec<(String, String)> {
        let endpoint = self.endpoint();
        [
            ("aws_access_key_id", ACCESS_KEY),
            ("aws_secret_access_key", SECRET_KEY),
            ("aws_region", "us-east-1"),
            ("aws_endpoint", endpoint.as_str()),
            ("aws_allow_http", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Creates another bucket.
    pub fn create_bucket(&self, name: &str) -> io::Result<()> {
        self.make_bucket(name, "")
    }

    /// Creates a bucket with versions and Object Lock.
    pub fn create_locking_bucket(&self, name: &str) -> io::Result<()> {
        self.make_bucket(name, " -withLock")
    }

    fn make_bucket(&self, name: &str, options: &str) -> io::Result<()> {
        let said = self.shell(&format!("s3.bucket.create -name {name}{options}"))?;
        if said.contains("created bucket") {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "bucket {name} not created: {said}"
        )))
    }

    /// Runs a command of the server's own shell; gives what it said.
    fn shell(&self, command: &str) -> io::Result<String> {
        let [master, master_grpc, _, _, filer, filer_grpc, ..] = self.ports;
        let mut shell = Command::new(&self.weed)
            .arg("shell")
            .arg(format!("-master=127.0.0.1:{master}.{master_grpc}"))
            .arg(format!("-filer=127.0.0.1:{filer}.{filer_grpc}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        if let Some(mut stdin) = shell.stdin.take() {
            writeln!(stdin, "{command}")?;
        }
        // It waits for ever for a server that is gone.
        let mut pauses = 0;
        while shell.try_wait()?.is_none() {
            if pauses >= PAUSES_MAX {
                shell.kill()?;
            }
            pauses += 1;
            pause();
        }
        let output = shell.wait_with_output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn s3_port(&self) -> u16 {
        self.ports[6]
    }

    fn spawn(weed: &Path, extras: &[Extra]) -> io::Result<Self> {
        let directory = TempDir::with_prefix("weed-")?;
        fs::create_dir(directory.path().join("data"))?;
        let identities = format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{ACCESS_KEY}","secretKey":"{SECRET_KEY}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
        );
        fs::write(directory.path().join("s3.json"), identities)?;
        let mut ports = free_ports()?;
        if !extras.contains(&Extra::Catalog) {
            ports[8] = 0;
        }
        if extras.contains(&Extra::Tls) {
            make_certificate(directory.path())?;
        } else {
            ports[9] = 0;
        }
        let supervisor = Command::new("sh")
            .args(["-c", SUPERVISOR])
            .arg(weed)
            .arg(directory.path())
            .args(ports.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            supervisor,
            weed: weed.to_path_buf(),
            ports,
            directory,
        })
    }

    fn wait_until_ready(&self) -> io::Result<()> {
        for _ in 0..PAUSES_MAX {
            // Unsigned requests are refused by a gateway that has read its identities.
            if self.answer("GET /").is_ok_and(|a| a.contains(" 403 ")) {
                return Ok(());
            }
            pause();
        }
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(10).collect();
        Err(io::Error::other(format!("weed is not ready: {lines:#?}")))
    }

    fn answer(&self, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.s3_port()))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "{request} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        // Its work is to end; there is nobody to tell that it could not.
        drop(self.supervisor.wait());
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "another process is waited for, which tells nobody when it is ready"
)]
fn pause() {
    thread::sleep(PAUSE);
}

fn make_certificate(directory: &Path) -> io::Result<()> {
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
        ])
        .args([
            "-subj",
            "/CN=127.0.0.1",
            "-keyout",
            "tls.key",
            "-out",
            "tls.crt",
        ])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()?;
    if made.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&made.stderr);
    Err(io::Error::other(format!("openssl failed: {said}")))
}

fn free_ports() -> io::Result<[u16; 10]> {
    let mut held = Vec::new();
    let mut ports = [0; 10];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
