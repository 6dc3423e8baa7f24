use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use amis_artifacts::cli::{exit_code, finish, print_line};
use amis_trainer::config::Config;
use amis_trainer::distributed::Ranks;
use amis_trainer::train::{self, Figure, Place, RunSummary};
use amis_trainer::{Error, Result, device};
use clap::Args;
use serde::Serialize;
use tch::Device;

use super::progress::{Console, read_index};

/// Train all steps of a task; a checkpoint folder is left for each.
///
/// Ctrl-C saves the state and ends; the same command goes on from there. Finished steps are kept.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  amis-train run configs/camvid.toml --set data.root=data/camvid-voc\n  amis-train run configs/camvid.toml --set train.preset=finetune --set model.gab=true \\\n      --set train.base_checkpoint=runs/camvid/step-0 --out runs/camvid-finetune\n  amis-train run configs/camvid.toml --seeds 0,1,2 --device cuda:1\n  mpirun -n 4 amis-train run configs/camvid.toml           # four processes share every batch (docs/trainer.md)"
)]
pub(super) struct Run {
    /// Configuration in TOML.
    config: PathBuf,
    /// Override a key, for example train.preset=mbs. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Folder for checkpoints and logs. [default: runs/NAME of the configuration]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Device to compute on: cpu, cuda or cuda:N; further processes on a host take the GPUs behind it. [default: the first GPU, else the CPU]
    #[arg(long, value_parser = device::parse)]
    device: Option<Device>,
    /// Train once with each of these seeds, into OUT/seed-N, and give mean and standard deviation. {seed} in --set stands for the seed.
    #[arg(long, value_delimiter = ',', value_name = "N,N,...")]
    seeds: Vec<u64>,
}

/// What is printed with --json.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Summary {
    One(RunSummary),
    Seeds { seeds: Vec<SeedSummary>, figures: Vec<Figure> },
}

/// The run of one seed.
#[derive(Serialize)]
pub(super) struct SeedSummary {
    seed: u64,
    #[serde(flatten)]
    run: RunSummary,
}

impl Run {
    pub(super) fn run(self, json: bool) -> ExitCode {
        let ranks = match Ranks::join() {
            Ok(ranks) => ranks,
            Err(error) => return finish(Err::<Summary, _>(error), json),
        };
        let result = self.train(&ranks, json);
        // All ranks stop together; other errors one rank may have alone, while the others wait for it.
        let failure = result.as_ref().err().filter(|error| !matches!(error, Error::Stopped { .. })).map(|error| (error.to_string(), exit_code(error)));
        // The results of all ranks are the same.
        let code = finish(result, json && (ranks.is_first() || failure.is_some()));
        if let Some((reason, exit_code)) = failure {
            ranks.fail(&reason, exit_code);
        }
        code
    }

    fn train(&self, ranks: &Ranks, json: bool) -> Result<Summary> {
        let name = self.config.file_stem().unwrap_or_default();
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(name));
        let device = ranks.device(device::choose(self.device)?)?;
        let stop = stop_on_signal(ranks.is_first());
        let train = |overrides: &[String], dir: &Path| {
            let config = Config::load(&self.config, overrides)?;
            // The first look at a large data set takes a while and is shown; the run then finds its index on disk.
            if ranks.is_first() {
                read_index(&config)?;
            }
            ranks.wait();
            train::run(&config, Place { dir, ranks, device, stop: &stop }, &mut Console::default())
        };
        if self.seeds.is_empty() {
            return Ok(Summary::One(train(&self.overrides, &out)?));
        }
        let mut seeds: Vec<SeedSummary> = Vec::new();
        for &seed in &self.seeds {
            if seeds.iter().any(|s| s.seed == seed) {
                continue;
            }
            let dir = out.join(format!("seed-{seed}"));
            if ranks.is_first() {
                tracing::info!("seed {seed}, into {}", dir.display());
            }
            let set = self.overrides.iter().map(|s| s.replace("{seed}", &seed.to_string()));
            let set: Vec<String> = set.chain([format!("train.seed={seed}")]).collect();
            seeds.push(SeedSummary { seed, run: train(&set, &dir)? });
        }
        let last: Vec<_> = seeds.iter().filter_map(|s| s.run.steps.last()).collect();
        let figures = train::figures(&last);
        if !json && ranks.is_first() {
            print_table(&seeds, &figures);
        }
        Ok(Summary::Seeds { seeds, figures })
    }
}

/// Set by Ctrl-C and by SIGTERM, which is said on stderr if `loud`.
fn stop_on_signal(loud: bool) -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            // A second Ctrl-C means now; what was saved before is whole.
            std::process::exit(130);
        }
        if loud {
            eprintln!("stopping after this iteration; once more to end at once");
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("Ctrl-C will end the run without saving its state: {error}");
    }
    stop
}

/// Figures after the last step in per cent, a column for each seed.
fn print_table(seeds: &[SeedSummary], figures: &[Figure]) {
    let width = figures.iter().map(|row| row.name.chars().count()).max().unwrap_or_default().max("IoU in %".len());
    let cell = |value: Option<f64>| format!("{:>10}", value.map_or("-".to_owned(), |v| format!("{:.1}", 100.0 * v)));
    let heads = ["mean".to_owned(), "std".to_owned()].into_iter().chain(seeds.iter().map(|s| format!("seed {}", s.seed)));
    print_line(format_args!("{:width$}{}", "IoU in %", heads.map(|head| format!("{head:>10}")).collect::<String>()));
    for row in figures {
        let cells: String = [row.spread.mean, row.spread.std].into_iter().chain(row.values.iter().copied()).map(cell).collect();
        print_line(format_args!("{:width$}{cells}", row.name));
    }
}
