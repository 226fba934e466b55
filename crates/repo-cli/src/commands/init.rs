//! `repo init`: makes a repository.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use repo_core::{Access, CreateOptions, LockFor, LockMode};

use crate::args::{byte_size, key_value};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::location::Place;
use crate::other::Named;
use crate::password;

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Store data in clear: anyone who can read the store can read it.
    #[arg(long, conflicts_with_all = ["cipher", "key_label", "password_file", "password_command"])]
    no_encryption: bool,
    /// Encrypt with this cipher. chacha20-poly1305 is the faster one without AES instructions.
    #[arg(long, value_enum)]
    cipher: Option<CipherName>,
    /// Close a pack at this length, as in 16MiB.
    #[arg(long, value_name = "SIZE", value_parser = pack_size)]
    pack_size: Option<u32>,
    /// Have the store itself keep every snapshot for so long, as in 30d; units are h, d, w, y.
    #[arg(long, value_name = "DURATION", value_parser = lock_time)]
    lock_for: Option<u64>,
    /// Say who may lift such a lock: governance, whoever has the permission to bypass it;
    /// compliance, nobody.
    #[arg(long, value_enum, default_value = "governance", requires = "lock_for")]
    lock_mode: ModeName,
    /// Say for people whose password the first one is.
    #[arg(long, value_name = "TEXT", default_value = "")]
    key_label: String,
    /// Cut files as the repository at LOCATION does, so that copies from there and snapshots taken
    /// here share chunks. Both then share the secret of where files are cut.
    #[arg(long, value_name = "LOCATION")]
    copy_chunker_params_from: Option<OsString>,
    /// Read the password of that repository from the first line of FILE.
    /// [env: REPO_FROM_PASSWORD_FILE, REPO_FROM_PASSWORD, REPO_FROM_PASSWORD_COMMAND]
    #[arg(long, value_name = "FILE", requires = "copy_chunker_params_from")]
    from_password_file: Option<PathBuf>,
    /// Set an option of that repository's store. May be repeated.
    #[arg(long = "from-option", value_name = "KEY=VALUE", value_parser = key_value)]
    from_options: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CipherName {
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    Governance,
    Compliance,
}

impl From<ModeName> for LockMode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Governance => Self::Governance,
            ModeName::Compliance => Self::Compliance,
        }
    }
}

impl From<CipherName> for repo_core::Cipher {
    fn from(name: CipherName) -> Self {
        match name {
            CipherName::Aes256Gcm => Self::Aes256Gcm,
            CipherName::ChaCha20Poly1305 => Self::ChaCha20Poly1305,
        }
    }
}

fn pack_size(text: &str) -> Result<u32, String> {
    let size = byte_size(text)?;
    u32::try_from(size).map_err(|_| "too large".to_owned())
}

/// Reads a time such as `30d`, in milliseconds.
fn lock_time(text: &str) -> Result<u64, String> {
    const HOUR_MS: u64 = 3_600_000;
    /// The most that a repository takes: a hundred years.
    const MOST_MS: u64 = 100 * 366 * 24 * HOUR_MS;
    let expected = || "expected a number and h, d, w or y".to_owned();
    let (number, hours) = match text
        .trim()
        .split_at_checked(text.trim().len().saturating_sub(1))
    {
        Some((number, "h")) => (number, 1),
        Some((number, "d")) => (number, 24),
        Some((number, "w")) => (number, 7 * 24),
        Some((number, "y")) => (number, 365 * 24),
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    match number.checked_mul(hours * HOUR_MS) {
        Some(0) => Err("a lock of no time protects nothing".to_owned()),
        Some(ms) if ms <= MOST_MS => Ok(ms),
        _ => Err("more than a hundred years".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: InitArgs) -> Result<Exit, Failure> {
    let cutting = match &args.copy_chunker_params_from {
        Some(location) => {
            let other = context.other(Named {
                option: "--copy-chunker-params-from",
                variables: "REPO_FROM_PASSWORD",
                location,
                password_file: args.from_password_file.clone(),
                password_command: None,
                options: &args.from_options,
            })?;
            Some(other.open().await?.cutting())
        }
        None => None,
    };
    let options = CreateOptions {
        cutting,
        cipher: args.cipher.map(Into::into),
        label: args.key_label,
        pack_size: args.pack_size,
        lock: args.lock_for.map(|for_ms| LockFor {
            mode: args.lock_mode.into(),
            for_ms,
        }),
        ..CreateOptions::default()
    };
    let repository = if args.no_encryption {
        context.create(&Access::Plain, &options).await?
    } else {
        match (&context.place, &context.source) {
            (Place::Default { .. }, None) => context.create_default(&options).await?,
            (_, Some(source)) => {
                let access = Access::password(source.read()?);
                context.create(&access, &options).await?
            }
            (Place::Named(_), None) => {
                let missing = "no password is given for the new repository";
                let password = password::ask_twice("password of the new repository", missing);
                let access = Access::password(password.await?);
                context.create(&access, &options).await?
            }
        }
    };
    context.output.show(&context.created(&repository))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::lock_time;

    #[test]
    fn times_of_locks_have_units() {
        let day = 86_400_000;
        for (text, ms) in [
            ("36h", Some(day * 3 / 2)),
            ("30d", Some(30 * day)),
            ("2w", Some(14 * day)),
            ("100y", Some(36_500 * day)),
            ("101y", None),
            ("0d", None),
            ("30", None),
            ("d", None),
            ("-1d", None),
            ("1.5d", None),
            ("\u{e4}", None),
            ("", None),
            ("99999999999999999999y", None),
        ] {
            assert_eq!(lock_time(text).ok(), ms, "{text}");
        }
    }
}
