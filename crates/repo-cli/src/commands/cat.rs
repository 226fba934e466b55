//! `repo cat`: writes the content of a file to standard output.

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use repo_core::{EntryType, Error};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::select::{Filter, Target};
use crate::show;

/// Arguments of `cat`.
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// Write the file at PATH of SNAPSHOT, an id or `latest`.
    #[arg(value_name = "SNAPSHOT:PATH")]
    target: OsString,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: CatArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let target = Target::parse(&args.target);
    let (view, path) = target.open(&repository, &args.filter).await?;
    let entry = view.entry(&path).await?;
    if entry.kind != EntryType::File {
        let id = show::short(&view.id());
        return Err(Failure::failed(if path.is_empty() {
            format!("the root of snapshot {id} is not a file; name one as {id}:PATH")
        } else {
            format!("{} in snapshot {id} is not a file", show::path(&path))
        }));
    }
    let pipe = Pipe::new(&context.output);
    let written = view.write_to(&entry, Box::new(pipe.clone())).await;
    written.map_err(|error| pipe.failure(error))?;
    Ok(Exit::Ok)
}

/// Standard output, remembering whether its reader has gone.
#[derive(Clone)]
pub(crate) struct Pipe {
    output: Output,
    broken: Arc<AtomicBool>,
}

impl Pipe {
    pub(crate) fn new(output: &Output) -> Self {
        Self {
            output: output.clone(),
            broken: Arc::default(),
        }
    }

    /// What an error that ended the writing means.
    pub(crate) fn failure(&self, error: Error) -> Failure {
        match error {
            _ if self.broken.load(Ordering::Relaxed) => Failure::output_closed(),
            Error::Io {
                operation: "write",
                source,
                ..
            } => Failure::output(&source),
            error => error.into(),
        }
    }

    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            self.broken.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes);
        self.watch(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = Write::flush(&mut self.output);
        self.watch(flushed)
    }
}
