//! `repo key`: the passwords that open the repository, and the keys they open.
//!
//! Each password has a key slot. A password that is removed no longer opens the repository; whoever
//! kept a copy of its slot can still use it, until the keys themselves are rotated.

mod rotate;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use repo_core::{KeyId, KeyInfo, Repository};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::{KeyChangeMessage, KeyEpochMessage, KeyMessage};
use crate::password::{self, Source};
use crate::show;

/// Shortest prefix of a key's id.
const PREFIX_MIN: usize = 4;

/// Arguments of `key`.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the keys, and the epochs of what they open.
    List,
    /// Add a password.
    Add(NewPassword),
    /// Remove a password by the id of its key.
    Remove {
        /// Remove this key: its id, or a part of it from the start.
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Replace the password that was used to open the repository.
    Change(NewPassword),
    /// Seal everything from now on under a new master key.
    Rotate(rotate::RotateArgs),
    /// Make an end of older master keys that nothing needs any more.
    Retire(rotate::RetireArgs),
}

/// Where a new password comes from.
#[derive(Debug, Args)]
struct NewPassword {
    /// Read the new password from the first line of FILE. [env: REPO_NEW_PASSWORD]
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Say for people whose password it is.
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
}

impl NewPassword {
    async fn read(&self, context: &Context) -> Result<Vec<u8>, Failure> {
        new_password(context, self.new_password_file.as_deref()).await
    }
}

/// The new password: from `file`, the environment, or whoever sits at the terminal.
async fn new_password(context: &Context, file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    if let Some(file) = file {
        return password::read_file(file);
    }
    if let Some(value) = context.environment.get("REPO_NEW_PASSWORD") {
        return Source::Value(value.to_owned()).read();
    }
    let missing = "no new password is given";
    password::ask_twice("new password", missing)
        .await
        .map_err(|failure| failure.hint("use --new-password-file or REPO_NEW_PASSWORD"))
}

pub(crate) async fn run(context: &Context, args: KeyArgs) -> Result<Exit, Failure> {
    match args.action {
        Action::List => list(context, &context.open().await?).await?,
        Action::Add(new) => add(context, &new).await?,
        Action::Remove { key } => remove(context, &key).await?,
        Action::Change(new) => change(context, &new).await?,
        Action::Rotate(args) => rotate::run(context, args).await?,
        Action::Retire(args) => return rotate::retire(context, args).await,
    }
    Ok(Exit::Ok)
}

async fn list(context: &Context, repository: &Repository) -> Result<(), Failure> {
    let keys = repository.keys().await?;
    if context.output.is_json() {
        for key in &keys {
            context.output.message(&KeyMessage {
                id: key.id.to_hex(),
                created: show::utc_time(key.created_ms),
                label: &key.label,
                current: key.current,
                memory_kib: key.memory_kib,
                passes: key.passes,
                lanes: key.lanes,
            })?;
        }
        let epochs = repository.key_epochs().into_iter();
        for epoch in epochs.filter(|_| repository.encrypted()) {
            context.output.message(&KeyEpochMessage {
                epoch: epoch.number,
                first: epoch.first,
                current: epoch.current,
            })?;
        }
        return Ok(());
    }
    let heading = ["ID", "CREATED", "KEY DERIVATION", "LABEL"];
    let rows: Vec<_> = keys.iter().map(row).collect();
    for line in show::table(&heading, &[], &rows) {
        context.output.line(line)?;
    }
    list_epochs(context, repository)
}

/// The epochs, where there is more to say than that there is one.
fn list_epochs(context: &Context, repository: &Repository) -> Result<(), Failure> {
    let epochs = repository.key_epochs();
    if epochs.iter().all(|epoch| epoch.first.is_none()) {
        return Ok(());
    }
    let rows: Vec<_> = epochs
        .iter()
        .map(|epoch| {
            let use_of = if epoch.current {
                "seals what is stored now"
            } else {
                "opens what is older"
            };
            let first = epoch
                .first
                .map_or("start".to_owned(), |first| first.to_string());
            vec![epoch.number.to_string(), first, use_of.to_owned()]
        })
        .collect();
    context.output.line("")?;
    for line in show::table(
        &["EPOCH", "FROM COMMIT", "USE"],
        &["EPOCH", "FROM COMMIT"],
        &rows,
    ) {
        context.output.line(line)?;
    }
    Ok(())
}

fn row(key: &KeyInfo) -> Vec<String> {
    let memory = show::bytes(u64::from(key.memory_kib) << 10);
    let mut label = show::path(key.label.as_bytes());
    if key.current {
        label = format!("{label} (in use)").trim_start().to_owned();
    }
    vec![
        key.id.to_hex()[..8].to_owned(),
        show::local_time(key.created_ms),
        format!("argon2id {memory} x {}", key.passes),
        label,
    ]
}

async fn add(context: &Context, new: &NewPassword) -> Result<(), Failure> {
    let repository = context.open().await?;
    let password = new.read(context).await?;
    let added = repository.add_key(&password, &new.label).await?;
    context.output.show(&KeyChangeMessage {
        added: Some(added.to_hex()),
        removed: None,
    })
}

async fn remove(context: &Context, name: &str) -> Result<(), Failure> {
    let repository = context.open().await?;
    let keys = repository.keys().await?;
    let id = find(&keys, name)?;
    repository.remove_key(&id).await?;
    context.output.show(&KeyChangeMessage {
        added: None,
        removed: Some(id.to_hex()),
    })
}

fn find(keys: &[KeyInfo], name: &str) -> Result<KeyId, Failure> {
    let prefix = name.to_ascii_lowercase();
    let hint = "`repo key list` lists what there is";
    if prefix.len() < PREFIX_MIN || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let shown = show::path(name.as_bytes());
        let message = format!("no key {shown}: give at least {PREFIX_MIN} characters of its id");
        return Err(Failure::failed(message).hint(hint));
    }
    // A damaged slot is in no list; who has its whole name from `repo check` can remove it.
    if let Some(id) = KeyId::from_hex(&prefix) {
        return Ok(id);
    }
    let ids = keys.iter().map(|key| key.id);
    let found: Vec<KeyId> = ids.filter(|id| id.to_hex().starts_with(&prefix)).collect();
    match found.as_slice() {
        [] => Err(Failure::failed(format!("no key {prefix}")).hint(hint)),
        [one] => Ok(*one),
        _ => Err(Failure::failed(format!("key {prefix} is ambiguous")).hint(hint)),
    }
}

/// Adds before it removes: stopped in between, both passwords open the repository.
async fn change(context: &Context, new: &NewPassword) -> Result<(), Failure> {
    if let Some(key_file) = context.key_file() {
        let key_file = show::local_path(key_file);
        let message = format!("the default repository is opened by the key in {key_file}");
        let hint = "`repo key rotate` makes a new one, `repo key add` adds a password";
        return Err(Failure::failed(message).hint(hint));
    }
    let repository = context.open().await?;
    let keys = repository.keys().await?;
    let current = keys.iter().find(|key| key.current).map(|key| key.id);
    let current = current
        .ok_or_else(|| Failure::failed("the key that opened the repository is no longer there"))?;
    let password = new.read(context).await?;
    let added = repository.add_key(&password, &new.label).await?;
    repository.remove_key(&current).await?;
    context.output.show(&KeyChangeMessage {
        added: Some(added.to_hex()),
        removed: Some(current.to_hex()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> KeyInfo {
        KeyInfo {
            id: KeyId([first; 32]),
            created_ms: 0,
            label: "me".to_owned(),
            memory_kib: 65_536,
            passes: 3,
            lanes: 1,
            current: first == 0xab,
        }
    }

    #[test]
    fn keys_are_found_by_prefix() {
        let keys = [key(0xab), key(0xcd)];
        assert_eq!(find(&keys, "ABAB"), Ok(keys[0].id));
        assert_eq!(find(&keys, &"ef".repeat(32)), Ok(KeyId([0xef; 32])));
        for name in ["ab", "xyzw", "ffff", ""] {
            assert!(find(&keys, name).is_err(), "{name}");
        }
        let twins = [key(0xab), key(0xab)];
        let failure = find(&twins, "abababab").expect_err("ambiguous");
        assert!(failure.message.contains("ambiguous"));
    }

    #[test]
    fn the_key_in_use_is_marked() {
        assert_eq!(row(&key(0xab))[3], "me (in use)");
        assert_eq!(row(&key(0xcd))[2..], ["argon2id 64.0 MiB x 3", "me"]);
    }
}
