//! `repo dump`: writes a file, or a directory as an archive, to standard output or into a file.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use repo_core::{ArchiveFormat, EntryType};

use crate::commands::cat::Pipe;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::file::NewFile;
use crate::select::{Filter, Target};
use crate::show;

/// Arguments of `dump`.
#[derive(Debug, Args)]
#[command(after_help = "\
A file is written as it is, a directory as a tar archive; names in an archive are relative to PATH.
    repo dump latest:etc | tar -x -C target")]
pub(crate) struct DumpArgs {
    /// Write what is at PATH of SNAPSHOT, an id or `latest`; without PATH, all of it.
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    target: OsString,
    /// Write an archive, of a file too. [default: tar for a directory]
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    archive: Option<Format>,
    /// Write to FILE, which appears once it is whole.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

/// Forms of an archive.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Everything that is known of files.
    Tar,
    /// Compressed; files, directories and symbolic links.
    Zip,
}

impl From<Format> for ArchiveFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Tar => Self::Tar,
            Format::Zip => Self::Zip,
        }
    }
}

pub(crate) async fn run(context: &Context, args: DumpArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let target = Target::parse(&args.target);
    let (view, path) = target.open(&repository, &args.filter).await?;
    let entry = view.entry(&path).await?;
    let archive = match (args.archive, entry.kind) {
        (Some(format), _) => Some(format),
        (None, EntryType::Directory) => Some(Format::Tar),
        (None, EntryType::File) => None,
        (None, _) => {
            let (path, id) = (show::path(&path), show::short(&view.id()));
            let what = format!("{path} in snapshot {id} is neither a file nor a directory");
            return Err(Failure::failed(what).hint("--archive tar saves it as it is"));
        }
    };
    let file = args.output.as_deref().map(NewFile::create).transpose()?;
    let pipe = Pipe::new(&context.output);
    let out: Box<dyn Write + Send> = match &file {
        Some(file) => file.writer()?,
        None => Box::new(pipe.clone()),
    };
    let left_out = match archive {
        None => view.write_to(&entry, out).await.map(|()| 0),
        Some(format) => {
            let report = view.export(&path, format.into(), out).await;
            report.map(|report| report.left_out)
        }
    };
    let left_out = match &file {
        Some(_) => left_out?,
        None => left_out.map_err(|error| pipe.failure(error))?,
    };
    if let Some(file) = file {
        file.finish()?;
    }
    if left_out > 0 {
        let what = show::count(left_out, "entry");
        context.warn(&format!(
            "{what} left out: a zip archive has no devices and pipes"
        ));
        return Ok(Exit::Partly);
    }
    Ok(Exit::Ok)
}
