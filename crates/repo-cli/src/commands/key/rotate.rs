//! `repo key rotate` and `repo key retire`: a new master key for all that is stored from now on, and
//! the end of the old ones.

use std::path::PathBuf;

use clap::Args;
use repo_core::{KeyId, Repository, RotateOptions};

use super::new_password;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::key_file;
use crate::message::{KeyRetirementMessage, KeyRotationMessage};
use crate::{output, password, show};

/// Arguments of `key rotate`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The key of each password is replaced by one that holds the new master key, so every password has to \
be at hand, or its key is dropped. Whoever had a password before can still open what was stored \
before the rotation; `repo gc --reseal` seals that anew, at once or over time, and `repo key retire` \
then makes an end of the old key. Programs that run \
meanwhile go on when their password stays, and else end with exit code 11, with nothing lost. \
Stopped anywhere, the repository opens with the old or the new password, and running it again \
completes it. For the default repository a new key is generated in the place of the old one.")]
pub(super) struct RotateArgs {
    /// Read the new password from the first line of FILE. [env: REPO_NEW_PASSWORD]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Keep the password: whoever knows it opens what is stored from now on, too.
    #[arg(long, conflicts_with = "new_password_file")]
    keep_password: bool,
    #[command(flatten)]
    others: Others,
}

/// Arguments of `key retire`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
After `repo key rotate` and `repo gc --reseal`, when the packs that were replaced are deleted, too, \
nothing needs the older master keys. This removes them from the keys of all passwords, which have to \
be at hand as for a rotation, and deletes the log of their time: `--at` and `repo undo` reach back to \
this commit from then on. As long as an older key is needed nothing is done. Programs that have run \
since before the rotation end with exit code 11, with nothing lost. Stopped anywhere, running it \
again completes it.")]
pub(super) struct RetireArgs {
    #[command(flatten)]
    others: Others,
}

/// What becomes of the keys of other passwords.
#[derive(Debug, Args)]
pub(super) struct Others {
    /// Keep the password in the first line of FILE, which opens another key. May be repeated.
    #[arg(long, value_name = "FILE")]
    other_password_file: Vec<PathBuf>,
    /// Drop the keys whose password is not given.
    #[arg(long)]
    drop_others: bool,
}

impl Others {
    /// The passwords of other keys that are kept.
    pub(super) fn read(&self) -> Result<Vec<Vec<u8>>, Failure> {
        let files = self.other_password_file.iter();
        files.map(|file| password::read_file(file)).collect()
    }
}

pub(super) async fn run(context: &Context, args: RotateArgs) -> Result<(), Failure> {
    let (repository, password) = unlock(context).await?;
    let others = args.others.read()?;
    let generated = context.key_file().filter(|_| !args.keep_password);
    let new_password = match generated {
        _ if args.keep_password => None,
        Some(file) if args.new_password_file.is_some() => {
            let file = show::local_path(file);
            let message = format!("the default repository is opened by the key in {file}");
            let hint = "leave out --new-password-file, and a new key is generated there";
            return Err(Failure::failed(message).hint(hint));
        }
        Some(file) => Some(key_file::generate(&key_file::next(file))?),
        None => Some(new_password(context, args.new_password_file.as_deref()).await?),
    };
    let options = RotateOptions {
        new_password,
        others,
        drop_others: args.others.drop_others,
        action: context.action("key rotate")?,
    };
    let rotated = repository.rotate_key(&password, &options).await?;
    if let Some(file) = generated {
        key_file::adopt(file)?;
    }
    context.output.show(&KeyRotationMessage {
        epoch: rotated.epoch,
        first: rotated.first,
        added: ids(&rotated.added),
        removed: ids(&rotated.removed),
        left: ids(&rotated.left),
        key_file: generated.map(show::local_path),
    })
}

pub(super) async fn retire(context: &Context, args: RetireArgs) -> Result<Exit, Failure> {
    let (repository, password) = unlock(context).await?;
    let options = RotateOptions {
        new_password: None,
        others: args.others.read()?,
        drop_others: args.others.drop_others,
        action: context.action("key retire")?,
    };
    let retired = repository.retire_keys(&password, &options).await?;
    for (key, why) in &retired.kept {
        let message = format!("not deleted: {key}: {why}");
        if context.output.is_json() {
            context.output.warn(&message);
        } else {
            output::to_stderr(&format!("warning: {message}"));
        }
    }
    context.output.show(&KeyRetirementMessage {
        epochs: retired.epochs,
        begins: retired.begins,
        added: ids(&retired.added),
        removed: ids(&retired.removed),
        log_objects: retired.cut,
        kept: retired.kept.len() as u64,
    })?;
    Ok(match retired.kept.len() {
        0 => Exit::Ok,
        _ => Exit::Partly,
    })
}

fn ids(ids: &[KeyId]) -> Vec<String> {
    ids.iter().map(KeyId::to_hex).collect()
}

/// Opens the repository, which must have keys, and says which password did.
pub(super) async fn unlock(context: &Context) -> Result<(Repository, Vec<u8>), Failure> {
    match context.unlock(None).await? {
        (repository, Some(password)) => Ok((repository, password)),
        (repository, None) => {
            let location = repository.location();
            let message = format!("the repository at {location} is not encrypted and has no keys");
            Err(Failure::failed(message))
        }
    }
}
