//! The proof that archiving works: a server ends a segment, and it comes out of the repository.

use std::time::Duration;

use repo_core::Repository;
use tokio_postgres::Config;

use crate::lsn::Lsn;
use crate::stream::{self, Client, Mode, Row};
use crate::wal::archive;
use crate::wal::error::{Error, Result};
use crate::wal::header::{self, HEADER_LEN};
use crate::wal::local::check_len;
use crate::wal::name::WalFile;

/// Bytes of the log that a restore point and what is before it in its record fit into.
const RECORD: u64 = 256;
/// Length of a page of the log, in bytes.
const PAGE: u64 = 8192;
/// Times that a restore point is written until none of its record is on another page.
const MARKS_MAX: u32 = 8;
/// Time between two looks at the repository.
const PAUSE: Duration = Duration::from_millis(250);

/// What was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The cluster.
    pub system: u64,
    /// The segment that the server ended and that is in the repository.
    pub segment: WalFile,
}

/// Makes a server end a segment, and waits until the repository holds it. What keeps it from there
/// is said as precisely as the server knows it.
///
/// Writes a restore point into the WAL, so that there is something to archive; the user must be
/// allowed to do that.
pub async fn check(
    repository: &Repository,
    config: &Config,
    user: &str,
    patience: Duration,
) -> Result<Checked> {
    let (config, user) = (config.clone(), user.to_owned());
    let mut server = blocking(move || {
        let mut server = Server {
            client: Client::connect(&config, &user, Mode::Sql)?,
            system: 0,
            segment: WalFile::History(0),
            mark: Mark::default(),
            failed: 0,
        };
        server.prepare()?;
        Ok(server)
    })
    .await?;
    let checked = Checked {
        system: server.system,
        segment: server.segment,
    };
    let mark = server.mark.clone();
    let arrives = async {
        loop {
            repository.refresh().await?;
            if is_there(repository, &checked, &mark).await? {
                return Ok(checked.clone());
            }
            let looked;
            (server, looked) = blocking(move || {
                let looked = server.look();
                Ok((server, looked))
            })
            .await?;
            if let Err(error) = looked {
                // It may have arrived since the look at the repository.
                repository.refresh().await?;
                if is_there(repository, &checked, &mark).await? {
                    return Ok(checked.clone());
                }
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(patience, arrives).await {
        Ok(done) => done,
        Err(_) => Err(Error::Archiving {
            why: format!(
                "segment {} did not arrive within {} s, and the server has not tried it",
                checked.segment,
                patience.as_secs()
            ),
        }),
    }
}

/// Whether the repository holds the segment. One that is there without the mark came from elsewhere,
/// and this server's will be refused.
async fn is_there(repository: &Repository, checked: &Checked, mark: &Mark) -> Result<bool> {
    let Checked { system, segment } = *checked;
    let Some(found) = archive::find(repository, system, segment).await? else {
        return Ok(false);
    };
    let size = found.entry.size;
    check_len(segment, size)?;
    let head = found.view.read(&found.entry, 0..HEADER_LEN as u64).await?;
    header::validate(segment, &head, size, system)?;
    let end = mark.end.0 % size.max(1);
    let range = end.saturating_sub(RECORD)..end;
    let record = found.view.read(&found.entry, range).await?;
    let name = mark.name.as_bytes();
    if name.is_empty() || !record.windows(name.len()).any(|part| part == name) {
        return Err(Error::Archiving {
            why: format!(
                "the repository holds {segment} with other content: another server archives as the same cluster"
            ),
        });
    }
    Ok(true)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::Repository(repo_core::Error::Internal { what: "check" }))?
}

/// What only this server has written.
#[derive(Debug, Clone, Default)]
struct Mark {
    /// Name of a restore point.
    name: String,
    /// Where its record ends.
    end: Lsn,
}

/// The server that archives.
struct Server {
    client: Client,
    system: u64,
    segment: WalFile,
    mark: Mark,
    /// Failures of its archiver before it was asked.
    failed: u64,
}

impl Server {
    /// Looks for what keeps it from archiving, and ends a segment.
    fn prepare(&mut self) -> Result<()> {
        self.client.version()?;
        let settings = self.row(
            "say how it archives",
            "SELECT pg_is_in_recovery()::text, current_setting('archive_mode'), \
             current_setting('archive_command'), coalesce(current_setting('archive_library', true), ''), \
             (SELECT system_identifier::text FROM pg_control_system()), \
             (SELECT failed_count::text FROM pg_stat_archiver)",
        )?;
        let [recovers, mode, command, library, system, failed] = settings.as_slice() else {
            return Err(unclear());
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let why = match (text(recovers).as_str(), text(mode).as_str()) {
            ("true", _) => Some("the server is a standby; check its primary".to_owned()),
            (_, "off") => Some("archive_mode is off".to_owned()),
            _ if !text(library).is_empty() => Some(format!(
                "archive_library is {}, so that archive_command is not used",
                text(library)
            )),
            _ if matches!(text(command).as_str(), "" | "(disabled)") => {
                Some("archive_command is empty".to_owned())
            }
            _ => None,
        };
        if let Some(why) = why {
            return Err(Error::Archiving { why });
        }
        // Signed in SQL, unsigned where it is stored.
        let system: i64 = text(system).parse().map_err(|_| unclear())?;
        self.system = system.cast_unsigned();
        self.failed = text(failed).parse().map_err(|_| unclear())?;
        self.mark = self.write_mark()?;
        let sql = format!("SELECT pg_walfile_name('{}')", self.mark.end);
        let named = self.row("name a segment", &sql)?;
        let named = named.first().and_then(Option::as_deref);
        self.segment = named.ok_or_else(unclear)?.parse()?;
        self.row("end a segment", "SELECT pg_switch_wal()::text")?;
        Ok(())
    }

    /// Writes a restore point with a name of its own. A segment without a record would not be ended,
    /// either.
    fn write_mark(&mut self) -> Result<Mark> {
        let sql = "WITH named AS MATERIALIZED (SELECT 'repo check ' || pg_backend_pid() || ' ' \
                   || extract(epoch FROM clock_timestamp()) AS name) \
                   SELECT name, pg_create_restore_point(name)::text FROM named";
        for _ in 0..MARKS_MAX {
            let mut row = self.row("write a restore point", sql)?.into_iter();
            let name = row.next().flatten().ok_or_else(unclear)?;
            let end: Option<Lsn> = row.next().flatten().and_then(|end| end.parse().ok());
            let end = end.ok_or_else(unclear)?;
            if end.0 % PAGE >= RECORD {
                return Ok(Mark { name, end });
            }
        }
        Err(unclear())
    }

    /// Fails when the server says that the segment will not come.
    fn look(&mut self) -> Result<()> {
        let sql = "SELECT coalesce(last_archived_wal, ''), failed_count::text, \
                   coalesce(last_failed_wal, ''), current_setting('archive_command') \
                   FROM pg_stat_archiver";
        let state = self.row("say what it archived", sql)?;
        let text = |at: usize| state.get(at).cloned().flatten().unwrap_or_default();
        let (archived, command) = (text(0), text(3));
        if archived
            .parse()
            .is_ok_and(|archived| self.is_passed(archived))
        {
            return Err(Error::Archiving {
                why: format!(
                    "the server has archived {} and it is not in this repository; archive_command is {command}",
                    self.segment
                ),
            });
        }
        if text(1).parse::<u64>().map_err(|_| unclear())? > self.failed {
            return Err(Error::Archiving {
                why: format!(
                    "archive_command fails for {}, the server's log says why; it is {command}",
                    text(2)
                ),
            });
        }
        Ok(())
    }

    /// Whether the server, which archives in order, has archived the segment.
    fn is_passed(&self, archived: WalFile) -> bool {
        match (archived, self.segment) {
            (WalFile::Segment(archived), WalFile::Segment(segment)) => {
                archived.timeline == segment.timeline && archived >= segment
            }
            _ => false,
        }
    }

    fn row(&mut self, doing: &'static str, sql: &str) -> Result<Row> {
        let rows = self.client.query(doing, sql)?;
        rows.into_iter().next().ok_or_else(unclear)
    }
}

fn unclear() -> Error {
    Error::Server(stream::Error::Answer { what: "archiving" })
}
