use std::fmt;
use std::path::PathBuf;

use amis_artifacts::release::Devices;
use amis_export::Result;
use amis_export::repo::{self, Added, Created, Gate, Published, Repository, RoleType, Roots, Rotated, Staged, Status, What};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

mod passphrase;
mod table;

use passphrase::PassphraseArgs;

/// Keeps a signed repository (TUF) from which devices update.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  amis-export repo init site --keys keys\n  amis-export repo add site yard-2.amis\n  amis-export repo publish site --keys keys\n  amis-export repo promote site yard-2\n  amis-export repo publish site --keys keys"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(InitArgs),
    Add(AddArgs),
    Promote(ReleaseArgs),
    Remove(RemoveArgs),
    Publish(PublishArgs),
    Rotate(RotateArgs),
    Status(StatusArgs),
}

/// Makes keys and an empty repository.
///
/// Root keys decide about all others: after this, move the files root-*.pem to media that lie in a drawer, each in its own. Devices get metadata/1.root.json
/// once, by a way you trust. The folder is then served as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  amis-export repo init site --keys keys --root-keys 3 --threshold 2")]
struct InitArgs {
    /// Folder of the repository, new.
    dir: PathBuf,
    /// Folder for the key files; not in the repository.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Number of root keys.
    #[arg(long, value_name = "N", default_value_t = 2)]
    root_keys: u64,
    /// How many of them have to sign.
    #[arg(long, value_name = "N", default_value_t = 2)]
    threshold: u64,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Checks bundles and stages them for the next publication; needs no key.
///
/// A bundle is refused if its version is not higher than every one before, if its classes do not extend those of its parent id by id, if it was not measured
/// on labelled images, or if the mean IoU of its parent's classes fell too far.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  amis-export repo add site yard-3.amis --channel canary --board orin-nano")]
struct AddArgs {
    /// Folder of the repository.
    dir: PathBuf,
    /// Bundles.
    #[arg(required = true, value_name = "BUNDLE")]
    bundles: Vec<PathBuf>,
    /// Who gets it: the canaries first, or everybody at once.
    #[arg(long, value_enum, default_value = "canary")]
    channel: ChannelArg,
    /// Only for these boards (names as in boards/); may be given several times.
    #[arg(long = "board", value_name = "NAME")]
    boards: Vec<String>,
    /// Only for these major versions of JetPack; may be given several times.
    #[arg(long = "jetpack", value_name = "N")]
    jetpacks: Vec<u32>,
    /// Only for devices with one of these tags; may be given several times.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Points of mean IoU that the parent's classes may lose.
    #[arg(long, value_name = "POINTS", default_value_t = 2.0)]
    max_old_drop: f64,
    /// A bundle (NAME-VERSION) that may lose more, or was not measured; may be given several times.
    #[arg(long, value_name = "NAME-VERSION")]
    allow_drop: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ChannelArg {
    Canary,
    Stable,
}

/// Stages that a release of the canaries is for everybody.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  amis-export repo promote site yard-3")]
struct ReleaseArgs {
    /// Folder of the repository.
    dir: PathBuf,
    /// The release, NAME-VERSION.
    release: String,
}

/// Stages that a release is withdrawn.
///
/// Devices that run it go on to do so until there is a higher version; its number is not given again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  amis-export repo remove site yard-3")]
struct RemoveArgs {
    #[command(flatten)]
    of: ReleaseArgs,
}

/// Signs what is staged, and renews the timestamp.
///
/// The timestamp holds two weeks, so this is run every week even if nothing is new; with --renew by a machine that has the timestamp's key alone. Other roles
/// are renewed as well when two thirds of their time are over and their keys are at hand.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  amis-export repo publish site --keys keys\n  amis-export repo publish site --keys timestamp-key --renew")]
struct PublishArgs {
    /// Folder of the repository.
    dir: PathBuf,
    /// Folder with key files; may be given several times.
    #[arg(long, value_name = "DIR", required = true)]
    keys: Vec<PathBuf>,
    /// Renews only; what is staged stays so.
    #[arg(long)]
    renew: bool,
    /// How long devices believe this publication; more than two weeks where they are reached by USB stick alone.
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(i64).range(1..=365))]
    timestamp_days: i64,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// Replaces keys of a role, and publishes that: because they are old, lost, or in wrong hands.
///
/// Needs enough root keys, and of the keys below those that still count. Devices follow from whatever root they have.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  amis-export repo rotate site --role timestamp --keys keys --keys /media/root-a --keys /media/root-b\n  amis-export repo rotate site --role root --key root-1a2b3c4d.pem --keys /media/root-a --keys /media/root-b"
)]
struct RotateArgs {
    /// Folder of the repository.
    dir: PathBuf,
    /// The role.
    #[arg(long, value_enum)]
    role: RoleArg,
    /// Replaces this key alone (name of its file); without it all keys of the role.
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
    /// Folder with key files; may be given several times. New keys go into the first.
    #[arg(long, value_name = "DIR", required = true)]
    keys: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

/// Shows roles with their ends and keys, releases with their channels, and what devices reported.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  amis-export repo status site --reports reports")]
struct StatusArgs {
    /// Folder of the repository.
    dir: PathBuf,
    /// Folder of files *.json that devices wrote with `amis-run status --json`: shows who runs what, and why not the newest.
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
}

/// What a command did.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Done {
    Created(Created),
    Added { staged: Vec<Added> },
    Staged(Staged),
    Published(Published),
    Rotated(Rotated),
    Status(Status),
}

impl Args {
    pub(crate) fn run(&self) -> Result<Done> {
        match &self.command {
            Command::Init(args) => args.run(),
            Command::Add(args) => args.run(),
            Command::Promote(args) => Ok(Done::Staged(repo::promote(&mut Repository::open_to_change(&args.dir)?, &args.release)?)),
            Command::Remove(RemoveArgs { of }) => Ok(Done::Staged(repo::remove(&mut Repository::open_to_change(&of.dir)?, &of.release)?)),
            Command::Publish(args) => args.run(),
            Command::Rotate(args) => args.run(),
            Command::Status(args) => Ok(Done::Status(repo::status(&Repository::open(&args.dir)?, args.reports.as_deref(), Timestamp::now())?)),
        }
    }
}

impl InitArgs {
    fn run(&self) -> Result<Done> {
        let mut ring = self.passphrase.ring(std::slice::from_ref(&self.keys))?;
        let roots = Roots { keys: self.root_keys, threshold: self.threshold };
        Ok(Done::Created(repo::init(&self.dir, &mut ring, roots, Timestamp::now())?))
    }
}

impl AddArgs {
    fn run(&self) -> Result<Done> {
        let mut repository = Repository::open_to_change(&self.dir)?;
        let channel = match self.channel {
            ChannelArg::Canary => repo::Channel::Canary,
            ChannelArg::Stable => repo::Channel::Stable,
        };
        let devices = Devices { boards: self.boards.clone(), jetpacks: self.jetpacks.clone(), tags: self.tags.clone() };
        let gate = Gate { max_old_drop_points: self.max_old_drop, allow: self.allow_drop.clone() };
        let staged = self.bundles.iter().map(|path| repo::add(&mut repository, path, channel, devices.clone(), &gate)).collect::<Result<_>>()?;
        Ok(Done::Added { staged })
    }
}

impl PublishArgs {
    fn run(&self) -> Result<Done> {
        let mut repository = Repository::open_to_change(&self.dir)?;
        let mut ring = self.passphrase.ring(&self.keys)?;
        let what = if self.renew { What::Renewal } else { What::Staged };
        Ok(Done::Published(repo::publish(&mut repository, &mut ring, what, self.timestamp_days, Timestamp::now())?))
    }
}

impl RotateArgs {
    fn run(&self) -> Result<Done> {
        let role = match self.role {
            RoleArg::Root => RoleType::Root,
            RoleArg::Targets => RoleType::Targets,
            RoleArg::Snapshot => RoleType::Snapshot,
            RoleArg::Timestamp => RoleType::Timestamp,
        };
        let mut repository = Repository::open_to_change(&self.dir)?;
        let mut ring = self.passphrase.ring(&self.keys)?;
        Ok(Done::Rotated(repo::rotate(&mut repository, &mut ring, role, self.key.as_deref(), Timestamp::now())?))
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created(made) => {
                writeln!(f, "{}: an empty repository, signed", made.path.display())?;
                writeln!(f, "keys for publishing: {}", made.keys.join(", "))?;
                writeln!(f, "root keys, to be moved offline, each to its own medium: {}", made.root_keys.join(", "))?;
                write!(f, "devices get {} once, by a way you trust", made.root.display())
            }
            Self::Added { staged } => {
                for added in staged {
                    let parent = added.parent.as_ref().map_or_else(|| "the first of its name".to_owned(), |p| format!("compared with {p}"));
                    writeln!(f, "{}: staged for {}, {} bytes, {parent}", added.release, added.channels.join(" and "), added.bytes)?;
                    if let Some(bytes) = added.patch_bytes {
                        let part = 100.0 * bytes as f64 / added.bytes as f64;
                        writeln!(f, "  patch for devices that have its parent: {bytes} bytes, {part:.0} %")?;
                    }
                    for comparison in &added.comparisons {
                        writeln!(f, "  {comparison}")?;
                    }
                }
                write!(f, "`amis-export repo publish` makes it public")
            }
            Self::Staged(staged) if staged.channels.is_empty() => write!(f, "{}: staged to be withdrawn; `amis-export repo publish` does it", staged.release),
            Self::Staged(staged) => {
                write!(f, "{}: staged for {}; `amis-export repo publish` makes it public", staged.release, staged.channels.join(" and "))
            }
            Self::Published(done) => {
                for release in &done.released {
                    writeln!(f, "published {release}")?;
                }
                for release in &done.withdrawn {
                    writeln!(f, "withdrew {release}")?;
                }
                for role in &done.due {
                    writeln!(f, "warning: {role} has to be signed soon, and its key is not at hand")?;
                }
                write!(f, "signed {}; timestamp {} holds until {}", done.signed.join(", "), done.timestamp, done.expires)
            }
            Self::Rotated(done) => {
                writeln!(f, "{} has new keys from root {} on: {}", done.role, done.root, done.new_keys.join(", "))?;
                write!(f, "these count no more and can be destroyed: {}", done.old_keys.join(", "))
            }
            Self::Status(status) => table::show(status, f),
        }
    }
}
