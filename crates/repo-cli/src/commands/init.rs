//! `repo init`: makes a repository.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use repo_core::{Access, CreateOptions};

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
