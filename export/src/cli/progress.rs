use indicatif::{ProgressBar, ProgressStyle};

/// Shows the stages of long work on stderr, each as a bar with rate and remaining time; nothing where stderr is no terminal.
#[derive(Default)]
pub(super) struct Stages {
    bar: Option<(&'static str, ProgressBar)>,
}

impl Stages {
    /// `done` of `all` are behind us in a stage; a new name begins a new bar.
    pub(super) fn show(&mut self, stage: &'static str, done: usize, all: usize) {
        if self.bar.as_ref().is_none_or(|(name, _)| *name != stage) {
            self.clear();
            let template = "{msg:12!} {wide_bar} {pos}/{len}  {per_sec}  {eta_precise} left";
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bar = Some((stage, ProgressBar::new(all as u64).with_style(style).with_message(stage)));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(done as u64);
        }
    }

    fn clear(&self) {
        if let Some((_, bar)) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.clear();
    }
}
