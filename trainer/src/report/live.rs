use amis_artifacts::live::{LiveFrame, LiveRun};
use maud::{Markup, html};

use super::chart::{Chart, Scale, Series};
use super::curves::figure;

/// Frames that are drawn on each side of a change of the model.
const AROUND: usize = 60;

/// The frame times around a field update.
pub(super) fn render(run: &LiveRun) -> Markup {
    let Some(change) = run.frames.windows(2).position(|pair| pair[0].classes != pair[1].classes).map(|at| at + 1) else {
        return html! { p.quiet { "The model did not change in this run." } };
    };
    let (from, to) = (change.saturating_sub(AROUND).max(1), (change + AROUND).min(run.frames.len()));
    // Charts begin at zero.
    let zero = run.frames[from].at_ms;
    let seconds = |at: usize| (run.frames[at].at_ms - zero) / 1e3;
    let between = |at: usize| run.frames[at].at_ms - run.frames[at - 1].at_ms;
    let series = |name: &str, color, frames: std::ops::Range<usize>, value: &dyn Fn(usize) -> f64| Series {
        name: name.into(),
        color,
        points: frames.map(|at| (seconds(at), value(at))).collect(),
        ringed: None,
    };
    let names = |at: usize| run.versions.get(at).map_or("", String::as_str);
    let gaps = vec![series(names(0), 0, from..change, &between), series(names(1), 1, change..to, &between)];
    let age = |at: usize| run.frames[at].age_ms;
    let ages = vec![series(names(0), 0, from..change, &age), series(names(1), 1, change..to, &age)];
    let chart = |title: &str, series| Chart { title: title.into(), x_label: "seconds", y_label: "ms", scale: Scale::Log, series };
    let longest = (1..run.frames.len()).map(between).fold(0.0, f64::max);
    let classes = |frame: Option<&LiveFrame>| frame.map_or(0, |frame| frame.classes);
    html! {
        p {
            (names(1)) " took over from " (names(0)) " while the camera ran: " (classes(run.frames.first())) " classes became " (classes(run.frames.last()))
            ". Longest time between two frames of the run " (format!("{longest:.0}")) " ms, frames lost " (run.dropped) "."
        }
        div.charts { (figure(&chart("Time between frames around the change", gaps))) (figure(&chart("Age of the pictures around the change", ages))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_is_drawn_and_counted() {
        let frames =
            (0..40).map(|at| LiveFrame { at_ms: f64::from(at) * 40.0 + if at >= 20 { 33.0 } else { 0.0 }, age_ms: 12.0, classes: 5 + usize::from(at >= 20) });
        let run = LiveRun { frames: frames.collect(), dropped: 0, versions: vec!["demo v2".into(), "demo v3".into()] };
        let page = render(&run).into_string();
        assert!(page.contains("demo v3 took over from demo v2") && page.contains("5 classes became 6") && page.contains("73 ms"), "{page}");
        assert_eq!(page.matches("<svg").count(), 2);
        let still = LiveRun { frames: run.frames[..20].to_vec(), ..run };
        assert!(render(&still).into_string().contains("did not change"));
    }
}
