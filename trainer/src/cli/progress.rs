use amis_artifacts::metrics::StepMetrics;
use amis_trainer::Result;
use amis_trainer::config::Config;
use amis_trainer::train::{Observer, Plan};
use indicatif::{ProgressBar, ProgressStyle};

/// A bar with rate and remaining time; hidden where stderr is no terminal.
pub(super) fn bar(length: u64, message: &str) -> ProgressBar {
    let template = "{msg:28!} {wide_bar} {pos}/{len}  {per_sec}  {eta_precise} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_message(message.to_owned())
}

/// The plan of a configuration, with a bar while the label maps are read for the first time.
pub(super) fn read_index(config: &Config) -> Result<Plan> {
    let bar = bar(0, "which classes images show");
    let plan = Plan::with_progress(config, &|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    plan
}

/// Shows a run on stderr.
#[derive(Default)]
pub(super) struct Console {
    bar: Option<ProgressBar>,
    step: usize,
}

impl Console {
    /// A line above the bar, or alone where there is no terminal.
    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| tracing::info!("{line}")),
            None => tracing::info!("{line}"),
        }
    }
}

impl Observer for Console {
    fn step_started(&mut self, step: usize, classes: &[String], images: usize, iterations: usize, done: usize) {
        self.step = step;
        let again = if done > 0 { format!(", going on at {done}") } else { String::new() };
        self.say(&format!("step {step}: {} from {images} images, {iterations} iterations{again}", classes.join(", ")));
        let bar = bar(iterations as u64, &format!("step {step}"));
        bar.set_position(done as u64);
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn iteration(&mut self, done: usize, total_loss: Option<f64>) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            if let Some(loss) = total_loss {
                bar.set_message(format!("step {}  loss {loss:.3}", self.step));
            }
        }
    }

    fn validated(&mut self, epoch: usize, own_miou: f64, best: bool) {
        let mark = if best { ", best so far" } else { "" };
        self.say(&format!("step {} epoch {epoch}: mIoU of its own classes {:.1} %{mark}", self.step, 100.0 * own_miou));
    }

    fn step_finished(&mut self, metrics: &StepMetrics, found_finished: bool) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let percent = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.1} %", 100.0 * v));
        let found = if found_finished { " (was finished)" } else { "" };
        let (old, new, all) = (percent(metrics.old.miou), percent(metrics.new.miou), percent(metrics.all_with_background.miou));
        let mbs = percent(metrics.all_with_background.miou_mbs);
        self.say(&format!("step {}{found}: mIoU old {old}, new {new}, all with background {all} (mean of non-zero IoUs: {mbs})", metrics.step));
    }
}
