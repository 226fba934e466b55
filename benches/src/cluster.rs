//! Live clusters: `repo pg` against pgBackRest, restic and rustic on one running Postgres server. All
//! tools save the same states of the same cluster, one after another while the server is idle, and load
//! comes between the states.

mod place;
mod server;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use repo_testkit::Seaweed;

use crate::chart::{Bar, COLOUR, Chart};
use crate::cluster::place::Place;
use crate::cluster::server::Server;
use crate::cluster::tool::{Keeper, Name};
use crate::data;
use crate::error::{Result, io};
use crate::measure::Usage;
use crate::report::verdict;
use crate::stats::ratio;

/// Choices of `cluster`.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory for the cluster, the repositories and restores.
    #[arg(long)]
    work: PathBuf,
    /// Directory that `benches/peers/install.sh` filled.
    #[arg(long)]
    peers: PathBuf,
    /// Directory of the server's programs.
    #[arg(long, default_value = "/usr/lib/postgresql/15/bin")]
    postgres: PathBuf,
    /// Who runs the server, which refuses to run as root.
    #[arg(long, default_value = "postgres")]
    user: String,
    /// Scale of the tables: 16 MB each.
    #[arg(long, default_value_t = 8)]
    scale: u32,
    /// Increments of the day of hot updates.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Seconds of load before each of them.
    #[arg(long, default_value_t = 60)]
    round_seconds: u32,
    /// Put the repositories on a SeaweedFS server, which `tests/tools/install.sh seaweedfs` installs.
    #[arg(long)]
    s3: bool,
    /// Tools to run.
    #[arg(long, value_delimiter = ',', default_values_t = Name::ALL)]
    tools: Vec<Name>,
    /// The `repo` binary.
    #[arg(long, default_value = "target/release/repo")]
    repo_bin: PathBuf,
    /// Where `cluster.md` goes, or `cluster-s3.md`.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

impl Options {
    /// What the table and the chart are called.
    fn name(&self) -> &'static str {
        match self.s3 {
            true => "cluster-s3",
            false => "cluster",
        }
    }
}

/// What `repo` is to take at most, in units of pgBackRest: time of a full backup, of an increment, of a restore,
/// and bytes added by transactions.
const FULL: f64 = 0.6;
const INCREMENT: f64 = 0.8;
const RESTORE: f64 = 0.6;
const HOT: f64 = 0.2;

/// Restores after all increments, by what they are called in the table.
const NEWEST: &str = "restore of the newest";
const FIRST: &str = "restore of the first";
const FRESH: &str = "restore of a fresh full";

/// What one tool took for one piece of work.
#[derive(Clone, Copy, Default)]
struct Cost {
    usage: Usage,
    /// Bytes that the repository grew by.
    grown: u64,
}

/// One line of the table: a cost for each tool, in their order.
struct Row {
    work: String,
    what: What,
    /// What `repo` is to take at most, in units of pgBackRest.
    target: Option<f64>,
    costs: Vec<Cost>,
}

/// What a row compares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Time,
    Bytes,
}

/// Runs all work, prints the table and leaves it in the output directory.
pub(crate) fn all(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.work).map_err(io("create", &options.work))?;
    let work = fs::canonicalize(&options.work).map_err(io("find", &options.work))?;
    let _alone = data::occupy(&work)?;
    let server = Server::create(&work.join("cluster"), &options.postgres, &options.user)?;
    server.tables(options.scale)?;
    let storage = if options.s3 {
        let storage = Seaweed::start_with_tls();
        Some(Arc::new(storage.map_err(io("start", Path::new("weed")))?))
    } else {
        None
    };
    let mut keepers = Vec::new();
    for name in &options.tools {
        let program = match name {
            Name::Repo => options.repo_bin.clone(),
            peer => options.peers.join("bin").join(peer.program()),
        };
        let dir = work.join(peer_dir(*name));
        let place = Place::create(&dir, storage.as_ref())?;
        keepers.push(Keeper::create(*name, program, dir, place, &server)?);
    }
    let mut table = Table {
        keepers,
        storage,
        rows: Vec::new(),
    };
    table.initial()?;
    server.delete_a_hundredth(options.scale)?;
    table.increment("1 % of ten tables deleted, vacuumed", 0.3)?;
    table.restore("restore in place", Keeper::restore_in_place)?;
    server.transactions(10_000)?;
    table.increment("10,000 TPC-B transactions", HOT)?;
    table.day(&server, options)?;
    table.after(&work)?;
    drop(server);
    let text = table.text(options);
    let out = options.out.join(options.name());
    data::write(&out.with_extension("md"), text.as_bytes())?;
    data::write(&out.with_extension("svg"), table.chart().svg().as_bytes())?;
    data::print(&text)
}

fn peer_dir(name: Name) -> String {
    format!("cluster-{}", name.program())
}

struct Table {
    keepers: Vec<Keeper>,
    /// The server of the repositories, when they are not in directories.
    storage: Option<Arc<Seaweed>>,
    rows: Vec<Row>,
}

impl Table {
    /// Restores with each tool.
    fn restore(&mut self, work: &str, act: impl Fn(&mut Keeper) -> Result<Usage>) -> Result<()> {
        let costs = costs(&mut self.keepers, work, act)?;
        self.push(work, What::Time, Some(RESTORE), costs);
        Ok(())
    }

    fn push(&mut self, work: &str, what: What, target: Option<f64>, costs: Vec<Cost>) {
        self.rows.push(Row {
            work: work.to_owned(),
            what,
            target,
            costs,
        });
    }

    fn initial(&mut self) -> Result<()> {
        for keeper in &mut self.keepers {
            keeper.init()?;
        }
        let costs = costs(&mut self.keepers, "full backup", Keeper::full)?;
        self.push("full backup", What::Time, Some(FULL), costs.clone());
        self.push("repository after it", What::Bytes, None, costs);
        self.restore("restore", Keeper::restore_newest)
    }

    fn increment(&mut self, load: &str, added: f64) -> Result<()> {
        let costs = costs(&mut self.keepers, load, Keeper::increment)?;
        let work = format!("increment: {load}");
        self.push(&work, What::Time, Some(INCREMENT), costs.clone());
        let work = format!("bytes added: {load}");
        self.push(&work, What::Bytes, Some(added), costs);
        Ok(())
    }

    /// Short loads with an increment after each.
    fn day(&mut self, server: &Server, options: &Options) -> Result<()> {
        let mut sums = vec![Cost::default(); self.keepers.len()];
        for round in 0..options.rounds {
            server.load(options.round_seconds, round % 2 == 1)?;
            let work = format!("round {round}");
            let costs = costs(&mut self.keepers, &work, Keeper::increment)?;
            for (sum, cost) in sums.iter_mut().zip(costs) {
                sum.grown += cost.grown;
                sum.usage.wall_s += cost.usage.wall_s;
                sum.usage.cpu_s += cost.usage.cpu_s;
                sum.usage.peak_bytes = sum.usage.peak_bytes.max(cost.usage.peak_bytes);
            }
        }
        let load = format!("{} increments of hot updates", options.rounds);
        self.push(&load, What::Time, Some(INCREMENT), sums.clone());
        let work = format!("bytes added: {load}");
        self.push(&work, What::Bytes, Some(HOT), sums);
        Ok(())
    }

    /// What many increments cost a restore.
    fn after(&mut self, work: &Path) -> Result<()> {
        self.restore(NEWEST, Keeper::restore_newest)?;
        self.restore(FIRST, Keeper::restore_first)?;
        let mut fresh = Vec::new();
        for keeper in &self.keepers {
            let dir = work.join(format!("{}-fresh", peer_dir(keeper.name)));
            let place = Place::create(&dir, self.storage.as_ref())?;
            let mut other = keeper.beside(dir, place)?;
            other.init()?;
            other.full()?;
            fresh.push(other);
        }
        let act = |keeper: &mut Keeper| keeper.restore_newest();
        let costs = costs(&mut fresh, FRESH, act)?;
        self.push(FRESH, What::Time, Some(RESTORE), costs);
        Ok(())
    }

    fn text(&self, options: &Options) -> String {
        let mut text = format!(
            "# A live cluster{}\n\n\
             Postgres with ten tables of {} MB each. All tools save the same states; the server is idle meanwhile. Time \
             in seconds with peak memory, bytes in MB; the ratio is `repo` in units of pgBackRest.\n\n![ratio to pgBackRest]({}.svg)\n\n",
            if options.s3 {
                ", repositories on SeaweedFS"
            } else {
                ""
            },
            16 * options.scale,
            options.name(),
        );
        text.push_str("| work |");
        for keeper in &self.keepers {
            text.push_str(&format!(" {} |", keeper.name));
        }
        text.push_str(" ratio | target |\n|---|");
        text.push_str(&"---|".repeat(self.keepers.len() + 2));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&format!("| {} |", row.work));
            for cost in &row.costs {
                text.push_str(&format!(" {} |", row.what.shown(cost)));
            }
            let ratio = self.ratio(row);
            let shown = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}x"));
            let verdict = ratio
                .zip(row.target)
                .map_or(String::new(), |(ratio, target)| {
                    format!("{target}x: {}", verdict(ratio <= target))
                });
            text.push_str(&format!(" {shown} | {verdict} |\n"));
        }
        text.push_str("\nIn units of the restore of a fresh full:\n\n");
        for (place, keeper) in self.keepers.iter().enumerate() {
            let ratios: Vec<String> = [NEWEST, FIRST]
                .into_iter()
                .filter_map(|work| {
                    let ratio = ratio(self.wall_s(work, place)?, self.wall_s(FRESH, place)?)?;
                    Some(format!("{work} {ratio:.2}"))
                })
                .collect();
            text.push_str(&format!("- {}: {}\n", keeper.name, ratios.join(", ")));
        }
        text
    }

    /// What `repo` took in units of pgBackRest.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let of = |name| {
            let place = self.keepers.iter().position(|keeper| keeper.name == name)?;
            row.costs.get(place).map(|cost| row.what.value(cost))
        };
        ratio(of(Name::Repo)?, of(Name::Pgbackrest)?)
    }

    fn chart(&self) -> Chart {
        let group = |row: &Row| {
            let bar = self.ratio(row).map(|ratio| Bar {
                ratio,
                target: row.target,
                colour: COLOUR,
            });
            (row.work.clone(), Vec::from_iter(bar))
        };
        Chart {
            title: "repo pg in units of pgBackRest (shorter is better)".to_owned(),
            peer: "pgBackRest",
            sets: Vec::new(),
            groups: self.rows.iter().map(group).collect(),
        }
    }

    /// Seconds that the tool at a place took for one piece of work.
    fn wall_s(&self, work: &str, place: usize) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.work == work)?;
        row.costs.get(place).map(|cost| cost.usage.wall_s)
    }
}

impl What {
    fn value(self, cost: &Cost) -> f64 {
        match self {
            Self::Time => cost.usage.wall_s,
            #[expect(clippy::cast_precision_loss, reason = "a figure to show")]
            Self::Bytes => cost.grown as f64,
        }
    }

    fn shown(self, cost: &Cost) -> String {
        match self {
            Self::Time => format!(
                "{:.2} ({} MB)",
                cost.usage.wall_s,
                cost.usage.peak_bytes / 1_000_000
            ),
            Self::Bytes => format!("{:.2}", self.value(cost) / 1e6),
        }
    }
}

/// Does one thing with each tool in turn and says what it cost.
fn costs(
    keepers: &mut [Keeper],
    work: &str,
    act: impl Fn(&mut Keeper) -> Result<Usage>,
) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for keeper in keepers {
        let before = keeper.stored()?;
        let usage = act(keeper)?;
        let grown = keeper.stored()? - before;
        eprintln!(
            "{:12} {work:40} {:8.2} s {:6} MB {grown:12} bytes",
            keeper.name.to_string(),
            usage.wall_s,
            usage.peak_bytes / 1_000_000
        );
        costs.push(Cost { usage, grown });
    }
    Ok(costs)
}
