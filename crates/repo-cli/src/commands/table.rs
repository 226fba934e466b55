//! `repo table`: lakehouse tables, saved at one version each and restored to any place.

mod diff;
mod drill;
mod export;
mod manifest;
mod register;
mod restore;
mod snapshot;

use clap::{Args, Subcommand};
use repo_core::{Repository, SnapshotView};
use repo_tables::Lake;

use crate::args::key_value;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::select::{self, Filter};

/// Arguments of `table`.
#[derive(Debug, Args)]
pub(crate) struct TableArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Save tables: all their files at one version each.
    Snapshot(snapshot::SnapshotArgs),
    /// Make tables of a snapshot again, at their own place or another.
    Restore(restore::RestoreArgs),
    /// Print what a snapshot of tables holds.
    Manifest(manifest::ManifestArgs),
    /// Compare the tables of two snapshots.
    Diff(diff::DiffArgs),
    /// Restore into a scratch place, open every table and compare it.
    Drill(drill::DrillArgs),
    /// Write tables in their own layout, adding only files that are missing.
    Export(export::ExportArgs),
}

/// How the stores of tables are reached.
#[derive(Debug, Clone, Default, Args)]
struct LakeArgs {
    /// Set an option of the stores that tables are in; without any, those of the repository's store
    /// hold. May be repeated.
    #[arg(long = "table-option", value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
}

/// How catalogs are reached.
#[derive(Debug, Clone, Default, Args)]
struct CatalogArgs {
    /// Set an option of catalogs: token, credential (ID:SECRET), scope, oauth2-server-uri, warehouse and
    /// prefix of REST ones, name of SQL ones. May be repeated. [env: REPO_CATALOG_TOKEN,
    /// REPO_CATALOG_CREDENTIAL]
    #[arg(long = "catalog-option", value_name = "KEY=VALUE", value_parser = key_value)]
    catalog_options: Vec<(String, String)>,
}

impl CatalogArgs {
    /// Options of the command line after those of the environment, where secrets are not seen by others.
    fn all(&self, context: &Context) -> Result<Vec<(String, String)>, Failure> {
        let mut all = Vec::new();
        for (variable, key) in [
            ("REPO_CATALOG_TOKEN", "token"),
            ("REPO_CATALOG_CREDENTIAL", "credential"),
        ] {
            if let Some(value) = context.environment.text(variable)? {
                all.push((key.to_owned(), value.to_owned()));
            }
        }
        all.extend(self.catalog_options.iter().cloned());
        Ok(all)
    }
}

impl TableArgs {
    /// Whether it only says what it would do.
    pub(crate) const fn is_dry(&self) -> bool {
        matches!(&self.action, Action::Snapshot(args) if args.is_dry())
    }

    /// What the command is called in the figures.
    pub(crate) const fn name(&self) -> &'static str {
        match self.action {
            Action::Snapshot(_) => "table snapshot",
            Action::Restore(_) => "table restore",
            Action::Manifest(_) => "table manifest",
            Action::Diff(_) => "table diff",
            Action::Drill(_) => "table drill",
            Action::Export(_) => "table export",
        }
    }
}

impl LakeArgs {
    fn lake(&self, context: &Context) -> Lake {
        let mut options = match self.options.is_empty() {
            true => context.store_options(),
            false => context.environment.provider_options(),
        };
        options.extend(self.options.iter().cloned());
        Lake::new(options)
    }
}

pub(crate) async fn run(context: &Context, args: TableArgs) -> Result<Exit, Failure> {
    match args.action {
        Action::Snapshot(args) => snapshot::run(context, args).await,
        Action::Restore(args) => restore::run(context, args).await,
        Action::Manifest(args) => manifest::run(context, args).await,
        Action::Diff(args) => diff::run(context, args).await,
        Action::Drill(args) => drill::run(context, args).await,
        Action::Export(args) => export::run(context, args).await,
    }
}

/// The snapshot of tables that `name` means; `latest` is the newest that holds tables.
fn view(repository: &Repository, name: &str, filter: &Filter) -> Result<SnapshotView, Failure> {
    let known: Vec<_> = repository
        .snapshots()
        .into_iter()
        .filter(|known| known.snapshot.source.as_deref() == Some(repo_tables::KIND))
        .collect();
    if known.is_empty() {
        return Err(Failure::failed("the repository has no snapshot of tables")
            .hint("take one with `repo table snapshot`"));
    }
    let id = select::find(&known, name, filter)?.snapshot.id();
    Ok(repository.view(&id)?)
}
